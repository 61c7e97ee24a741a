//! The container in which records travel from sources to keyed state.

use std::io::Write;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;
use timely::Accountable;

use super::{Key, KeyNumber, Offset, PartitionId, Rows};
use crate::EventTime;

/// The fixed part of a row: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// When it was observed.
    pub time: EventTime,
    /// Whose observation it is, by the number that the dictionary of the source worker gave the key.
    pub key: KeyNumber,
    /// The lower half of its offset; [`RowBatch::offset`] is the whole.
    pub offset: u32,
}

/// Where the rows of a batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Their partition.
    pub partition: PartitionId,
    /// Which [`Dictionary`](super::Dictionary) numbers their keys, among those whose rows meet.
    pub dictionary: u32,
}

/// Rows of one partition in order of arrival, each a fixed-width head with its values behind it, and the changes to the
/// [`Dictionary`] that the rows need.
///
/// Rows are dictionary-encoded: a key's text travels once per source worker and key, in the same batch as the first
/// row that needs it, and so in the same first-in-first-out channel. Rows cost no allocation of their own.
///
/// [`Dictionary`]: super::Dictionary
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowBatch {
    origin: Origin,
    /// No row has a lesser offset.
    since: Offset,
    /// The upper halves of the offsets, if a row is so far from the first one that they do not follow.
    uppers: Vec<u32>,
    #[serde(skip)]
    rows: Rows<Head>,
    /// Numbers that stand for a key from now on; applies before the rows.
    pub learned: Vec<(KeyNumber, Key)>,
    /// Numbers that stand for nothing from now on; applies after the rows.
    pub forgotten: Vec<KeyNumber>,
}

/// Of no partition: what an allocation is before it is used.
impl Default for RowBatch {
    fn default() -> Self {
        Self {
            origin: Origin { partition: PartitionId::of("", ""), dictionary: 0 },
            since: Offset(0),
            uppers: Vec::new(),
            rows: Rows::default(),
            learned: Vec::new(),
            forgotten: Vec::new(),
        }
    }
}

impl RowBatch {
    /// How many rows a full batch has.
    pub const CAPACITY: usize = 1024;

    /// An empty batch for rows of `width` values and offsets of at least `since` from `origin`.
    pub fn new(origin: Origin, width: usize, since: Offset) -> Self {
        let mut batch = Self::default();
        batch.reset(origin, width, since);
        batch
    }

    /// Where the rows come from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// No row has a lesser offset.
    pub fn since(&self) -> Offset {
        self.since
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.rows.width()
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there are neither rows nor changes to the dictionary.
    pub fn says_nothing(&self) -> bool {
        self.is_empty() && self.learned.is_empty() && self.forgotten.is_empty()
    }

    /// Whether the batch should be sent.
    pub fn is_full(&self) -> bool {
        self.rows.reach(Self::CAPACITY)
    }

    /// Whether this is what so many rows make that have [`RowBatch::width`] values each. Only so do rows mean anything; to
    /// look at each one when it is appended would cost too much.
    pub fn is_whole(&self, rows: usize) -> bool {
        self.rows.are(rows)
    }

    /// Appends a row, of a greater offset than those before it; `values` has [`RowBatch::width`] numbers.
    #[inline(always)]
    pub fn push(&mut self, time: EventTime, key: KeyNumber, offset: Offset, values: &[f64]) {
        // As offsets grow, so it is for all further rows.
        if offset.0.wrapping_sub(self.since.0) > u64::from(u32::MAX) {
            self.push_upper(offset);
        }
        self.push_head(Head { time, key, offset: offset.0 as u32 }, values);
    }

    /// Appends a row whose offset is less than 2^32 beyond the least one.
    #[inline(always)]
    pub(crate) fn push_head(&mut self, head: Head, values: &[f64]) {
        self.rows.push(head, values);
    }

    /// Keeps the upper half of a row's offset, and of those before it.
    #[cold]
    fn push_upper(&mut self, offset: Offset) {
        let upper = |offset: Offset| (offset.0 >> 32) as u32;
        if self.uppers.is_empty() {
            self.uppers = (0..self.len()).map(|row| upper(self.offset(row))).collect();
        }
        self.uppers.push(upper(offset));
    }

    /// The greatest offset; none if there are no rows.
    pub fn newest(&self) -> Option<Offset> {
        self.len().checked_sub(1).map(|last| self.offset(last))
    }

    /// The upper half of all offsets, if they have the same.
    pub(crate) fn upper(&self) -> Option<u32> {
        let newest = self.newest()?.0 >> 32;
        (newest == self.since.0 >> 32).then_some(newest as u32)
    }

    /// Whether [`RowBatch::push_head`] can append all rows of `other`, which has the same origin and width.
    pub(crate) fn reaches(&mut self, other: &Self) -> bool {
        if self.is_empty() {
            self.since = other.since;
        }
        let since = self.since.0;
        let is_near = |newest: Offset| newest.0.wrapping_sub(since) <= u64::from(u32::MAX);
        other.newest().is_none_or(is_near)
    }

    /// The offset of a row.
    #[inline]
    pub fn offset(&self, row: usize) -> Offset {
        let lower = self.rows.at(row).0.offset;
        match self.uppers.get(row) {
            Some(upper) => Offset(u64::from(*upper) << 32 | u64::from(lower)),
            None => Offset(self.since.0 + u64::from(lower.wrapping_sub(self.since.0 as u32))),
        }
    }

    /// The rows in order.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = (Head, &[f64])> {
        self.rows.iter()
    }

