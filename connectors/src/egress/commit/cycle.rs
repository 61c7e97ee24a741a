//! The task of a shard.

use std::sync::Arc;
use std::time::Duration;

use super::inbox::{Closed, Inbox, Item, Parcel};
use crate::task::{Next, Task};
use crate::{Error, Progress, ShardWriter};

/// How often a shard without output commits how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// Writes what comes to a shard, and commits it.
pub(super) struct Cycle {
    inbox: Arc<Inbox>,
    writer: Box<dyn ShardWriter>,
    interval: Duration,
    /// When the last commit began.
    last: Option<Duration>,
    /// Whether all messages below `reached` were written, and no others.
    is_whole: bool,
    reached: Progress,
    committed: Progress,
    /// Messages and bytes that were written and are not committed.
    messages: usize,
    bytes: u64,
}

impl Cycle {
    /// The work of a shard that is committed up to `committed`; messages are committed no more often than each `interval`.
    pub(super) fn new(inbox: Arc<Inbox>, writer: Box<dyn ShardWriter>, interval: Duration) -> Self {
        let committed = inbox.committed();
        let (last, is_whole, reached) = (None, true, committed);
        Self { inbox, writer, interval, last, is_whole, reached, committed, messages: 0, bytes: 0 }
    }

    /// When the next commit is due, if there is anything to commit.
    fn due(&self) -> Option<Duration> {
        if self.reached == self.committed {
            return None;
        }
        let interval = if self.messages > 0 { self.interval } else { PROGRESS };
        Some(self.last.map_or(Duration::ZERO, |last| last + interval))
    }

    fn write(&mut self, parcel: &Parcel) -> Result<Next, Error> {
        self.is_whole = false;
        self.messages += parcel.range.len();
        self.bytes += parcel.size();
        let Self { writer, .. } = self;
        parcel.batch.give(parcel.range.clone(), |messages| writer.write(parcel.stream, messages))?;
        Ok(Next::Now)
    }

    fn commit(&mut self, now: Duration) -> Result<Next, Error> {
        self.writer.commit(self.reached)?;
        (self.last, self.committed, self.messages) = (Some(now), self.reached, 0);
        self.inbox.commit(std::mem::take(&mut self.bytes), self.reached);
        Ok(if self.reached == Progress::End { Next::Done } else { Next::Now })
    }
}

/// Writes some messages, or commits; in haste, whatever can be committed is.
impl Task for Cycle {
    fn step(&mut self, now: Duration, haste: bool) -> Result<Next, Error> {
        loop {
            match self.inbox.next(|item| matches!(item, Item::Reached(_))) {
                Ok(Some(Item::Reached(progress))) => (self.reached, self.is_whole) = (progress, true),
                Ok(_) => break,
                Err(Closed) => return Ok(Next::Done),
            }
        }
        let due = self.due().filter(|_| self.is_whole);
        match due {
            Some(due) if haste || due <= now || self.reached == Progress::End => return self.commit(now),
            _ => {}
        }
        match self.inbox.next(|item| matches!(item, Item::Parcel(_))) {
            Ok(Some(Item::Parcel(parcel))) => self.write(&parcel),
            Ok(_) => Ok(due.map_or(Next::Idle, Next::At)),
            Err(Closed) => Ok(Next::Done),
        }
    }

    fn wait(&mut self, limit: Duration) {
        self.inbox.wait(limit);
    }
}
