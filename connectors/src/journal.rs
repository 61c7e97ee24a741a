//! The few decisions that had to look at a clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::{EventTime, Offset, PartitionId};
use timely::scheduling::SyncActivator;

use crate::{lock, Error};

/// A watermark forced at an offset of a partition, because it had fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whose watermark.
    pub partition: PartitionId,
    /// The first offset to which it applies: records from here on are classified with it.
    pub offset: Offset,
    /// The watermark.
    pub watermark: EventTime,
}

/// Keeps decisions, so that a replay of the same partitions takes the same ones at the same offsets, and the editions of
/// reference data, so that it takes up the same ones at the same event times.
pub trait Journal: Send + Sync {
    /// Begins to keep a decision. Once it is kept it holds for every replay, and not before may it be acted on.
    ///
    /// # Errors
    ///
    /// [`Error`] if it cannot be kept.
    fn append(&self, decision: Decision) -> Result<Kept, Error>;

    /// The decisions on a partition, in the order in which they were taken.
    fn decisions(&self, partition: PartitionId) -> Vec<Decision>;

    /// Begins to keep what reference data says from a time on, as [`append`](Self::append) does a decision.
    ///
    /// # Errors
    ///
    /// [`Error`] if it cannot be kept.
    fn refer(&self, edition: &Edition<String>) -> Result<Kept, Error>;

    /// The editions of reference data that are in force from some time on, in the order in which they were taken up.
    fn editions(&self) -> Vec<Edition<String>>;
}

/// Whether something is kept that was to be; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<Keeping>);

#[derive(Debug, Default)]
struct Keeping {
    is_kept: AtomicBool,
    waker: Mutex<Option<SyncActivator>>,
}

impl Kept {
    /// What is kept already.
    pub fn already() -> Self {
        let kept = Self::default();
        kept.keep();
        kept
    }

    /// Takes note that it is kept, and wakes who waits for it.
    pub fn keep(&self) {
        self.0.is_kept.store(true, Ordering::Release);
        if let Some(waker) = lock(&self.0.waker).take() {
            // A worker that is gone waits for nothing.
            let _ = waker.activate();
        }
    }

    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        self.0.is_kept.load(Ordering::Acquire)
    }

    /// Has `waker` called once it is.
    pub fn wake(&self, waker: &SyncActivator) {
        *lock(&self.0.waker) = Some(waker.clone());
        if self.is_kept() {
            self.keep();
        }
    }
}

/// Keeps nothing, for a run that nobody replays by its journal: decisions have no end as long as it goes on. It may go by editions of
/// reference data that were taken up before.
#[derive(Clone, Debug, Default)]
pub struct Unkept(pub Vec<Edition<String>>);

impl Journal for Unkept {
    fn append(&self, _: Decision) -> Result<Kept, Error> {
        Ok(Kept::already())
    }

    fn decisions(&self, _: PartitionId) -> Vec<Decision> {
        Vec::new()
    }

    fn refer(&self, _: &Edition<String>) -> Result<Kept, Error> {
        Ok(Kept::already())
    }

    fn editions(&self) -> Vec<Edition<String>> {
        self.0.clone()
    }
}

/// A journal that lives as long as the process, and grows with each silence; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    decisions: BTreeMap<PartitionId, Vec<Decision>>,
    editions: Vec<Edition<String>>,
}

impl MemoryJournal {
    /// The last decision at each offset: by partition, and of one in the order in which they were taken.
    pub fn all(&self) -> Vec<Decision> {
        lock(&self.0).decisions.values().flatten().copied().collect()
    }
}

impl Journal for MemoryJournal {
    fn append(&self, decision: Decision) -> Result<Kept, Error> {
        let mut written = lock(&self.0);
        let decisions = written.decisions.entry(decision.partition).or_default();
        // At one offset only the last decision counts: a partition that stays silent takes no more room.
        match decisions.last_mut() {
            Some(last) if last.offset == decision.offset => *last = decision,
            _ => decisions.push(decision),
        }
        Ok(Kept::already())
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        lock(&self.0).decisions.get(&partition).cloned().unwrap_or_default()
    }

    fn refer(&self, edition: &Edition<String>) -> Result<Kept, Error> {
        lock(&self.0).editions.push(edition.clone());
        Ok(Kept::already())
    }

    fn editions(&self) -> Vec<Edition<String>> {
        lock(&self.0).editions.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_kept_by_partition_and_at_one_offset_the_last_one_counts() {
        let journal = MemoryJournal::default();
        let [a, b] = ["a", "b"].map(|name| PartitionId::of("m", name));
        let decision = |partition, offset, micros| Decision {
            partition,
            offset: Offset(offset),
            watermark: EventTime::from_micros(micros),
        };
        for taken in [decision(a, 1, 10), decision(b, 1, 11), decision(a, 1, 12), decision(a, 2, 13)] {
            journal.append(taken).unwrap();
        }
        assert_eq!(vec![decision(a, 1, 12), decision(a, 2, 13)], journal.decisions(a));
        assert_eq!(vec![decision(b, 1, 11)], journal.decisions(b));
        assert_eq!(0, journal.decisions(PartitionId::of("m", "c")).len());
        assert_eq!(3, journal.all().len());
    }
}
