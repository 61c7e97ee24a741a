//! What writes to the store while a run goes on, on threads of its own.

use std::collections::BTreeMap;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::{Epoch, Log, Store};
use tidewatch_connectors::{Control, Decision, Error, Journal, Kept};
use tidewatch_dataflows::state::Changes;
use tidewatch_dataflows::{EventTime, PartitionId};

use super::{object, Body, Change, Changes as Gathered, Manifest, ObjectRef};

/// The store as the workers of a process use it for one run; clones are the same.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    epoch: Epoch,
    /// What earlier runs have decided.
    decisions: BTreeMap<PartitionId, Vec<Decision>>,
    inbox: Mutex<Sender<Task>>,
}

/// Something to write into the log.
enum Task {
    Decide(Decision, Kept),
    Commit { boundary: EventTime, positions: Vec<Position>, objects: Vec<ObjectRef>, kept: Kept },
}

impl Keeper {
    /// Starts what writes into the log.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a thread cannot be started.
    pub(crate) fn start(scribe: Scribe, decisions: Vec<Decision>, control: &Control) -> Result<Self, Error> {
        let (inbox, tasks) = channel();
        let (store, epoch) = (scribe.store.clone(), scribe.epoch);
        let control = control.clone();
        let write = move || {
            if let Err(error) = scribe.write(&tasks) {
                control.fail(error);
            }
        };
        let thread = std::thread::Builder::new().name("tidewatch-log".to_owned());
        thread.spawn(write).map_err(Error::io("the thread that writes the log"))?;
        let mut by_partition = BTreeMap::<_, Vec<_>>::new();
        for decision in decisions {
            by_partition.entry(decision.partition).or_default().push(decision);
        }
        Ok(Self(Arc::new(Shared { store, epoch, decisions: by_partition, inbox: Mutex::new(inbox) })))
    }

    fn task(&self, task: Task) {
        let inbox = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        // A thread that is gone has failed the run.
        let _ = inbox.send(task);
    }

    /// What writes the objects of a worker.
    pub(super) fn archive(&self) -> Archive {
        let Shared { store, epoch, .. } = &*self.0;
        Archive { store: store.clone(), epoch: *epoch, changes: Vec::new() }
    }

    /// Has a manifest written: state at `boundary` is what it was at the one before with `objects`.
    pub(super) fn commit(
        &self,
        boundary: EventTime,
        positions: Vec<Position>,
        objects: Vec<ObjectRef>,
    ) -> Kept {
        let kept = Kept::default();
        self.task(Task::Commit { boundary, positions, objects, kept: kept.clone() });
        kept
    }
}

impl Journal for Keeper {
    fn append(&self, decision: Decision) -> Result<Kept, Error> {
        let kept = Kept::default();
        self.task(Task::Decide(decision, kept.clone()));
        Ok(kept)
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        self.0.decisions.get(&partition).cloned().unwrap_or_default()
    }
}

/// Writes into the log of a job for one process.
pub(crate) struct Scribe {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Log,
    pub(crate) epoch: Epoch,
    /// Stands for the pipeline.
    pub(crate) hash: u64,
    /// How many workers the run has.
    pub(crate) workers: usize,
    /// What state at the last boundary consists of.
    pub(crate) objects: Vec<ObjectRef>,
}

impl Scribe {
    fn write(mut self, tasks: &Receiver<Task>) -> Result<(), Error> {
        while let Ok(first) = tasks.recv() {
            let mut decided = Vec::new();
            for task in [first].into_iter().chain(tasks.try_iter()) {
                match task {
                    Task::Decide(decision, kept) => decided.push((decision, kept)),
                    Task::Commit { boundary, positions, objects, kept } => {
                        self.decide(&mut decided)?;
                        self.commit(boundary, positions, objects)?;
                        kept.keep();
                    }
                }
            }
            self.decide(&mut decided)?;
        }
        Ok(())
    }

    /// Writes decisions as one entry, and says so.
    fn decide(&mut self, decided: &mut Vec<(Decision, Kept)>) -> Result<(), Error> {
        if !decided.is_empty() {
            let decisions = decided.iter().map(|(decision, _)| *decision).collect();
            self.log.append(self.epoch, &Body::Decisions(decisions).encode())?;
            decided.drain(..).for_each(|(_, kept)| kept.keep());
        }
        Ok(())
    }

    fn commit(
        &mut self,
        boundary: EventTime,
        partitions: Vec<Position>,
        objects: Vec<ObjectRef>,
    ) -> Result<(), Error> {
        self.objects.extend(objects);
        let manifest = Manifest {
            boundary,
            epoch: self.epoch,
            hash: self.hash,
            workers: self.workers as u32,
            partitions,
            objects: self.objects.clone(),
        };
        self.log.append(self.epoch, &Body::Manifest(manifest).encode())?;
        Ok(())
    }
}

/// Writes what changed on one worker.
pub(super) struct Archive {
    store: Arc<dyn Store>,
    epoch: Epoch,
    changes: Vec<Changes>,
}

impl Archive {
    /// Takes changes up to the next boundary.
    pub(super) fn save(&mut self, changes: Changes) {
        self.changes.push(changes);
    }

    /// Writes what was taken as one object, unless nothing has changed.
    pub(super) fn seal(&mut self, boundary: EventTime) -> Result<Option<ObjectRef>, Error> {
        let changes = std::mem::take(&mut self.changes);
        if changes.iter().all(Changes::is_empty) {
            return Ok(None);
        }
        let mut all = Gathered::new();
        for change in changes.iter().flat_map(Changes::iter) {
            all.push(Change { key: change.key, version: boundary, last: change.last, state: change.state });
        }
        let bytes = object::encode(boundary, &all)?;
        Ok(Some(ObjectRef::write(&*self.store, self.epoch, bytes)?))
    }
}
