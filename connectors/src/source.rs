//! What a source of records is.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, KeyId, Offset, PartitionId};
use timely::scheduling::SyncActivator;

use crate::{Decision, Error};

#[cfg(test)]
pub(crate) mod testing;

/// A partition of a source: a sequence of records with growing offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its identity, from the names of source and partition.
    pub id: PartitionId,
    /// The name of the source in the pipeline.
    pub source: Arc<str>,
    /// The name within the source: a path, a number, a topic with a number.
    pub name: Arc<str>,
}

impl Partition {
    /// A partition of `source`.
    pub fn new(source: &str, name: &str) -> Self {
        Self { id: PartitionId::of(source, name), source: source.into(), name: name.into() }
    }
}

/// Something that records can be read from.
///
/// One source serves all workers of a process: each asks for the partitions that it owns.
pub trait Source: Send + Sync {
    /// The name in pipeline files, as in `file`.
    fn kind(&self) -> &'static str;

    /// Lists the names of the partitions that there are now, without duplicates.
    ///
    /// # Errors
    ///
    /// [`Error`] if they cannot be listed, or if there can never be any.
    fn partitions(&self) -> Result<Vec<String>, Error>;

    /// Opens a partition at the first record with an offset of at least `from`, or, without one, where the source starts by
    /// itself, which [`Reader::start`] says.
    ///
    /// `waker` wakes the worker that reads, from any thread; a reader that returns [`Status::Pending`] must see to it
    /// that it is called when there may be more, or be content to be asked again every [`Source::patience`].
    ///
    /// # Errors
    ///
    /// [`Error`] if the partition cannot be opened.
    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error>;

    /// The offset from which a partition is read that no run has read yet.
    ///
    /// # Errors
    ///
    /// [`Error`] if it cannot be found out.
    fn first(&self, _partition: &str) -> Result<Offset, Error> {
        Ok(Offset(0))
    }

    /// The same of one that was not there when the source was first read: everything in it is new.
    ///
    /// # Errors
    ///
    /// As [`first`](Self::first).
    fn joins(&self, partition: &str) -> Result<Offset, Error> {
        self.first(partition)
    }

    /// How often somebody is to look whether it has more partitions than before; `None` if it never has, or nobody is to look.
    fn grows(&self) -> Option<std::time::Duration> {
        None
    }

    /// The decisions that were taken when the partition was first read, if the source is a recording.
    ///
    /// # Errors
    ///
    /// [`Error`] if they cannot be read.
    fn decisions(&self, _partition: &str) -> Result<Vec<Decision>, Error> {
        Ok(Vec::new())
    }

    /// Takes note that a run is over which has read it, whose readers are gone, and lets go of what it needs for that; it may
    /// take a moment. Another run can read it again.
    fn close(&self) {}

    /// Whether its partitions are there for the first process of a cluster alone, as standard input is; its first
    /// worker then reads them.
    fn is_local(&self) -> bool {
        false
    }

    /// How long to wait before asking a pending reader again, for readers that cannot call the waker; they are not asked
    /// sooner, whatever else goes on.
    fn patience(&self) -> Option<std::time::Duration> {
        None
    }

    /// The size of all partitions together, in the unit of [`Reader::position`], if it is known.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// Reads one partition in offset order.
pub trait Reader {
    /// Gives records to `intake` until it breaks, the partition has no more for now, or it has ended.
    ///
    /// Never blocks.
    ///
    /// # Errors
    ///
    /// [`Error`] if the partition can no longer be read.
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error>;

    /// The least offset that its first record can have, where the source was left to choose; asked right after it was opened.
    fn start(&self) -> Offset {
        Offset(0)
    }

    /// How many offsets there still are up to the present end of the partition, if that is known.
    fn lag(&self) -> Option<u64> {
        None
    }

    /// How much of the partition has been read, in the unit of [`Source::size`].
    fn position(&self) -> u64 {
        0
    }

    /// What is known of a record beside what it says, as that it is an anomaly; asked right after it was read.
    fn label(&self, _offset: Offset) -> Option<String> {
        None
    }
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There may be more at once: the intake broke off, or the reader paused in a long skip to where it starts.
    More,
    /// There is no more for now.
    Pending,
    /// There will never be more.
    Ended,
}

/// A record as a source reads it.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its line in the file, counted from one, if the partition has lines.
    pub line: Option<u64>,
    /// When a broker or recording appended it.
    pub appended: Option<EventTime>,
    /// The bytes that a format decodes.
    pub payload: &'a [u8],
    /// What came with the payload, if the source has such things.
    pub envelope: Option<&'a dyn Envelope>,
}

impl<'a> Raw<'a> {
    /// A payload at an offset, of which nothing else is known.
    pub fn new(offset: Offset, payload: &'a [u8]) -> Self {
        Self { offset, line: None, appended: None, payload, envelope: None }
    }
}

/// What a message of a broker carries beside its payload.
pub trait Envelope: std::fmt::Debug {
    /// Its key.
    fn key(&self) -> Option<&[u8]>;

    /// The value of the last header of this name; none if there is no such header, or if it has no value.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// A record of a source that keeps what its format makes of a payload.
#[derive(Clone, Copy)]
pub struct Decoded<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its line in the file, counted from one, if the partition has lines.
    pub line: Option<u64>,
    /// When a broker or recording appended it.
    pub appended: Option<EventTime>,
    /// When it was observed.
    pub time: EventTime,
    /// The hash of `key`.
    pub id: KeyId,
    /// The text of its key.
    pub key: &'a str,
    /// Its values, in the schema's order.
    pub values: &'a [f64],
    /// The bytes that the format decodes; only a record that is rejected needs them.
    pub payload: &'a dyn Fn() -> Cow<'a, [u8]>,
}

impl Decoded<'_> {
    /// Gives the record with its payload.
    pub(crate) fn with_raw<T>(&self, give: impl FnOnce(Raw<'_>) -> T) -> T {
        let payload = (self.payload)();
        give(Raw { line: self.line, appended: self.appended, ..Raw::new(self.offset, &payload) })
    }
}

/// Takes the records of one partition.
///
/// After [`ControlFlow::Break`] the reader returns [`Status::More`] without giving another record; the
/// record given has been taken.
pub trait Intake {
    /// Takes the header line of the partition, which is not a record: at most once per reader, before every record,
    /// also when the reader starts in the middle. Only sources whose framing asks for it give one.
    ///
    /// # Errors
    ///
    /// An [`Error`] that names the partition if its records cannot be decoded under this header; the reader gives
    /// up with it.
    fn header(&mut self, line: &[u8]) -> Result<(), Error>;

    /// Takes a payload, to be decoded by the source's format.
    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()>;

    /// Takes a record that needs no decoding; `values` are in the schema's order.
    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()>;

    /// Takes a record that is decoded already, as the source's format would.
    fn decoded(&mut self, record: Decoded<'_>) -> ControlFlow<()> {
        record.with_raw(|raw| self.raw(raw))
    }

    /// Takes a piece of the partition that is not even a record, as a damaged compressed block.
    fn damaged(&mut self, raw: Raw<'_>, reason: String) -> ControlFlow<()>;
}
