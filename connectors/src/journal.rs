//! The few decisions that had to look at a clock.

use std::sync::{Arc, Mutex};

use tidewatch_dataflows::{EventTime, Offset, PartitionId};

use crate::Error;

/// A watermark forced at an offset of a partition, because it had fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whose watermark.
    pub partition: PartitionId,
    /// The first offset to which it applies: records from here on are classified with it.
    pub offset: Offset,
    /// The watermark.
    pub watermark: EventTime,
}

/// Keeps decisions, so that a replay of the same partitions takes the same ones at the same offsets.
pub trait Journal: Send + Sync {
    /// Keeps a decision; when it returns, the decision holds for every replay.
    ///
    /// # Errors
    ///
    /// [`Error`] if it could not be kept; the decision must not be acted on.
    fn append(&self, decision: Decision) -> Result<(), Error>;

    /// The decisions on a partition, in the order in which they were taken.
    fn decisions(&self, partition: PartitionId) -> Vec<Decision>;
}

/// A journal that lives as long as the process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Vec<Decision>>>);

impl MemoryJournal {
    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Decision>> {
        // A poisoned lock guards a list that is whole after every statement.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The last decision at each offset, in the order in which the first one there was taken.
    pub fn all(&self) -> Vec<Decision> {
        self.entries().clone()
    }
}

impl Journal for MemoryJournal {
    fn append(&self, decision: Decision) -> Result<(), Error> {
        let mut entries = self.entries();
        // At one offset only the last decision counts: a partition that stays silent takes no more room.
        match entries.iter_mut().rev().find(|earlier| earlier.partition == decision.partition) {
            Some(last) if last.offset == decision.offset => *last = decision,
            _ => entries.push(decision),
        }
        Ok(())
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        self.entries().iter().filter(|decision| decision.partition == partition).copied().collect()
    }
}
