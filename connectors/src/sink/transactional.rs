//! What a sink is whose output becomes visible in transactions.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::EventTime;

use super::Message;
use crate::store::Epoch;
use crate::Error;

/// How far output is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Every event of a time below this one is there, and no other event.
    Below(EventTime),
    /// Everything is there: all sources have ended.
    End,
}

impl Progress {
    /// Nothing is there.
    pub const START: Self = Self::Below(EventTime::MIN);

    /// Whether the events of `time` are there.
    pub fn covers(self, time: EventTime) -> bool {
        match self {
            Self::Below(limit) => time < limit,
            Self::End => true,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(limit) => limit.fmt(f),
            Self::End => f.write_str("the end"),
        }
    }
}

/// The number of a shard of a sink: which events it writes depends on them alone, never on who computes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub u32);

impl Shard {
    /// The worker, of `peers`, on which the shard lives.
    pub fn worker(self, peers: usize) -> usize {
        self.0 as usize % peers
    }
}

/// A sink whose output becomes visible in transactions, so that a run that goes on after a crash adds exactly what is
/// missing.
///
/// It has a fixed number of shards, each written from one thread of its own and committed on its own. Every process of a
/// run opens the shards that live on its workers.
pub trait TransactionalSink: Send + Sync {
    /// How many shards there are, at least one. It may not change between the runs of a job.
    fn shards(&self) -> u32 {
        1
    }

    /// Opens a shard, in the process in which it lives; shards are opened from several threads at the same time.
    ///
    /// # Errors
    ///
    /// [`Error`] if it cannot be opened.
    fn open(&self, shard: Shard) -> Result<Box<dyn ShardWriter>, Error>;
}

/// A shard of a [`TransactionalSink`]; used from one thread at a time, which its calls may block.
///
/// It may have several streams, which are numbered in the order in which they were built, and are committed together.
///
/// # Errors
///
/// [`Error::Fenced`] from each of its calls once a later run of the job has called [`fence`](Self::fence); other errors if what
/// was asked for cannot be done, or cannot be known to be done. After an error it is not called again.
pub trait ShardWriter: Send {
    /// Ends whoever wrote to the shard under a lower epoch, undoes what was written and not committed, and returns the
    /// progress of the last commit, or [`Progress::START`]. Called once, before everything else.
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error>;

    /// Writes the next messages of a stream, in order. They become visible with the next commit at the latest, and a crash
    /// before that may take them back.
    fn write(&mut self, stream: usize, messages: &[Message<'_>]) -> Result<(), Error>;

    /// Makes all that was written visible together with `progress`, which is higher than before, at once or not at all. When it
    /// returns, both survive a crash.
    fn commit(&mut self, progress: Progress) -> Result<(), Error>;

    /// Whether the first message of a stream comes after what its format has before all events, as CSV has a header;
    /// asked once it is fenced.
    fn wants_preamble(&self, _stream: usize) -> bool {
        false
    }

    /// Whether it looks at keys and headers; if not, there are none.
    fn wants_keys(&self) -> bool {
        false
    }
}
