//! What writes to the store while a run goes on, in tasks.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::{Epoch, Log, Store};
use tidewatch_connectors::task::{inbox, Inbox, Next, Task};
use tidewatch_connectors::{Control, Decision, Error, Journal, Kept};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::state::Changes;
use tidewatch_dataflows::{EventTime, PartitionId};
use tracing::info;

use super::compaction::Plan;
use super::upkeep::Upkeep;
use super::{object, Body, Change, Changes as Gathered, Manifest, ObjectRef};

/// The store as the workers of a process use it for one run; clones are the same.
#[derive(Clone)]
pub(crate) struct Keeper(Arc<Shared>);

pub(super) struct Shared {
    store: Arc<dyn Store>,
    epoch: Epoch,
    /// What earlier runs have decided.
    decisions: BTreeMap<PartitionId, Vec<Decision>>,
    /// The reference data that earlier runs have taken up.
    editions: Vec<Edition<String>>,
    outbox: Mutex<Sender<Note>>,
}

/// Something to write into the log.
pub(super) enum Note {
    Decide(Decision, Kept),
    Refer(Edition<String>, Kept),
    Commit {
        boundary: EventTime,
        positions: Vec<Position>,
        objects: Vec<ObjectRef>,
        is_savepoint: bool,
        kept: Kept,
    },
    /// Objects were merged, which counts from the next manifest on.
    Replace(Plan, Option<ObjectRef>),
}

impl Shared {
    pub(super) fn write(&self, note: Note) {
        let outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that is gone has failed the run.
        let _ = outbox.send(note);
    }
}

impl Keeper {
    /// Starts what writes into the log.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a thread cannot be started.
    pub(crate) fn start(scribe: Scribe, decisions: Vec<Decision>, control: &Control) -> Result<Self, Error> {
        let (outbox, notes) = inbox();
        let (store, epoch, workers) = (scribe.store.clone(), scribe.epoch, scribe.workers);
        let editions = scribe.editions.clone();
        let (written, manifests) = inbox();
        control.spawn("log", Writing { scribe, notes, written })?;
        let mut by_partition = BTreeMap::<_, Vec<_>>::new();
        for decision in decisions {
            by_partition.entry(decision.partition).or_default().push(decision);
        }
        let decisions = by_partition;
        let shared = Shared { store: store.clone(), epoch, decisions, editions, outbox: Mutex::new(outbox) };
        let keeper = Self(Arc::new(shared));
        // It must not keep alive what it waits for.
        let weak = Arc::downgrade(&keeper.0);
        let control_ = control.clone();
        control
            .spawn("upkeep", Upkeep { store, epoch, workers, control: control_, manifests, keeper: weak })?;
        Ok(keeper)
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
        is_savepoint: bool,
    ) -> Kept {
        let kept = Kept::default();
        self.0.write(Note::Commit { boundary, positions, objects, is_savepoint, kept: kept.clone() });
        kept
    }
}

impl Journal for Keeper {
    fn append(&self, decision: Decision) -> Result<Kept, Error> {
        let kept = Kept::default();
        self.0.write(Note::Decide(decision, kept.clone()));
        Ok(kept)
    }

    fn decisions(&self, partition: PartitionId) -> Vec<Decision> {
        self.0.decisions.get(&partition).cloned().unwrap_or_default()
    }

    fn refer(&self, edition: &Edition<String>) -> Result<Kept, Error> {
        let kept = Kept::default();
        self.0.write(Note::Refer(edition.clone(), kept.clone()));
        Ok(kept)
    }

    fn editions(&self) -> Vec<Edition<String>> {
        self.0.editions.clone()
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
    /// The reference data that is in force there, and later on, in the order of time.
    pub(crate) editions: Vec<Edition<String>>,
}

impl Scribe {
    fn decide(&mut self, decisions: Vec<Decision>) -> Result<(), Error> {
        self.log.append(self.epoch, &Body::Decisions(decisions).encode())?;
        Ok(())
    }

    fn refer(&mut self, edition: Edition<String>) -> Result<(), Error> {
        let body = Body::Referred(edition.clone()).encode();
        self.log.append(self.epoch, &body)?;
        self.editions.push(edition);
        Ok(())
    }

