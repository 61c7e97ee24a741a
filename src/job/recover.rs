//! How a job goes on where an earlier run of it stood.

use std::sync::Arc;
use std::time::Instant;

use tidewatch_connectors::{Control, Input};
use tidewatch_dataflows::alerts::Finding;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::logic::DynLogic;
use tidewatch_dataflows::operators::keyed::{Durable, KeyedStreams, Take};
use tidewatch_dataflows::operators::{ArrangeStates, Eager, Keyed, Limits};
use tidewatch_dataflows::state::Version;
use tidewatch_dataflows::{state, Key, Record};
use timely::dataflow::operators::Probe;
use tracing::info;

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

    /// Keyed state that goes on, and survives.
    pub(super) fn keyed<'scope>(
        &self,
        records: Records<'scope>,
        limits: Limits,
        eager: Option<Eager>,
        logic: DynLogic<Record, Finding>,
        observers: &[Arc<Observe>],
    ) -> Result<KeyedStreams<'scope, Finding>, Error> {
        let scope = records.rows.scope();
        let (worker, start) = (scope.index(), Instant::now());
        let groups = KeyGroups::of_worker(worker, scope.peers());
        let kept = |checkpoint: &Checkpoint| groups.iter().map(|group| checkpoint.group(group)).collect();
        let kept: Vec<Merged> = self.checkpoint.as_ref().map_or(Ok(Vec::new()), kept)?;
        let versions = |kept: &Merged| -> Vec<_> {
            let version =
                |Change { key, version, last, state }| (Key::new(key), Version::new(version, last, state));
            kept.live().map(version).collect()
        };
        let restored = (!observers.is_empty()).then(|| kept.iter().flat_map(versions).collect());
        let restore = Box::new(move |take: &mut Take<'_>| {
            let mut keys = 0_u64;
            for Change { key, last, state, .. } in kept.iter().flat_map(Merged::live) {
                take(state::Change { key, last, state })?;
                keys += 1;
            }
            if !kept.is_empty() {
                info!(worker, keys, elapsed_ms = start.elapsed().as_millis() as u64, "restored");
            }
            Ok(())
        });
        let (ticker, boundaries) = Ticker::new(scope);
        let durable = Durable { boundaries, boundary: self.boundary, restore };
        let keyed = records.keyed_durably(limits, eager, durable, logic)?;
        let (control, commits) = (Control::current(), Commits::from(self.boundary));
        // What state stands at is the same on all workers only once all have come there.
        let (probe, _) = keyed.emitted.clone().probe();
        Control::await_probe(probe);
        control.want_saved();
        ticker.follow(keyed.passed.clone(), self.every, self.boundary, commits.clone());
        persist(keyed.changes.clone(), &self.keeper, commits);
        if let Some(restored) = restored {
            let states = keyed.changes.clone().arrange_states(restored);
            observers.iter().for_each(|observe| observe(states.clone()));
        }
        Ok(keyed)
    }
}
