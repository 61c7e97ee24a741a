//! The container in which records travel from sources to keyed state.

use std::io::Write;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;
use timely::Accountable;

use super::{Key, KeyNumber, Offset, PartitionId};
use crate::EventTime;

/// The fixed part of a row: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// When it was observed.
    pub time: EventTime,
    /// Whose observation it is, by the number that the dictionary of the source worker gave the key.
    pub key: KeyNumber,
    /// The lower half of its offset.
    pub offset: u32,
}

impl Head {
    /// A row of a time, key and offset.
    #[inline]
    pub fn new(time: EventTime, key: KeyNumber, offset: Offset) -> Self {
        Self { time, key, offset: offset.0 as u32 }
    }
}

/// Where the rows of a batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Their partition.
    pub partition: PartitionId,
    /// Which [`Dictionary`](super::Dictionary) numbers their keys, among those whose rows meet.
    pub dictionary: u32,
}

/// Rows of one partition in order of arrival: fixed-width heads, strided values beside them, and the changes to the
/// [`Dictionary`] that the rows need.
///
/// Rows are dictionary-encoded: a key's text travels once per source worker and key, in the same batch as the first
/// row that needs it, and so in the same first-in-first-out channel. Rows cost no allocation of their own.
///
/// [`Dictionary`]: super::Dictionary
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowBatch {
    origin: Origin,
    width: u32,
    #[serde(skip)]
    heads: Vec<Head>,
    #[serde(skip)]
    values: Vec<f64>,
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
            width: 0,
            heads: Vec::new(),
            values: Vec::new(),
            learned: Vec::new(),
            forgotten: Vec::new(),
        }
    }
}

impl RowBatch {
    /// How many rows a full batch has.
    pub const CAPACITY: usize = 1024;

    /// An empty batch for rows of `width` values from `origin`.
    pub fn new(origin: Origin, width: usize) -> Self {
        let mut batch = Self::default();
        batch.reset(origin, width);
        batch
    }

    /// Where the rows come from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width as usize
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Whether there are neither rows nor changes to the dictionary.
    pub fn says_nothing(&self) -> bool {
        self.is_empty() && self.learned.is_empty() && self.forgotten.is_empty()
    }

    /// Whether the batch should be sent.
    pub fn is_full(&self) -> bool {
        self.heads.len() >= Self::CAPACITY
    }

    /// Appends a row; `values` has [`RowBatch::width`] numbers.
    #[inline(always)]
    pub fn push(&mut self, head: Head, values: &[f64]) {
        debug_assert_eq!(self.width(), values.len());
        self.heads.push(head);
        match *values {
            [value] => self.values.push(value),
            _ => self.values.extend_from_slice(values),
        }
    }

    /// The rows in order.
    #[inline]
    pub fn rows(&self) -> impl Iterator<Item = (&Head, &[f64])> {
        // A width of zero has no chunks, so the rows are counted by their heads.
        let width = self.width();
        self.heads.iter().enumerate().map(move |(row, head)| (head, &self.values[row * width..][..width]))
    }

    /// The fixed parts of the rows, in order.
    pub fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The values of all rows, [`RowBatch::width`] at a time.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Empties the batch for rows of `width` values from `origin`, and keeps the allocations.
    pub fn reset(&mut self, origin: Origin, width: usize) {
        self.clear();
        self.origin = origin;
        self.width = u32::try_from(width).expect("fewer than 2^32 value fields");
        self.heads.reserve_exact(Self::CAPACITY);
        self.values.reserve_exact(Self::CAPACITY * width);
    }

    /// Takes rows and dictionary changes into a batch that has no room for more, and keeps the allocations.
    pub fn take(&mut self) -> Self {
        let taken = Self {
            origin: self.origin,
            width: self.width,
            heads: self.heads.as_slice().into(),
            values: self.values.as_slice().into(),
            learned: std::mem::take(&mut self.learned),
            forgotten: std::mem::take(&mut self.forgotten),
        };
        self.clear();
        taken
    }

    /// Removes rows and dictionary changes, and keeps the allocations.
    pub fn clear(&mut self) {
        self.heads.clear();
        self.values.clear();
        self.learned.clear();
        self.forgotten.clear();
    }
}

impl Accountable for RowBatch {
    #[inline]
    fn record_count(&self) -> i64 {
        self.heads.len() as i64
    }
}

/// On the wire: three lengths, the heads, the values, and the rest in bincode, each aligned to eight bytes.
///
/// The receiver copies the heads and values once, into aligned storage of their own.
impl ContainerBytes for RowBatch {
    fn from_bytes(bytes: Bytes) -> Self {
        let length = |at: usize| {
            let word = bytes[at * 8..][..8].try_into().expect("eight bytes");
            u64::from_le_bytes(word) as usize
        };
        let heads_end = 24 + length(0) * size_of::<Head>();
        let values_end = heads_end + length(1) * size_of::<f64>();
        let mut batch: Self = bincode::deserialize(&bytes[values_end..][..length(2)])
            .expect("written by a RowBatch of this build");
        batch.heads = bytemuck::allocation::pod_collect_to_vec(&bytes[24..heads_end]);
        batch.values = bytemuck::allocation::pod_collect_to_vec(&bytes[heads_end..values_end]);
        batch
    }

    fn length_in_bytes(&self) -> usize {
        let rest = bincode::serialized_size(self).expect("lengths fit") as usize;
        24 + self.heads.len() * size_of::<Head>()
            + self.values.len() * size_of::<f64>()
            + rest.next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let rest = bincode::serialize(self).expect("nothing in a batch is unserialisable");
        let mut write =
            |bytes: &[u8]| writer.write_all(bytes).expect("timely sized the buffer by length_in_bytes");
        for length in [self.heads.len(), self.values.len(), rest.len()] {
            write(&(length as u64).to_le_bytes());
        }
        write(bytemuck::cast_slice(&self.heads));
        write(bytemuck::cast_slice(&self.values));
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
        let mut batch = RowBatch::new(Origin { partition: PartitionId::of("s", "p"), dictionary: 3 }, width);
        for (time, offset, value) in rows {
            let key = Key::new(&offset.to_string());
            let number = KeyNumber::new(key.id().group(), batch.len());
            batch.learned.push((number, key));
            batch.forgotten.push(number);
            batch.push(
                Head::new(EventTime::from_micros(*time), number, Offset(*offset)),
                &vec![*value; width],
            );
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

    #[test]
    fn counts_rows_not_values() {
        assert_eq!(3, batch(2, &[(0, 0, 0.0); 3]).record_count());
        assert_eq!(2, batch(0, &[(0, 0, 0.0); 2]).rows().count());
    }
}
