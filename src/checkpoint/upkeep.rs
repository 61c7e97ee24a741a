//! Keeps the store small while a run goes on: after each manifest it removes what nobody needs any more, and merges objects.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidewatch_connectors::store::{Epoch, Store};
use tidewatch_connectors::task::{Inbox, Next, Task};
use tidewatch_connectors::{Control, Error, Progress};
use tidewatch_dataflows::EventTime;
use tracing::debug;

use super::keeper::{Note, Shared};
use super::retention::Retention;
use super::{compaction, reader::manifests};

/// How many checkpoints are kept that every sink has passed, in case that the newest is damaged.
const SPARE: usize = 2;

/// The upkeep of the store, in the process that writes manifests.
pub(super) struct Upkeep {
    pub(super) store: Arc<dyn Store>,
    pub(super) epoch: Epoch,
    pub(super) workers: usize,
    pub(super) control: Control,
    /// Told after each manifest.
    pub(super) manifests: Inbox<()>,
    /// Where merged objects go.
    pub(super) keeper: Weak<Shared>,
}

impl Upkeep {
    fn remove(&self) -> Result<(), Error> {
        let Some(committed) = self.control.committed() else { return Ok(()) };
        let committed = match committed.lowest {
            Progress::Below(time) => time,
            Progress::End => EventTime::MAX,
        };
        let control = self.control.clone();
        let removed =
            Retention { epoch: self.epoch, committed, spare: SPARE, control }.remove(&self.store)?;
        debug!(below = removed.below, objects = removed.objects.len(), "removed what is not needed");
        Ok(())
    }

    /// Merges objects of the newest manifest of this run: nobody else removes them.
    fn merge(&self) -> Result<(), Error> {
        let newest = manifests(&self.store)?.into_iter().rfind(|manifest| manifest.epoch == self.epoch);
        let Some(newest) = newest else { return Ok(()) };
        let Some(plan) = compaction::plan(&newest.objects, self.workers) else { return Ok(()) };
        let merged = plan.compact(&*self.store, self.epoch)?;
        debug!(inputs = plan.inputs().len(), bytes = merged.as_ref().map(|one| one.bytes), "merged objects");
        if let Some(keeper) = self.keeper.upgrade() {
            keeper.write(Note::Replace(plan, merged));
        }
        Ok(())
    }
}

impl Task for Upkeep {
    fn step(&mut self, _now: Duration, haste: bool) -> Result<Next, Error> {
        let mut is_due = false;
        while self.manifests.take_if(|()| true).is_some() {
            is_due = true;
        }
        if !is_due || haste {
            return Ok(self.manifests.rest());
        }
        self.remove()?;
        self.merge()?;
        Ok(Next::Now)
    }

    fn wait(&mut self, limit: Duration) {
        self.manifests.wait(limit);
    }
}
