//! Rows that wait for the frontier, and the order in which they leave.
//!
//! Rows wait in buckets of 32 ms, unsorted; those of the next eight seconds are found by their index in a ring, without a
//! search, whose branches nobody could predict. The bucket that the frontier enters is dealt into 32 slots of 1 ms, so
//! that a row waits for the end of its millisecond, not of its bucket. A bucket or slot is sorted once, when it
//! leaves, by a packed key: time in the bucket (15 bits, in µs), partition (21), index of arrival (28). The index
//! stands for the offset, because the rows of a partition arrive in offset order: one source worker, one channel.
//! What waits is no more than the key's number, that, and the offset, which has room left: the buffer is the largest thing
//! that is written and read per row.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};

use crate::flow::PARTITIONS;
use crate::record::{recycle, KeyNumber, Offset, PartitionId, Rows};
use crate::EventTime;

const SLOTS: i64 = 32;
/// How many buckets the ring has; a power of two.
const RING: i64 = 256;
const BUCKET_MICROS: i64 = SLOTS * 1_000;
const TIME_SHIFT: u32 = 49;
const PARTITION_SHIFT: u32 = 28;
const INDEX_MASK: u64 = (1 << PARTITION_SHIFT) - 1;
/// How many bits of its offset a row keeps: 32, and those of its index of arrival.
const OFFSET_BITS: u32 = 32 + PARTITION_SHIFT;
const PARTITION_MASK: u64 = (1 << TIME_SHIFT) - (1 << PARTITION_SHIFT);
const _: () = assert!(PARTITIONS == 1 << (TIME_SHIFT - PARTITION_SHIFT), "each has a number");

/// Buffers rows until the frontier has passed them.
#[derive(Debug)]
pub struct Buckets {
    /// The bucket that the frontier is in, by `milliseconds / 32`.
    open: i64,
    /// The buckets less than [`RING`] beyond the open one, each at its number modulo that.
    near: Vec<Rows<Row>>,
    /// The buckets beyond those.
    far: BTreeMap<i64, Rows<Row>>,
    /// The first millisecond of the open bucket that has not left.
    at: i64,
    slots: Vec<Rows<Row>>,
    spare: Vec<Rows<Row>>,
    partitions: Partitions,
    order: Vec<u64>,
    /// How many values a row has.
    width: usize,
    len: usize,
}

#[inline]
fn millisecond(time: EventTime) -> i64 {
    time.micros().div_euclid(1_000)
}

impl Buckets {
    /// Room for rows of `width` values.
    pub fn new(width: usize) -> Self {
        Self {
            open: i64::MIN / SLOTS,
            near: (0..RING).map(|_| Rows::new(width)).collect(),
            far: BTreeMap::new(),
            at: i64::MIN,
            slots: (0..SLOTS).map(|_| Rows::new(width)).collect(),
            spare: Vec::new(),
            partitions: Partitions::default(),
            order: Vec::new(),
            width,
            len: 0,
        }
    }

    /// The number by which rows name a partition.
    pub fn partition(&mut self, partition: PartitionId) -> PartitionNumber {
        self.partitions.number(partition)
    }

    /// Takes a row; `offset` is the lower half of its offset. It is not behind a frontier that [`Buckets::release`] has seen.
    #[inline(always)]
    pub fn push(&mut self, time: EventTime, stretch: Stretch, key: KeyNumber, offset: u32, values: &[f64]) {
        self.len += 1;
        self.put(time, stretch, key, offset, values);
    }

    /// The same for many rows, which are counted once.
    #[inline(always)]
    pub(super) fn extend<'a>(
        &mut self,
        rows: impl Iterator<Item = (EventTime, Stretch, KeyNumber, u32, &'a [f64])>,
    ) {
        let mut count = 0;
        for (time, stretch, key, offset, values) in rows {
            count += 1;
            self.put(time, stretch, key, offset, values);
        }
        self.len += count;
    }

