//! Rows that wait for the frontier, and the order in which they leave.
//!
//! Rows wait in buckets of 32 ms, unsorted. The bucket that the frontier enters is dealt into 32 slots of 1 ms, so
//! that a row waits for the end of its millisecond, not of its bucket. A bucket or slot is sorted once, when it
//! leaves, by a packed key: time in the bucket (15 bits, in µs), partition (21), index of arrival (28). The index
//! stands for the offset, because the rows of a partition arrive in offset order: one source worker, one channel.
//! What waits is no more than the key and that: the buffer is the largest thing that is written and read per row.

use std::collections::BTreeMap;

use crate::record::{Head, KeyId, PartitionId, RowBatch};
use crate::EventTime;

const SLOTS: i64 = 32;
const BUCKET_MICROS: i64 = SLOTS * 1_000;
const TIME_SHIFT: u32 = 49;
const PARTITION_SHIFT: u32 = 28;
const INDEX_MASK: u64 = (1 << PARTITION_SHIFT) - 1;
const PARTITION_MASK: u64 = (1 << TIME_SHIFT) - (1 << PARTITION_SHIFT);

/// Buffers rows until the frontier has passed them.
#[derive(Debug)]
pub struct Buckets {
    /// Buckets beyond the open one, by `milliseconds / 32`.
    far: BTreeMap<i64, Rows>,
    /// The bucket that the frontier is in.
    open: i64,
    /// The first millisecond of the open bucket that has not left.
    at: i64,
    slots: Vec<Rows>,
    spare: Vec<Rows>,
    partitions: Partitions,
    order: Vec<u64>,
    len: usize,
    newest: EventTime,
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            far: BTreeMap::new(),
            open: i64::MIN / SLOTS,
            at: i64::MIN,
            slots: (0..SLOTS).map(|_| Rows::default()).collect(),
            spare: Vec::new(),
            partitions: Partitions::default(),
            order: Vec::new(),
            len: 0,
            newest: EventTime::MIN,
        }
    }
}

fn millisecond(time: EventTime) -> i64 {
    time.micros().div_euclid(1_000)
}

impl Buckets {
    /// Takes the rows of a batch; none of them is behind a frontier that [`Buckets::release`] has seen.
    pub fn extend(&mut self, batch: &RowBatch) {
        if batch.width() == 1 {
            for (head, value) in batch.heads().iter().zip(batch.values()) {
                self.push(head, std::slice::from_ref(value));
            }
        } else {
            for (head, values) in batch.rows() {
                self.push(head, values);
            }
        }
    }

    /// Takes one row.
    #[inline]
    pub fn push(&mut self, head: &Head, values: &[f64]) {
        let partition = self.partitions.number(head.partition);
        self.newest = self.newest.max(head.time);
        self.len += 1;
        let millisecond = millisecond(head.time);
        let bucket = millisecond >> 5;
        let micros = head.time.micros().wrapping_sub(bucket.wrapping_mul(BUCKET_MICROS)) as u64;
        let place = micros << TIME_SHIFT | partition << PARTITION_SHIFT;
        let row = Row { place, key: head.key };
        if bucket == self.open {
            self.slots[(millisecond & (SLOTS - 1)) as usize].push(row, values);
        } else {
            let spare = &mut self.spare;
            self.far.entry(bucket).or_insert_with(|| spare.pop().unwrap_or_default()).push(row, values);
        }
    }

    /// How many rows wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest time of a row ever taken.
    pub fn newest(&self) -> EventTime {
        self.newest
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
            match self.far.first_key_value() {
                Some((&bucket, _)) if bucket << 5 < limit => {
                    let mut rows = self.far.pop_first().expect("it was just seen").1;
                    self.open(bucket);
                    if self.at + SLOTS <= limit {
                        self.len -= rows.len();
                        rows.hand_out(bucket, &self.partitions, &mut self.order, &mut run);
                    } else {
                        self.deal(&rows);
                    }
                    rows.clear();
                    self.spare.push(rows);
                }
                _ if limit == i64::MAX => return,
                _ => {
                    self.open(limit >> 5);
                    if let Some(rows) = self.far.remove(&self.open) {
                        self.deal(&rows);
                    }
                }
            }
        }
    }

    /// Hands out the slots of the open bucket that begin before `limit`.
    fn release_slots(&mut self, limit: i64, run: &mut impl FnMut(Run<'_>)) {
        while self.at < limit {
            let slot = &mut self.slots[(self.at & (SLOTS - 1)) as usize];
            if slot.len() > 0 {
                self.len -= slot.len();
                slot.hand_out(self.at >> 5, &self.partitions, &mut self.order, run);
                slot.clear();
            }
            self.at = if self.at == i64::MIN { limit } else { self.at + 1 };
        }
    }

    fn open(&mut self, bucket: i64) {
        self.open = bucket;
        self.at = bucket << 5;
    }

    fn deal(&mut self, rows: &Rows) {
        for (index, row) in rows.rows.iter().enumerate() {
            let slot = ((row.place >> TIME_SHIFT) / 1_000) as usize;
            self.slots[slot].push(*row, rows.values_of(index));
        }
    }
}

/// A row that waits: its place among the rows of its bucket, but for the index of arrival, and its key.
#[derive(Clone, Copy, Debug)]
struct Row {
    place: u64,
    key: KeyId,
}