    fn commit(
        &mut self,
        boundary: EventTime,
        partitions: Vec<Position>,
        objects: Vec<ObjectRef>,
        is_savepoint: bool,
    ) -> Result<(), Error> {
        let (keys, bytes) = objects.iter().fold((0, 0), |(keys, bytes), object| {
            (keys + object.keys + object.evicted, bytes + object.bytes)
        });
        self.objects.extend(objects);
        let in_force =
            self.editions.iter().map(|edition| edition.from).filter(|from| *from <= boundary).max();
        self.editions.retain(|edition| Some(edition.from) >= in_force);
        let manifest = Manifest {
            boundary,
            epoch: self.epoch,
            hash: self.hash,
            is_savepoint,
            workers: self.workers as u32,
            partitions,
            objects: self.objects.clone(),
            editions: self.editions.clone(),
        };
        self.log.append(self.epoch, &Body::Manifest(manifest).encode())?;
        info!(%boundary, keys, bytes, "committed checkpoint");
        Ok(())
    }
}

/// Writes entry after entry; decisions that have come together are one.
struct Writing {
    scribe: Scribe,
    notes: Inbox<Note>,
    /// Told of each manifest.
    written: Sender<()>,
}

impl Task for Writing {
    fn step(&mut self, _now: Duration, _haste: bool) -> Result<Next, Error> {
        let kept = match self.notes.take_if(|_| true) {
            Some(Note::Decide(decision, kept)) => {
                let (mut decisions, mut decided) = (vec![decision], vec![kept]);
                while let Some(Note::Decide(decision, kept)) =
                    self.notes.take_if(|note| matches!(note, Note::Decide(..)))
                {
                    decisions.push(decision);
                    decided.push(kept);
                }
                self.scribe.decide(decisions)?;
                decided
            }
            Some(Note::Refer(edition, kept)) => {
                self.scribe.refer(edition)?;
                vec![kept]
            }
            Some(Note::Commit { boundary, positions, objects, is_savepoint, kept }) => {
                self.scribe.commit(boundary, positions, objects, is_savepoint)?;
                // What looks after the store may have ended, in haste.
                let _ = self.written.send(());
                vec![kept]
            }
            Some(Note::Replace(plan, merged)) => {
                self.scribe.objects = plan.replace(&self.scribe.objects, merged);
                Vec::new()
            }
            // Whatever comes meanwhile is for the next step: who takes a note must do what it says.
            None => return Ok(self.notes.rest()),
        };
        kept.iter().for_each(Kept::keep);
        Ok(Next::Now)
    }

    fn wait(&mut self, limit: Duration) {
        self.notes.wait(limit);
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

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use tidewatch_connectors::store;
    use tidewatch_dataflows::Offset;

    use super::*;
    use crate::checkpoint::{Began, LOG};

    #[test]
    fn every_decision_is_kept_whenever_it_comes() {
        let store = store::open("memory:").expect("it is in memory");
        let (mut log, _) = Log::open(store.clone(), LOG).expect("it is empty");
        let epoch = log.begin(&Body::Began(Began::now(0, 0)).encode()).expect("nobody else is there");
        let scribe =
            Scribe { store, log, epoch, hash: 0, workers: 1, objects: Vec::new(), editions: Vec::new() };
        let control = Control::default();
        let keeper = Keeper::start(scribe, Vec::new(), &control).expect("a thread can be started");
        let partition = PartitionId::of("s", "p");
        let decide = |offset| {
            let decision = Decision { partition, offset: Offset(offset), watermark: EventTime::MIN };
            // Not as fast as they can be written, so that the task looks in vain in between.
            (0..offset % 97).for_each(|_| thread::yield_now());
            keeper.append(decision).expect("it can be sent")
        };
        let kept: Vec<_> = (0..20_000).map(decide).collect();
        let start = Instant::now();
        while !kept.iter().all(Kept::is_kept) {
            assert!(start.elapsed() < Duration::from_secs(20), "a decision is lost");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