    #[inline(always)]
    fn put(&mut self, time: EventTime, stretch: Stretch, key: KeyNumber, offset: u32, values: &[f64]) {
        let millisecond = millisecond(time);
        let bucket = millisecond >> 5;
        let micros = time.micros().wrapping_sub(bucket.wrapping_mul(BUCKET_MICROS)) as u64;
        let row = Row { place: micros << TIME_SHIFT | stretch.0, key, offset };
        if bucket == self.open {
            return self.slots[(millisecond & (SLOTS - 1)) as usize].push(row, values);
        }
        let rows = if bucket - self.open < RING {
            &mut self.near[ring(bucket)]
        } else {
            self.far.entry(bucket).or_insert_with(|| Rows::new(self.width))
        };
        if rows.room() == 0 {
            if let Some(spare) = self.spare.pop() {
                *rows = spare;
            }
        }
        rows.push(row, values);
    }

    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The time before which no row waits; [`EventTime::MAX`] if none does.
    pub fn earliest(&self) -> EventTime {
        let open = (0..SLOTS).find(|slot| !self.slots[*slot as usize].is_empty());
        let open = open.map(|slot| (self.open << 5) + slot);
        let first = open.or_else(|| self.first().map(|bucket| bucket << 5));
        first.and_then(EventTime::from_millis).unwrap_or(EventTime::MAX)
    }

    /// The keys of the rows that wait.
    pub fn keys(&self) -> impl Iterator<Item = KeyNumber> + '_ {
        let waiting = self.slots.iter().chain(&self.near).chain(self.far.values());
        waiting.flat_map(|rows| rows.iter().map(|(row, _)| row.key))
    }

    /// Hands out the rows of whole milliseconds before `limit` in `(time, partition, offset)` order, run by run.
    pub fn release(&mut self, limit: EventTime, mut run: impl FnMut(Run<'_>)) {
        let limit = if limit == EventTime::MAX { i64::MAX } else { millisecond(limit) };
        loop {
            let end = (self.open + 1).saturating_mul(SLOTS);
            self.release_slots(limit.min(end), &mut run);
            if limit < end {
                return;
            }
            let Some(bucket) = self.first().filter(|bucket| bucket << 5 < limit) else {
                if limit < i64::MAX {
                    let rows = self.open(limit >> 5);
                    self.deal(rows);
                }
                return;
            };
            let rows = self.open(bucket);
            if self.at + SLOTS <= limit {
                self.len -= rows.len();
                rows.hand_out(bucket, &self.partitions, &mut self.order, &mut run);
                self.at += SLOTS;
                self.reuse(rows);
            } else {
                self.deal(rows);
            }
        }
    }

    /// The first bucket with rows beyond the open one.
    fn first(&self) -> Option<i64> {
        let near = (self.open + 1..self.open + RING).find(|bucket| !self.near[ring(*bucket)].is_empty());
        near.or_else(|| self.far.first_key_value().map(|(bucket, _)| *bucket))
    }

    /// Hands out the slots of the open bucket that begin before `limit`.
    fn release_slots(&mut self, limit: i64, run: &mut impl FnMut(Run<'_>)) {
        while self.at < limit {
            let slot = &mut self.slots[(self.at & (SLOTS - 1)) as usize];
            if !slot.is_empty() {
                self.len -= slot.len();
                slot.hand_out(self.at >> 5, &self.partitions, &mut self.order, run);
                slot.recycle();
            }
            self.at = if self.at == i64::MIN { limit } else { self.at + 1 };
        }
    }

    /// Makes a bucket the open one, and takes its rows.
    fn open(&mut self, bucket: i64) -> Rows<Row> {
        self.open = bucket;
        self.at = bucket << 5;
        while let Some(first) = self.far.first_entry().filter(|first| *first.key() < bucket + RING) {
            let (bucket, rows) = first.remove_entry();
            self.near[ring(bucket)] = rows;
        }
        std::mem::replace(&mut self.near[ring(bucket)], Rows::new(self.width))
    }

    /// Deals the rows of the open bucket into its slots.
    fn deal(&mut self, rows: Rows<Row>) {
        for (row, values) in rows.iter() {
            let slot = ((row.place >> TIME_SHIFT) / 1_000) as usize;
            self.slots[slot].push(row, values);
        }
        self.reuse(rows);
    }

    fn reuse(&mut self, mut rows: Rows<Row>) {
        rows.recycle();
        if rows.room() > 0 {
            self.spare.push(rows);
        }
    }
}

/// Where a bucket is in the ring.
#[inline]
fn ring(bucket: i64) -> usize {
    (bucket & (RING - 1)) as usize
}

/// A row that waits, without its values.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Row {
    /// The place among the rows of its bucket, with bits of the offset where the index of arrival will be.
    place: u64,
    /// Its key.
    pub key: KeyNumber,
    /// The lower half of its offset.
    offset: u32,
}

