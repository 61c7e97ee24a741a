//! The few decisions that had to look at a clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidewatch_dataflows::{EventTime, Offset, PartitionId};

use crate::{lock, Error};

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

/// Keeps nothing, for a run that nobody replays by its journal: decisions have no end as long as it goes on.
pub(crate) struct Unkept;

impl Journal for Unkept {
    fn append(&self, _: Decision) -> Result<(), Error> {
        Ok(())
    }

    fn decisions(&self, _: PartitionId) -> Vec<Decision> {
        Vec::new()
    }
}

/// A journal that lives as long as the process, and grows with each silence; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<BTreeMap<PartitionId, Vec<Decision>>>>);

impl MemoryJournal {
    /// The last decision at each offset: by partition, and of one in the order in which they were taken.
    pub fn all(&self) -> Vec<Decision> {
        lock(&self.0).values().flatten().copied().collect()
    }
}

impl Journal for MemoryJournal {
    fn append(&self, decision: Decision) -> Result<(), Error> {
        let mut entries = lock(&self.0);
        let decisions = entries.entry(decision.partition).or_default();
        // At one offset only the last decision counts: a partition that stays silent takes no more room.
        match decisions.last_mut() {
            Some(last) if last.offset == decision.offset => *last = decision,
            _ => decisions.push(decision),
        }
        Ok(())
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        lock(&self.0).get(&partition).cloned().unwrap_or_default()
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
