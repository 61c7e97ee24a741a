//! Merges objects, so that the state takes little room and is read from few of them.
//!
//! Each checkpoint adds an object per worker. Of the objects that count for a worker's key groups, the *base* are those
//! below which there is nothing, and the *deltas* all others. Two things call for a merge:
//!
//! * **Room.** A delta may replace all that it says, and an eviction replaces a key of the base. So at least the base, less the
//!   share of its keys that was evicted, is alive; if all objects together are more than `ROOM` times that, they are merged
//!   into one, without evictions. The state grows by half before it is written once more, so a key that does not
//!   change is written a constant number of times.
//! * **Number.** Past `CHAIN` objects the newest are merged: as many as keep each object at least twice as large as all that
//!   came after it together. So a change is written about as often as the logarithm of base by delta says.
//!
//! After a change of the number of workers, an object counts for key groups of several of them. Each worker's share is
//! then merged into one of its own, and the old object counts for the rest.

use tidewatch_connectors::store::Epoch;
use tidewatch_connectors::{Error, Store};
use tidewatch_dataflows::EventTime;

use super::object::Writer;
use super::{KeyGroups, Merged, Object, ObjectRef};

/// How many times what is alive for sure a share may take; below 2, because more is written while objects are merged.
const ROOM: f64 = 1.75;
/// How many objects a share may have; fewer than 16, for the same reason.
const CHAIN: usize = 12;

/// What is to be merged into one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The key groups that are merged.
    share: KeyGroups,
    /// The objects, in the order of boundaries.
    inputs: Vec<ObjectRef>,
    /// Whether no other object counts for the share, so that evictions can be forgotten.
    is_whole: bool,
}

/// What is most in need of merging, of the objects of a manifest; `workers` is how many there are now.
pub fn plan(objects: &[ObjectRef], workers: usize) -> Option<Plan> {
    let plans = (0..workers).filter_map(|worker| plan_share(objects, KeyGroups::of_worker(worker, workers)));
    plans.max_by(|(need, _), (other, _)| need.total_cmp(other)).map(|(_, plan)| plan)
}

/// What is to be merged of one share, and how much it is in need of that.
fn plan_share(objects: &[ObjectRef], share: KeyGroups) -> Option<(f64, Plan)> {
    let mut inputs: Vec<_> =
        objects.iter().filter(|object| !object.groups.and(share).is_empty()).cloned().collect();
    inputs.sort_by_key(|object| object.boundary);
    let whole = |need, inputs| Some((need, Plan { share, inputs, is_whole: true }));
    if inputs.iter().any(|object| !object.groups.without(share).is_empty()) {
        return whole(f64::INFINITY, inputs);
    }
    let taken = room(&inputs);
    if taken > ROOM {
        return whole(taken, inputs);
    }
    if inputs.len() > CHAIN {
        let need = inputs.len() as f64 / CHAIN as f64;
        let newest = inputs.split_off(newest_to_merge(&inputs));
        return Some((need, Plan { share, is_whole: inputs.is_empty(), inputs: newest }));
    }
    None
}

/// How many times what is alive for sure the objects take, which are in the order of boundaries.
fn room(inputs: &[ObjectRef]) -> f64 {
    let (mut below, mut all, mut base) = (KeyGroups::default(), 0, 0);
    let (mut keys, mut evicted) = (0, 0);
    for object in inputs {
        all += object.bytes;
        if below.and(object.groups).is_empty() {
            base += object.bytes;
            keys += object.keys;
        } else {
            evicted += object.evicted;
        }
        below = object.groups.iter().chain(below.iter()).collect();
    }
    let alive = base as f64 * (1.0 - (evicted as f64 / keys.max(1) as f64).min(1.0));
    match all == base {
        true => 1.0,
        false => all as f64 / alive,
    }
}

/// From which of the objects on, in the order of boundaries, they are merged: at least the last two.
fn newest_to_merge(inputs: &[ObjectRef]) -> usize {
    let (mut first, mut bytes) = (inputs.len(), 0);
    for (index, object) in inputs.iter().enumerate().rev() {
        if inputs.len() - index > 2 && object.bytes > 2 * bytes {
            break;
        }
        bytes += object.bytes;
        first = index;
    }
    first
}

impl Plan {
    /// The objects that are merged.
    pub fn inputs(&self) -> &[ObjectRef] {
        &self.inputs
    }

    /// Reads the objects, merges them and writes what they say under a name of `epoch`; `None` if they say nothing any more.
    ///
    /// # Errors
    ///
    /// As [`ObjectRef::read`] and [`ObjectRef::write`].
    pub fn compact(&self, store: &dyn Store, epoch: Epoch) -> Result<Option<ObjectRef>, Error> {
        let objects: Vec<Object> =
            self.inputs.iter().map(|input| input.read(store)).collect::<Result<_, _>>()?;
        let boundary = self.inputs.last().map_or(EventTime::MIN, |newest| newest.boundary);
        let mut writer = Writer::new(boundary)?;
        for group in self.share.iter() {
            let counts = self.inputs.iter().zip(&objects).filter(|(input, _)| input.groups.contains(group));
            let sources = counts.map(|(_, object)| object.group(group)).collect::<Result<_, _>>()?;
            let merged = Merged::of(sources);
            match self.is_whole {
                true => writer.group(group, merged.live())?,
                false => writer.group(group, merged.iter())?,
            }
        }
        match writer.is_empty() {
            true => Ok(None),
            false => ObjectRef::write(store, epoch, writer.finish()).map(Some),
        }
    }

    /// The objects of the next manifest, where `objects` would be without the merge, and `merged` is its result.
    pub fn replace(&self, objects: &[ObjectRef], merged: Option<ObjectRef>) -> Vec<ObjectRef> {
        let rest = |object: &ObjectRef| match self.inputs.iter().any(|input| input.name == object.name) {
            true => object.groups.without(self.share),
            false => object.groups,
        };
        let mut replaced: Vec<_> = objects
            .iter()
            .map(|object| ObjectRef { groups: rest(object), ..object.clone() })
            .filter(|object| !object.groups.is_empty())
            .chain(merged)
            .collect();
        replaced.sort_by(|a, b| (a.boundary, &a.name).cmp(&(b.boundary, &b.name)));
        replaced
    }
}

#[cfg(test)]
mod tests;