    /// Empties the batch for rows of `width` values and offsets of at least `since` from `origin`, and keeps the
    /// allocations.
    pub fn reset(&mut self, origin: Origin, width: usize, since: Offset) {
        self.clear();
        self.since = since;
        self.origin = origin;
        self.rows.reset(width, Self::CAPACITY);
    }

    /// Takes rows and dictionary changes into a batch that has no room for more, and keeps the allocations.
    pub fn take(&mut self) -> Self {
        let taken = Self {
            origin: self.origin,
            since: self.since,
            uppers: std::mem::take(&mut self.uppers),
            rows: self.rows.copied(),
            learned: std::mem::take(&mut self.learned),
            forgotten: std::mem::take(&mut self.forgotten),
        };
        self.clear();
        taken
    }

    /// Removes rows and dictionary changes, and keeps the allocations.
    pub fn clear(&mut self) {
        self.uppers.clear();
        self.rows.clear();
        self.learned.clear();
        self.forgotten.clear();
    }
}

impl Accountable for RowBatch {
    #[inline]
    fn record_count(&self) -> i64 {
        self.len() as i64
    }
}

/// On the wire: how many values a row has and how many bytes the rows and the rest, the rows, and the rest in bincode, each aligned to eight bytes.
///
/// The receiver copies the rows once, into aligned storage of their own.
impl ContainerBytes for RowBatch {
    fn from_bytes(bytes: Bytes) -> Self {
        let number = |at: usize| {
            let word = bytes[at * 8..][..8].try_into().expect("eight bytes");
            u64::from_le_bytes(word) as usize
        };
        let (rows, rest) = bytes[24..].split_at(number(1));
        let mut batch: Self =
            bincode::deserialize(&rest[..number(2)]).expect("written by a RowBatch of this build");
        batch.rows = Rows::from_bytes(number(0), rows);
        batch
    }

    fn length_in_bytes(&self) -> usize {
        let rest = bincode::serialized_size(self).expect("lengths fit") as usize;
        24 + self.rows.bytes().len() + rest.next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let rest = bincode::serialize(self).expect("nothing in a batch is unserialisable");
        let rows = self.rows.bytes();
        let mut write =
            |bytes: &[u8]| writer.write_all(bytes).expect("timely sized the buffer by length_in_bytes");
        for number in [self.width(), rows.len(), rest.len()] {
            write(&(number as u64).to_le_bytes());
        }
        write(rows);
        write(&rest);
        write(&[0; 8][..rest.len().next_multiple_of(8) - rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KeyNumber;
    use proptest::prelude::*;
    use timely::bytes::arc::BytesMut;

    fn batch(width: usize, rows: &[(i64, u64, f64)]) -> RowBatch {
        let origin = Origin { partition: PartitionId::of("s", "p"), dictionary: 3 };
        let since = rows.iter().map(|(_, offset, _)| Offset(*offset)).min();
        let mut batch = RowBatch::new(origin, width, since.unwrap_or_default());
        for (time, offset, value) in rows {
            let key = Key::new(&offset.to_string());
            let number = KeyNumber::new(key.id().group(), batch.len());
            batch.learned.push((number, key));
            batch.forgotten.push(number);
            batch.push(EventTime::from_micros(*time), number, Offset(*offset), &vec![*value; width]);
        }
        batch
    }

    proptest! {
        #[test]
        fn travels_between_processes_unchanged(
            width in 0usize..4,
            rows in prop::collection::vec((any::<i64>(), any::<u64>(), -1e300f64..1e300), 0..50),
        ) {
            let sent = batch(width, &rows);
            let mut bytes = Vec::new();
            sent.into_bytes(&mut bytes);
            prop_assert_eq!(bytes.len(), sent.length_in_bytes());
            prop_assert_eq!(bytes.len() % 8, 0);
            let received = RowBatch::from_bytes(BytesMut::from(bytes).freeze());
            prop_assert_eq!(sent, received);
        }
    }

    proptest! {
        #[test]
        fn keeps_whole_offsets(
            first in any::<u32>(),
            steps in prop::collection::vec(prop_oneof![9 => 1..99u64, 1 => any::<u64>().prop_map(|step| step >> 5 | 1)], 0..30),
        ) {
            let offsets: Vec<_> = std::iter::once(0).chain(steps).scan(u64::from(first), |at, step| {
                *at += step;
                Some(*at)
            }).collect();
            let batch = batch(1, &offsets.iter().map(|offset| (0, *offset, 0.0)).collect::<Vec<_>>());
            let kept: Vec<_> = (0..batch.len()).map(|row| batch.offset(row).0).collect();
            prop_assert_eq!(offsets, kept);
        }
    }

    #[test]
    fn a_batch_of_rows_with_another_number_of_values_is_not_whole() {
        for width in 0..4 {
            let mut batch = batch(width, &[(0, 0, 0.0); 2]);
            assert!(batch.is_whole(2));
            batch.push(EventTime::MIN, KeyNumber::new(Key::new("k").id().group(), 0), Offset(1), &[0.0; 2]);
            assert_eq!(width == 2, batch.is_whole(3));
        }
    }

    #[test]
    fn counts_rows_not_values() {
        assert_eq!(3, batch(2, &[(0, 0, 0.0); 3]).record_count());
        assert_eq!(2, batch(0, &[(0, 0, 0.0); 2]).rows().count());
    }
}
