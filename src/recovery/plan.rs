//! Where a run goes on, as it follows from the log and from what the sinks have committed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewatch_connectors::control::Rule;
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::Entry;
use tidewatch_connectors::{Control, Decision, Progress};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::EventTime;

use crate::checkpoint::{Body, Manifest};
use crate::Error;

/// How far the shards of all sinks of a process, or of all processes, are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Of the shard that is behind all others; [`Progress::End`] if there is no shard.
    pub lowest: Progress,
    /// Of the one that is ahead of all others; [`Progress::START`] if there is no shard.
    pub highest: Progress,
}

impl Reach {
    /// That of shards with this progress.
    pub fn of(progress: impl IntoIterator<Item = Progress>) -> Self {
        let none = Self { lowest: Progress::End, highest: Progress::START };
        progress
            .into_iter()
            .fold(none, |reach, progress| reach.and(Self { lowest: progress, highest: progress }))
    }

    /// That of both.
    pub fn and(self, other: Self) -> Self {
        Self { lowest: self.lowest.min(other.lowest), highest: self.highest.max(other.highest) }
    }

    /// Whether everything is committed, and there will never be more.
    pub fn has_ended(self) -> bool {
        self.lowest == Progress::End && self.highest == Progress::End
    }

    /// Whether all shards have passed the boundary of a checkpoint, so that a run can go on from it without a gap.
    pub fn allows(self, manifest: &Manifest) -> bool {
        Progress::Below(manifest.boundary) <= self.lowest
    }
}

/// Where a run goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Stands for the pipeline.
    pub hash: u64,
    /// The number of the log's entry with the checkpoint; none if it goes on from the beginning.
    pub manifest: Option<u64>,
    /// No new decision puts a watermark below it.
    pub floor: EventTime,
    /// Where each partition is read from.
    pub positions: Vec<Position>,
    /// Whether all sources had ended, and everything is committed.
    pub has_ended: bool,
}

impl Plan {
    /// Goes on from a checkpoint, or from the beginning, with the partitions that are known there, or that joined since.
    pub(super) fn from(
        hash: u64,
        manifest: Option<(u64, &Manifest)>,
        reach: Reach,
        floor: EventTime,
        log: &[(Entry, Body)],
    ) -> Self {
        let mut positions = manifest.map(|(_, manifest)| manifest.partitions.clone()).unwrap_or_default();
        for joined in log.iter().filter_map(|(_, body)| match body {
            Body::Joined(joined) => Some(joined),
            _ => None,
        }) {
            for position in joined {
                if !knows(&positions, &position.source, &position.name) {
                    positions.push(position.clone());
                }
            }
        }
        let manifest = manifest.map(|(number, _)| number);
        Self { hash, manifest, floor, positions, has_ended: reach.has_ended() }
    }

    /// Whether a partition is read by the run.
    pub(super) fn knows(&self, source: &str, name: &str) -> bool {
        knows(&self.positions, source, name)
    }
}

/// Below which nothing new is decided: a shard has committed what is earlier, or it is in the state of a checkpoint.
pub(super) fn floor(reach: Reach, log: &[(Entry, Body)], control: &Control) -> EventTime {
    let committed = match reach.highest {
        Progress::Below(time) => time,
        Progress::End => EventTime::MAX.floor_ms(),
    };
    // A later run may choose any of them.
    let saved = manifests(log).map(|(_, manifest)| manifest.boundary).max();
    let saved = saved.unwrap_or(EventTime::MIN);
    match control.obeys(Rule::FloorAboveCommits) {
        true => committed.max(saved),
        false => saved,
    }
}

fn knows(positions: &[Position], source: &str, name: &str) -> bool {
    positions.iter().any(|position| position.source == source && position.name == name)
}

/// The checkpoints of the log, newest first.
pub(super) fn manifests(log: &[(Entry, Body)]) -> impl Iterator<Item = (u64, &Manifest)> {
    log.iter().rev().filter_map(|(entry, body)| match body {
        Body::Manifest(manifest) => Some((entry.number, manifest)),
        _ => None,
    })
}

/// What was decided, in the order in which it was.
pub(super) fn decisions(log: &[(Entry, Body)]) -> Vec<Decision> {
    let decided = log.iter().filter_map(|(_, body)| match body {
        Body::Decisions(decisions) => Some(decisions.as_slice()),
        _ => None,
    });
    decided.flatten().copied().collect()
}

/// The reference data that is in force where a run goes on, and later on, in the order of time. Of what is in force from the same time
/// on, what was taken up last holds.
pub(super) fn editions(manifest: Option<&Manifest>, log: &[(Entry, Body)]) -> Vec<Edition<String>> {
    let kept = manifest.into_iter().flat_map(|manifest| &manifest.editions);
    let taken = log.iter().filter_map(|(_, body)| match body {
        Body::Referred(edition) => Some(edition),
        _ => None,
    });
    let editions: BTreeMap<_, _> = kept.chain(taken).map(|edition| (edition.from, &edition.value)).collect();
    editions.into_iter().map(|(from, value)| Edition { from, value: value.clone() }).collect()
}

/// Refuses to go on where another pipeline stood, unless that has stopped for this one: at a boundary before which everything is
/// committed, and nothing else.
pub(super) fn of_this_pipeline(log: &[(Entry, Body)], hash: u64, reach: Reach) -> Result<(), Error> {
    let last = log.iter().rev().find_map(|(_, body)| match body {
        Body::Resumed(plan) => Some((plan.hash, None)),
        Body::Manifest(manifest) => {
            let stopped = manifest.is_savepoint.then_some(Progress::Below(manifest.boundary));
            Some((manifest.hash, stopped))
        }
        _ => None,
    });
    let shards_are_at =
        |progress| [Progress::START, progress].contains(&reach.highest) && reach.lowest >= progress;
    match last {
        Some((other, stopped)) if other != hash && !stopped.is_some_and(shards_are_at) => Err(Error::Usage(
            "the store has the state of another pipeline: something that changes output is not as it was (a source's \
             format, time, key, values or lateness, a step, a detection, [alerts], that there is [mutes], a limit, or the pipeline's name). Put it back; or stop the pipeline as it \
             was with `tidewatch savepoint --stop`, and go on with this one; or start anew with --fresh"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}
