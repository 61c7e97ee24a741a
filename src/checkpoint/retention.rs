//! What of the log and of the objects nobody needs any more.
//!
//! Kept are the manifests back to the newest that all sink shards have passed (a run starts from the newest manifest that they
//! have), and some older ones, in case that one is damaged. An entry may be dropped when each manifest that is kept says all that
//! it says; an object, when no kept manifest names it, and it was named by one that is not kept or its run has ended. What
//! the own run has written and no manifest names yet, and all of newer runs, stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidewatch_connectors::control::Rule;
use tidewatch_connectors::store::{Epoch, Log};
use tidewatch_connectors::{Control, Error, Store};
use tidewatch_dataflows::EventTime;

use super::reference::{epoch_of, PREFIX};
use super::{Body, Manifest, LOG};

/// What may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Entries of the log below this number.
    pub below: u64,
    /// Objects, by name.
    pub objects: Vec<String>,
}

/// How much is kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The run that removes.
    pub epoch: Epoch,
    /// Up to where every sink shard has committed.
    pub committed: EventTime,
    /// How many manifests are kept that every sink shard has passed: at least one, and more in case that it is damaged.
    pub spare: usize,
    /// Which rules it obeys.
    pub control: Control,
}

impl Retention {
    /// What may go, of a log with these entries and of the objects of state with these names.
    pub fn plan(&self, entries: &[(u64, Body)], objects: &[String]) -> Removal {
        // In the order of the log, not of their boundaries: a run that went on from an older one, because the newest was
        // damaged, saves at boundaries below those of the run before it, and what it saves is newer all the same.
        let manifests: Vec<_> = entries
            .iter()
            .filter_map(|(number, body)| match body {
                Body::Manifest(manifest) => Some((*number, manifest)),
                _ => None,
            })
            .collect();
        let passed =
            manifests.iter().enumerate().filter(|(_, (_, manifest))| manifest.boundary <= self.committed);
        let passed: Vec<_> = passed.map(|(at, _)| at).collect();
        // Without a manifest that all shards have passed, a run starts from the beginning of the log.
        let first = match self.control.obeys(Rule::CheckpointsAreKept) {
            true => passed.len().checked_sub(self.spare.max(1)).map(|at| passed[at]),
            false => manifests.len().checked_sub(1),
        };
        let (dropped, kept) = manifests.split_at(first.unwrap_or(0));
        let below = if first.is_none() && passed.is_empty() { 0 } else { self.below(entries, kept) };
        let names = |manifests: &[(u64, &Manifest)]| -> BTreeSet<String> {
            let objects = manifests.iter().flat_map(|(_, manifest)| &manifest.objects);
            objects.map(|object| object.name.clone()).collect()
        };
        let (dropped, kept) = (names(dropped), names(kept));
        let may_go = |name: &&String| {
            let is_over = epoch_of(name).is_some_and(|epoch| epoch < self.epoch);
            let is_of_newer = epoch_of(name).is_none_or(|epoch| epoch > self.epoch);
            !kept.contains(*name) && !is_of_newer && (is_over || dropped.contains(*name))
        };
        Removal { below, objects: objects.iter().filter(may_go).cloned().collect() }
    }

    /// The number of the first entry that must stay.
    fn below(&self, entries: &[(u64, Body)], kept: &[(u64, &Manifest)]) -> u64 {
        let Some((first, _)) = kept.first().copied() else { return 0 };
        let is_needed = |body: &Body| {
            self.control.obeys(Rule::EntriesAreKept)
                && kept.iter().any(|(_, manifest)| !subsumes(manifest, body))
        };
        let needed = entries.iter().find(|(number, body)| *number < first && is_needed(body));
        needed.map_or(first, |(number, _)| *number)
    }

    /// Removes what may go.
    ///
    /// # Errors
    ///
    /// [`tidewatch_connectors::Error::Fenced`] if a newer run has started: then nothing is removed; else as [`Log::open`].
    pub fn remove(&self, store: &Arc<dyn Store>) -> Result<Removal, Error> {
        let (mut log, entries) = Log::open(store.clone(), LOG)?;
        let objects: Vec<_> = store.list(PREFIX)?.into_iter().map(|listed| listed.name).collect();
        let removal = self.plan(&Body::decode_all(&entries)?, &objects);
        // This looks for a newer run. Entries go first: no manifest of the log may name what is gone.
        log.drop_below(removal.below, self.epoch)?;
        removal.objects.iter().try_for_each(|name| store.delete(name))?;
        Ok(removal)
    }
}

/// Whether a run that starts from the manifest needs nothing of what an older entry says.
fn subsumes(manifest: &Manifest, body: &Body) -> bool {
    match body {
        Body::Began(_) | Body::Manifest(_) | Body::Fenced { .. } | Body::Resumed(_) => true,
        Body::Joined(positions) => {
            positions.iter().all(|joined| manifest.position(joined.partition()).is_some())
        }
        // One that came later is not in it; one that another one has followed by the boundary need not be.
        Body::Referred(edition) => manifest
            .editions
            .iter()
            .any(|known| known == edition || (edition.from < known.from && known.from <= manifest.boundary)),
        // At the offset from which a partition is read on, decisions may have been taken after the manifest looked.
        Body::Decisions(decisions) => decisions.iter().all(|decision| {
            manifest.position(decision.partition).is_some_and(|position| {
                decision.offset < position.offset
                    || (decision.offset == position.offset && decision.watermark <= position.watermark)
            })
        }),
    }
}

#[cfg(test)]
mod tests;
