//! The rows, and containers that differ in their code alone.

use std::io::Write;
use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use timely::bytes::arc::Bytes;
use timely::container::{DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;
use timely::Accountable;

/// How many rows a container has: as many as a `RowBatch`.
pub(crate) const BATCH: u64 = tidewatch_dataflows::record::RowBatch::CAPACITY as u64;

#[derive(Clone, Copy, Debug, Serialize, Deserialize, columnar::Columnar)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) key: u64,
    pub(crate) value: f64,
}

impl Row {
    /// The key group, as the first byte of a `KeyNumber`.
    #[inline]
    pub(crate) fn worker_of(key: u64) -> u64 {
        key >> 56
    }

    #[inline]
    pub(crate) fn worker(&self) -> u64 {
        Self::worker_of(self.key)
    }
}

/// Row number `number`; its key group is odd, and so of the second of two workers.
#[inline]
pub(crate) fn row(number: u64) -> Row {
    let (group, key) = (number % 128 * 2 + 1, number % 10_000);
    Row {
        time: number as i64,
        key: group << 56 | key << 32 | number & 0xffff_ffff,
        value: number as f64 / 2.0,
    }
}

/// How rows become bytes.
#[allow(clippy::ptr_arg, reason = "what bincode and abomonation write is a `Vec`")]
pub(crate) trait Code: Clone + Default + Send + 'static {
    fn read(bytes: Bytes) -> Vec<Row>;
    fn length(rows: &Vec<Row>) -> usize;
    fn write<W: Write>(rows: &Vec<Row>, writer: &mut W);
}

/// What timely does with a `Vec`.
#[derive(Clone, Default)]
pub(crate) struct Bincode;

impl Code for Bincode {
    fn read(bytes: Bytes) -> Vec<Row> {
        ContainerBytes::from_bytes(bytes)
    }
    fn length(rows: &Vec<Row>) -> usize {
        rows.length_in_bytes()
    }
    fn write<W: Write>(rows: &Vec<Row>, writer: &mut W) {
        rows.into_bytes(writer);
    }
}

#[derive(Clone, Default)]
pub(crate) struct Abomonation;

impl abomonation::Abomonation for Row {}

impl Code for Abomonation {
    #[allow(unsafe_code, reason = "this is what abomonation offers")]
    fn read(bytes: Bytes) -> Vec<Row> {
        // It decodes in place what must be aligned, and what it decodes must not be dropped: so copy, decode and copy.
        let mut aligned: Vec<u64> = bytemuck::allocation::pod_collect_to_vec(&bytes);
        let bytes = bytemuck::cast_slice_mut(&mut aligned);
        // SAFETY: the bytes are those that `encode` has written in a process of the same program, and aligned as a `Vec`.
        let decoded = unsafe { abomonation::decode::<Vec<Row>>(bytes) };
        decoded.expect("the other process has encoded it").0.clone()
    }

    fn length(rows: &Vec<Row>) -> usize {
        abomonation::measure(rows).next_multiple_of(8)
    }

    #[allow(unsafe_code, reason = "this is what abomonation offers")]
    fn write<W: Write>(rows: &Vec<Row>, writer: &mut W) {
        let slack = Self::length(rows) - abomonation::measure(rows);
        // SAFETY: a row has no padding; what of the `Vec` is written is replaced when it is read.
        unsafe { abomonation::encode(rows, writer) }.expect("timely sized the buffer by its length");
        writer.write_all(&[0; 8][..slack]).expect("timely sized the buffer by its length");
    }
}

/// Rows that are written and read by code `C`.
#[derive(Clone, Default)]
pub(crate) struct Coded<C>(Vec<Row>, PhantomData<C>);

impl<C> Coded<C> {
    pub(crate) fn fill(&mut self, numbers: Range<u64>) {
        self.0.clear();
        self.0.reserve(BATCH as usize);
        self.0.extend(numbers.map(row));
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.0
    }
}

impl<C> Accountable for Coded<C> {
    fn record_count(&self) -> i64 {
        self.0.len() as i64
    }
}

impl<C: 'static> DrainContainer for Coded<C> {
    type Item<'a> = Row;
    type DrainIter<'a> = std::vec::Drain<'a, Row>;
    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.0.drain(..)
    }
}

impl<C: Default> SizableContainer for Coded<C> {
    fn at_capacity(&self) -> bool {
        self.0.len() as u64 >= BATCH
    }
    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        if self.0.capacity() == 0 {
            *self = stash.take().unwrap_or_default();
            self.0.clear();
        }
        self.0.reserve((BATCH as usize).saturating_sub(self.0.len()));
    }
}

impl<C> PushInto<Row> for Coded<C> {
    #[inline]
    fn push_into(&mut self, row: Row) {
        self.0.push(row);
    }
}

impl<C: Code> ContainerBytes for Coded<C> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self(C::read(bytes), PhantomData)
    }
    fn length_in_bytes(&self) -> usize {
        C::length(&self.0)
    }
    fn into_bytes<W: Write>(&self, writer: &mut W) {
        C::write(&self.0, writer);
    }
}
