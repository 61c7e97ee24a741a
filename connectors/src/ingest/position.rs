//! Where the reading of a partition stands, for whoever must say so when a reader or decoder panics.

use std::cell::Cell;

use tidewatch_dataflows::underway::{Tell, Underway};
use tidewatch_dataflows::{Offset, PartitionId};

thread_local! {
    /// The record whose payload a format decodes on this thread.
    static DECODED: Cell<Option<Offset>> = const { Cell::new(None) };
}

/// Has the payload of the record at `offset` decoded.
#[inline]
pub(crate) fn decoding<T>(offset: Offset, decode: impl FnOnce() -> T) -> T {
    DECODED.set(Some(offset));
    let decoded = decode();
    DECODED.set(None);
    decoded
}

/// A partition with the least offset that its next record can have.
#[derive(Debug)]
pub(super) struct Position {
    partition: PartitionId,
    pub(super) next: Cell<Offset>,
}

impl Position {
    pub(super) fn new(partition: PartitionId, next: Offset) -> Self {
        Self { partition, next: Cell::new(next) }
    }
}

impl Tell for Position {
    fn tell(&self) -> Option<Underway> {
        let partition = self.partition;
        Some(match DECODED.get() {
            Some(offset) => Underway::Payload { partition, offset },
            None => Underway::Read { partition, next: self.next.get() },
        })
    }
}