impl Row {
    /// No row: none is at this place, whose time is beyond the end of a bucket.
    pub(super) const NONE: Self = Self { place: u64::MAX, key: KeyNumber::MAX, offset: u32::MAX };

    pub(super) fn is_none(self) -> bool {
        self.place == u64::MAX
    }

    pub(super) fn partition(self) -> PartitionNumber {
        PartitionNumber((self.place & PARTITION_MASK) >> PARTITION_SHIFT)
    }

    /// Its offset, which is not beyond `newest`, and less than 2^60 before it.
    pub(super) fn offset(self, newest: Offset) -> Offset {
        let kept = (self.place & INDEX_MASK) << 32 | u64::from(self.offset);
        Offset(newest.0 - (newest.0.wrapping_sub(kept) & ((1 << OFFSET_BITS) - 1)))
    }

    /// Its time, if the first microsecond of its bucket is `start`.
    pub(super) fn time(self, start: i64) -> EventTime {
        EventTime::from_micros(start.wrapping_add((self.place >> TIME_SHIFT) as i64))
    }
}

impl Rows<Row> {
    /// Hands out the rows, which are of `bucket`, in order.
    fn hand_out(
        &self,
        bucket: i64,
        partitions: &Partitions,
        order: &mut Vec<u64>,
        run: &mut impl FnMut(Run<'_>),
    ) {
        assert!(self.len() as u64 <= INDEX_MASK, "fewer than 2^28 rows in 32 ms of event time");
        recycle(order);
        order.extend(self.iter().enumerate().map(|(index, (row, _))| {
            let time = row.place >> TIME_SHIFT << TIME_SHIFT;
            time | partitions.rank(row.partition()) << PARTITION_SHIFT | index as u64
        }));
        order.sort_unstable();
        run(Run { rows: self, order, start: bucket.wrapping_mul(BUCKET_MICROS) });
    }
}

/// Rows that leave together, in order.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    rows: &'a Rows<Row>,
    order: &'a [u64],
    /// The first microsecond of their bucket.
    start: i64,
}

impl<'a> Run<'a> {
    /// The rows in order: time, what waited, and values.
    #[inline]
    pub fn rows(self) -> impl Iterator<Item = (EventTime, Row, &'a [f64])> {
        self.order.iter().map(move |packed| {
            let index = (packed & INDEX_MASK) as usize;
            let time = EventTime::from_micros(self.start.wrapping_add((packed >> TIME_SHIFT) as i64));
            let (row, values) = self.rows.at(index);
            (time, row, values)
        })
    }

    /// The first microsecond of the bucket that the rows are of.
    pub(super) fn start(self) -> i64 {
        self.start
    }

    /// The rows in order, at most `rows` at a time.
    #[inline]
    pub fn chunks(self, rows: usize) -> impl Iterator<Item = Run<'a>> {
        self.order.chunks(rows).map(move |order| Run { order, ..self })
    }
}

/// A partition among those that a buffer has seen, in the order in which they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionNumber(u64);

impl PartitionNumber {
    /// The stretch of the partition whose offsets have this upper half.
    #[inline]
    pub fn stretch(self, upper: u32) -> Stretch {
        Stretch(self.0 << PARTITION_SHIFT | u64::from(upper) & INDEX_MASK)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A part of a partition whose offsets have the same upper half.
#[derive(Clone, Copy, Debug)]
pub struct Stretch(u64);

/// The partitions seen so far: numbered as they came, ranked by their identifiers.
#[derive(Debug, Default)]
struct Partitions {
    /// By identifier, with their numbers.
    sorted: Vec<(PartitionId, u64)>,
    /// The rank of each number.
    ranks: Vec<u64>,
}

impl Partitions {
    fn number(&mut self, partition: PartitionId) -> PartitionNumber {
        let at = match self.sorted.binary_search_by_key(&partition, |(partition, _)| *partition) {
            Ok(at) => at,
            Err(at) => {
                let number = self.sorted.len() as u64;
                assert!(self.sorted.len() < PARTITIONS, "whoever lists partitions lists no more");
                self.sorted.insert(at, (partition, number));
                self.ranks.push(0);
                for (rank, (_, number)) in self.sorted.iter().enumerate() {
                    self.ranks[*number as usize] = rank as u64;
                }
                at
            }
        };
        PartitionNumber(self.sorted[at].1)
    }

    #[inline]
    fn rank(&self, number: PartitionNumber) -> u64 {
        self.ranks[number.index()]
    }
}
