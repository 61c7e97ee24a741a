//! How a job goes on where an earlier run of it stood.

use std::sync::Arc;
use std::time::Instant;

use tidewatch_connectors::{Control, Input, Reference};
use tidewatch_dataflows::alerts::Finding;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::logic::DynLogic;
use tidewatch_dataflows::mutes::Mute as Entry;
use tidewatch_dataflows::operators::keyed::{Durable, Restore, Take};
use tidewatch_dataflows::operators::{
    ArrangeStates, Beside, Correlate, Eager, Grouping, KeptAs, Keyed, Limits, Mute,
};
use tidewatch_dataflows::state::Version;
use tidewatch_dataflows::{state, Key, Record};
use timely::dataflow::operators::Probe;
use tracing::info;

use super::build::Found;
use super::start::Place;
use super::Job;
use crate::checkpoint::{persist, Change, Checkpoint, Commits, KeyGroups, Merged, Ticker};
use crate::config::CheckpointSpec;
use crate::recovery::{Recovered, Who};
use crate::registry::Observe;
use crate::Error;

impl Job {
    /// Finds out where the job goes on.
    pub(super) fn recover(
        &self,
        place: Place,
        checkpoint: &CheckpointSpec,
    ) -> Result<Option<Recovered>, Error> {
        let control = Control::current();
        let Place { process, processes, workers } = place;
        let (url, terms, hash, every) =
            (checkpoint.store.as_str(), self.0.terms, self.hash(), checkpoint.every.into());
        let store = (self.0.registry.store)(url)?;
        let who = Who { store, url, terms, hash, every, process, processes, workers, control };
        who.recover(&self.0.inputs, |incarnation| {
            self.transactional().open(&self.file().name, &incarnation.store, incarnation.number)
        })
    }
}

impl Recovered {
    /// An input that goes on.
    pub(super) fn input(&self, input: &Input) -> Input {
        input.clone().resume(self.resume.clone()).journal(Arc::new(self.keeper.clone()))
    }

    /// What is found by keyed state that goes on, and survives, and by what is beside it: of keys with so many `parts`.
    #[allow(clippy::too_many_arguments, reason = "all that a job consists of")]
    pub(super) fn find<'scope>(
        &self,
        records: Records<'scope>,
        limits: Limits,
        eager: Option<Eager>,
        logic: DynLogic<Record, Finding>,
        grouping: Option<Grouping>,
        mutes: Option<Reference<Vec<Entry>>>,
        observers: &[Arc<Observe>],
    ) -> Result<Found<'scope>, Error> {
        let scope = records.rows.scope();
        let kept = self.kept(scope.index(), scope.peers())?;
        let restored = (!observers.is_empty()).then(|| kept.versions());
        let (labels, muted) = (kept.beside(KeptAs::label), kept.beside(KeptAs::muted));
        let (ticker, boundaries) = Ticker::new(scope);
        let announced = boundaries.clone();
        let durable = Durable { boundaries, boundary: self.boundary, restore: kept.restore() };
        let mut found = Found::of(records.keyed_durably(limits, eager, durable, logic)?);
        let (control, commits) = (Control::current(), Commits::from(self.boundary));
        // What state stands at is the same on all workers only once all have come there.
        let (probe, _) = found.keyed.emitted.clone().probe();
        Control::await_probe(probe);
        control.want_saved();
        let changes = found.keyed.changes.clone();
        let mut beside = Beside { boundaries: announced, changes, boundary: self.boundary };
        if let Some(mutes) = mutes {
            let editions = mutes.refer(found.keyed.passed.clone())?;
            let Found { alerts, said, .. } = &found;
            let streams = alerts.clone().mute_durably(said.clone(), editions, beside.clone(), muted)?;
            (found.alerts, found.muted, found.said) =
                (streams.alerts, Some(streams.muted), streams.provisional);
            beside.changes = streams.changes;
        }
        if let Some(grouping) = grouping {
            let said = eager.map(|_| found.said.clone());
            let streams = found.alerts.clone().correlate_durably(said, grouping, beside.clone(), labels)?;
            (found.incidents, found.raised) = (Some(streams.incidents), Some(streams.raised));
            beside.changes = streams.changes;
        }
        ticker.follow(found.keyed.passed.clone(), self.every, self.boundary, commits.clone());
        persist(beside.changes, &self.keeper, commits);
        if let Some(restored) = restored {
            let states = found.keyed.changes.clone().arrange_states(restored);
            observers.iter().for_each(|observe| observe(states.clone()));
        }
        Ok(found)
    }

    /// What was kept of the keys and of what is beside them that a worker owns.
    fn kept(&self, worker: usize, peers: usize) -> Result<Kept, Error> {
        let groups = KeyGroups::of_worker(worker, peers);
        let kept = |checkpoint: &Checkpoint| groups.iter().map(|group| checkpoint.group(group)).collect();
        let groups = self.checkpoint.as_ref().map_or(Ok(Vec::new()), kept)?;
        Ok(Kept { groups, worker, since: Instant::now() })
    }
}

/// What was kept for a worker.
struct Kept {
    groups: Vec<Merged>,
    worker: usize,
    since: Instant,
}

impl Kept {
    fn live(&self) -> impl Iterator<Item = Change<'_>> {
        self.groups.iter().flat_map(Merged::live)
    }

    /// The states of keys, with their versions.
    fn versions(&self) -> Vec<(Key, Version)> {
        let of_keys = self.live().filter(|change| KeptAs::of(change.key) == KeptAs::Key);
        let version =
            |Change { key, version, last, state }| (Key::new(key), Version::new(version, last, state));
        of_keys.map(version).collect()
    }

    /// The states of what `named` names.
    fn beside(&self, named: fn(KeptAs) -> Option<Key>) -> Vec<(Key, Vec<u8>)> {
        let state = |change: Change<'_>| Some((named(KeptAs::of(change.key))?, change.state?.to_vec()));
        self.live().filter_map(state).collect()
    }

    /// Gives keyed state what is its own.
    fn restore(self) -> Box<Restore> {
        Box::new(move |take: &mut Take<'_>| {
            let mut keys = 0_u64;
            for Change { key, last, state, .. } in self.live() {
                if KeptAs::of(key) == KeptAs::Key {
                    take(state::Change { key, last, state })?;
                    keys += 1;
                }
            }
            if !self.groups.is_empty() {
                let (worker, elapsed_ms) = (self.worker, self.since.elapsed().as_millis() as u64);
                info!(worker, keys, elapsed_ms, "restored");
            }
            Ok(())
        })
    }
}