/// Rows of one bucket in order of arrival.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<Row>,
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    #[inline]
    fn push(&mut self, row: Row, values: &[f64]) {
        self.width = values.len();
        self.rows.push(row);
        match *values {
            [value] => self.values.push(value),
            _ => self.values.extend_from_slice(values),
        }
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
    }

    #[inline]
    fn values_of(&self, index: usize) -> &[f64] {
        &self.values[index * self.width..][..self.width]
    }

    /// Hands out the rows, which are of `bucket`, in order.
    fn hand_out(
        &self,
        bucket: i64,
        partitions: &Partitions,
        order: &mut Vec<u64>,
        run: &mut impl FnMut(Run<'_>),
    ) {
        assert!(self.len() as u64 <= INDEX_MASK, "fewer than 2^28 rows in 32 ms of event time");
        order.clear();
        order.extend(self.rows.iter().enumerate().map(|(index, row)| {
            let partition = partitions.rank((row.place & PARTITION_MASK) >> PARTITION_SHIFT);
            row.place & !PARTITION_MASK | partition << PARTITION_SHIFT | index as u64
        }));
        order.sort_unstable();
        run(Run { rows: self, order, start: bucket.wrapping_mul(BUCKET_MICROS) });
    }
}

/// Rows that leave together, in order.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    rows: &'a Rows,
    order: &'a [u64],
    /// The first microsecond of their bucket.
    start: i64,
}

impl<'a> Run<'a> {
    /// The rows in order: time, key and values.
    #[inline]
    pub fn rows(self) -> impl Iterator<Item = (EventTime, KeyId, &'a [f64])> {
        self.order.iter().map(move |packed| {
            let index = (packed & INDEX_MASK) as usize;
            let time = EventTime::from_micros(self.start.wrapping_add((packed >> TIME_SHIFT) as i64));
            (time, self.rows.rows[index].key, self.rows.values_of(index))
        })
    }

    /// The rows in order, at most `rows` at a time.
    #[inline]
    pub fn chunks(self, rows: usize) -> impl Iterator<Item = Run<'a>> {
        self.order.chunks(rows).map(move |order| Run { order, ..self })
    }
}

/// The partitions seen so far: numbered as they came, ranked by their identifiers.
#[derive(Debug, Default)]
struct Partitions {
    /// By identifier, with their numbers.
    sorted: Vec<(PartitionId, u64)>,
    /// The rank of each number.
    ranks: Vec<u64>,
    last: Option<(PartitionId, u64)>,
}

impl Partitions {
    #[inline]
    fn number(&mut self, partition: PartitionId) -> u64 {
        match self.last {
            Some((last, number)) if last == partition => number,
            _ => self.look_up(partition),
        }
    }

    fn look_up(&mut self, partition: PartitionId) -> u64 {
        let at = match self.sorted.binary_search_by_key(&partition, |(partition, _)| *partition) {
            Ok(at) => at,
            Err(at) => {
                let number = self.sorted.len() as u64;
                assert!(number <= PARTITION_MASK >> PARTITION_SHIFT, "at most 2^21 partitions");
                self.sorted.insert(at, (partition, number));
                self.ranks.push(0);
                for (rank, (_, number)) in self.sorted.iter().enumerate() {
                    self.ranks[*number as usize] = rank as u64;
                }
                at
            }
        };
        self.last = Some(self.sorted[at]);
        self.sorted[at].1
    }

    #[inline]
    fn rank(&self, number: u64) -> u64 {
        self.ranks[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Offset;
    use proptest::prelude::*;

    /// The definition: everything before the limit, sorted as a whole.
    fn release_slow(waiting: &mut Vec<Head>, limit: EventTime) -> Vec<(EventTime, f64)> {
        let (mut out, rest) = waiting.iter().partition::<Vec<Head>, _>(|head| {
            limit == EventTime::MAX || millisecond(head.time) < millisecond(limit)
        });
        *waiting = rest;
        out.sort_by_key(|head| (head.time, head.partition, head.offset));
        out.iter().map(|head| (head.time, head.offset.0 as f64)).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_sorting_everything(
            steps in prop::collection::vec((prop::collection::vec((0i64..200_000, 0u8..5), 0..30), 0i64..90_000), 1..20),
            start in prop::sample::select(vec![-3_000_000_000_123i64, -50_000, 0, 1_400_000_000_000_000]),
        ) {
            let mut buckets = Buckets::default();
            let mut waiting = Vec::new();
            let (mut limit, mut offset) = (start, 0);
            for (rows, advance) in steps {
                for (ahead, partition) in rows {
                    offset += 1;
                    let head = Head {
                        time: EventTime::from_micros(limit.div_euclid(1_000) * 1_000 + ahead),
                        key: KeyId::of("k"),
                        partition: PartitionId::of("s", &partition.to_string()),
                        offset: Offset(offset),
                    };
                    buckets.push(&head, &[offset as f64]);
                    waiting.push(head);
                }
                limit += advance;
                let mut released = Vec::new();
                buckets.release(EventTime::from_micros(limit), |run| {
                    released.extend(run.chunks(7).flat_map(Run::rows).map(|(time, _, values)| (time, values[0])));
                });
                prop_assert_eq!(release_slow(&mut waiting, EventTime::from_micros(limit)), released);
                prop_assert_eq!(waiting.len(), buckets.len());
            }
            let mut released = Vec::new();
            buckets.release(EventTime::MAX, |run| released.extend(run.rows().map(|(time, _, values)| (time, values[0]))));
            prop_assert_eq!(release_slow(&mut waiting, EventTime::MAX), released);
        }
    }
}
