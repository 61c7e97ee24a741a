//! How a job goes on where an earlier run of it stood.

use std::sync::Arc;
use std::time::Instant;

use tidewatch_connectors::{Control, Input};
use tidewatch_dataflows::alerts::Finding;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::logic::DynLogic;
use tidewatch_dataflows::operators::keyed::{Durable, Take};
use tidewatch_dataflows::operators::{
    label_kept_as, ArrangeStates, Correlate, Correlated, Eager, Grouping, Keyed, Limits,
};
use tidewatch_dataflows::state::Version;
use tidewatch_dataflows::{state, Emission, Key, Record};
use timely::dataflow::operators::vec::Map;
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

    /// Keyed state that goes on, and survives; with incidents, if alerts are grouped by some of the `parts` of keys.
    pub(super) fn keyed<'scope>(
        &self,
        records: Records<'scope>,
        limits: Limits,
        eager: Option<Eager>,
        logic: DynLogic<Record, Finding>,
        (parts, grouping): (usize, Option<Grouping>),
        observers: &[Arc<Observe>],
    ) -> Result<Found<'scope>, Error> {
        let scope = records.rows.scope();
        let (worker, start) = (scope.index(), Instant::now());
        let groups = KeyGroups::of_worker(worker, scope.peers());
        let kept = |checkpoint: &Checkpoint| groups.iter().map(|group| checkpoint.group(group)).collect();
        let kept: Vec<Merged> = self.checkpoint.as_ref().map_or(Ok(Vec::new()), kept)?;
        let label = |key: &str| label_kept_as(key, parts);
        let versions = |kept: &Merged| -> Vec<_> {
            let of_key = kept.live().filter(|change| label(change.key).is_none());
            let version =
                |Change { key, version, last, state }| (Key::new(key), Version::new(version, last, state));
            of_key.map(version).collect()
        };
        let labels = |kept: &Merged| -> Vec<_> {
            let label = |change: Change<'_>| Some((label(change.key)?, change.state?.to_vec()));
            kept.live().filter_map(label).collect()
        };
        let labels = kept.iter().flat_map(labels).collect();
        let restored = (!observers.is_empty()).then(|| kept.iter().flat_map(versions).collect());
        let restore = Box::new(move |take: &mut Take<'_>| {
            let mut keys = 0_u64;
            let live = kept.iter().flat_map(Merged::live);
            for Change { key, last, state, .. } in
                live.filter(|change| label_kept_as(change.key, parts).is_none())
            {
                take(state::Change { key, last, state })?;
                keys += 1;
            }
            if !kept.is_empty() {
                info!(worker, keys, elapsed_ms = start.elapsed().as_millis() as u64, "restored");
            }
            Ok(())
        });
        let (ticker, boundaries) = Ticker::new(scope);
        let announced = boundaries.clone();
        let durable = Durable { boundaries, boundary: self.boundary, restore };
        let keyed = records.keyed_durably(limits, eager, durable, logic)?;
        let (control, commits) = (Control::current(), Commits::from(self.boundary));
        // What state stands at is the same on all workers only once all have come there.
        let (probe, _) = keyed.emitted.clone().probe();
        Control::await_probe(probe);
        control.want_saved();
        let (changes, incidents) = match grouping {
            Some(grouping) => {
                let changes = keyed.changes.clone();
                let correlated =
                    Correlated { boundaries: announced, changes, boundary: self.boundary, restored: labels };
                let alerts = keyed.emitted.clone().flat_map(Emission::alert);
                let (incidents, changes) = alerts.correlate_durably(grouping, correlated)?;
                (changes, Some(incidents))
            }
            None => (keyed.changes.clone(), None),
        };
        ticker.follow(keyed.passed.clone(), self.every, self.boundary, commits.clone());
        persist(changes, &self.keeper, commits);
        if let Some(restored) = restored {
            let states = keyed.changes.clone().arrange_states(restored);
            observers.iter().for_each(|observe| observe(states.clone()));
        }
        Ok((keyed, incidents))
    }
}
