//! Rows that wait for the frontier, and the order in which they leave.
//!
//! Rows wait in buckets of 32 ms, unsorted. The bucket that the frontier enters is dealt into 32 slots of 1 ms, so
//! that a row waits for the end of its millisecond, not of its bucket. A bucket or slot is sorted once, when it
//! leaves, by a packed key: time in the bucket (15 bits, in µs), partition (21), index of arrival (28). The index
//! stands for the offset, because the rows of a partition arrive in offset order: one source worker, one channel.

use std::collections::BTreeMap;

use crate::record::{Head, PartitionId, RowBatch};
use crate::EventTime;

const SLOTS: i64 = 32;
const TIME_SHIFT: u32 = 49;
const PARTITION_SHIFT: u32 = 28;
const INDEX_MASK: u64 = (1 << PARTITION_SHIFT) - 1;

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
    partitions: Ranks,
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
            partitions: Ranks::default(),
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
        for (head, values) in batch.rows() {
            self.push(head, values);
        }
    }

    /// Takes one row.
    #[inline]
    pub fn push(&mut self, head: &Head, values: &[f64]) {
        self.partitions.note(head.partition);
        self.newest = self.newest.max(head.time);
        self.len += 1;
        let millisecond = millisecond(head.time);
        let bucket = millisecond >> 5;
        if bucket == self.open {
            self.slots[(millisecond & (SLOTS - 1)) as usize].push(head, values);
        } else {
            let spare = &mut self.spare;
            self.far.entry(bucket).or_insert_with(|| spare.pop().unwrap_or_default()).push(head, values);
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

    /// Hands out the rows of whole milliseconds before `limit` in `(time, partition, offset)` order.
    pub fn release(&mut self, limit: EventTime, mut row: impl FnMut(&Head, &[f64])) {
        let limit = if limit == EventTime::MAX { i64::MAX } else { millisecond(limit) };
        loop {
            let end = (self.open + 1).saturating_mul(SLOTS);
            self.release_slots(limit.min(end), &mut row);
            if limit < end {
                return;
            }
            match self.far.first_key_value() {
                Some((&bucket, _)) if bucket << 5 < limit => {
                    let mut rows = self.far.pop_first().expect("it was just seen").1;
                    self.open(bucket);
                    if self.at + SLOTS <= limit {
                        self.len -= rows.len();
                        rows.hand_out(bucket << 5, &self.partitions, &mut self.order, &mut row);
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
    fn release_slots(&mut self, limit: i64, row: &mut impl FnMut(&Head, &[f64])) {
        while self.at < limit {
            let slot = &mut self.slots[(self.at & (SLOTS - 1)) as usize];
            if slot.len() > 0 {
                self.len -= slot.len();
                slot.hand_out(self.at & !(SLOTS - 1), &self.partitions, &mut self.order, row);
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
        for (index, head) in rows.heads.iter().enumerate() {
            let slot = (millisecond(head.time) & (SLOTS - 1)) as usize;
            self.slots[slot].push(head, rows.values_of(index));
        }
    }
}

/// Rows in order of arrival.
#[derive(Debug, Default)]
struct Rows {
    heads: Vec<Head>,
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    #[inline]
    fn push(&mut self, head: &Head, values: &[f64]) {
        self.width = values.len();
        self.heads.push(*head);
        match *values {
            [value] => self.values.push(value),
            _ => self.values.extend_from_slice(values),
        }
    }

    fn len(&self) -> usize {
        self.heads.len()
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
    }

    #[inline]
    fn values_of(&self, index: usize) -> &[f64] {
        &self.values[index * self.width..][..self.width]
    }

    /// Hands out the rows in order; all are within 32 ms from millisecond `start`.
    fn hand_out(
        &mut self,
        start: i64,
        partitions: &Ranks,
        order: &mut Vec<u64>,
        row: &mut impl FnMut(&Head, &[f64]),
    ) {
        assert!(self.len() as u64 <= INDEX_MASK, "fewer than 2^28 rows in 32 ms of event time");
        let start = start * 1_000;
        let mut last = (PartitionId::of("", ""), 0);
        order.clear();
        order.extend(self.heads.iter().enumerate().map(|(index, head)| {
            if head.partition != last.0 {
                last = (head.partition, partitions.rank(head.partition) << PARTITION_SHIFT);
            }
            ((head.time.micros() - start) as u64) << TIME_SHIFT | last.1 | index as u64
        }));
        order.sort_unstable();
        for packed in order.iter() {
            let index = (packed & INDEX_MASK) as usize;
            row(&self.heads[index], self.values_of(index));
        }
    }
}

/// The partitions seen so far, in the order of their identifiers.
#[derive(Debug, Default)]
struct Ranks {
    sorted: Vec<PartitionId>,
    last: Option<PartitionId>,
}

impl Ranks {
    #[inline]
    fn note(&mut self, partition: PartitionId) {
        if self.last != Some(partition) {
            self.last = Some(partition);
            if let Err(at) = self.sorted.binary_search(&partition) {
                self.sorted.insert(at, partition);
                assert!(
                    self.sorted.len() < 1 << (TIME_SHIFT - PARTITION_SHIFT),
                    "fewer than 2^21 partitions"
                );
            }
        }
    }

    fn rank(&self, partition: PartitionId) -> u64 {
        self.sorted.binary_search(&partition).expect("noted when its row came") as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{KeyId, Offset};
    use proptest::prelude::*;

    /// The definition: everything before the limit, sorted as a whole.
    fn release_slow(waiting: &mut Vec<Head>, limit: EventTime) -> Vec<Head> {
        let (mut out, rest) = waiting.iter().partition::<Vec<Head>, _>(|head| {
            limit == EventTime::MAX || millisecond(head.time) < millisecond(limit)
        });
        *waiting = rest;
        out.sort_by_key(|head| (head.time, head.partition, head.offset));
        out
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
                buckets.release(EventTime::from_micros(limit), |head, values| {
                    assert_eq!(head.offset.0 as f64, values[0]);
                    released.push(*head);
                });
                prop_assert_eq!(release_slow(&mut waiting, EventTime::from_micros(limit)), released);
                prop_assert_eq!(waiting.len(), buckets.len());
            }
            let mut released = Vec::new();
            buckets.release(EventTime::MAX, |head, _| released.push(*head));
            prop_assert_eq!(release_slow(&mut waiting, EventTime::MAX), released);
        }
    }
}
