//! What is stored can be damaged, as long as something is left from which a run can go on.

use std::collections::BTreeSet;

use tidewatch::checkpoint::{Body, Manifest, LOG};
use tidewatch_connectors::store::{within, Log};
use tidewatch_connectors::{Progress, Shard};

use super::random::Random;
use super::world::World;

/// Damages an object of the newest checkpoint that all shards have passed, at times, if there is an older one without it;
/// `true` if it has.
pub(super) fn damage(world: &World, random: &mut Random) -> bool {
    let store = within(world.stored.objects.clone(), "1/".to_owned());
    let manifests = Log::open(store.clone(), LOG).map(|(_, entries)| manifests(&entries));
    let committed = (0..world.shards).map(|shard| world.sink.commits(Shard(shard)).last().copied());
    let committed = committed.map(|progress| progress.unwrap_or(Progress::START)).min();
    let Ok(mut manifests) = manifests else { return false };
    manifests.retain(|manifest| Some(Progress::Below(manifest.boundary)) <= committed);
    let (Some(newest), Some(older)) = (manifests.pop(), manifests.pop()) else { return false };
    let names = |manifest: &Manifest| manifest.objects.iter().map(|object| object.name.clone()).collect();
    let (newest, older): (BTreeSet<String>, BTreeSet<String>) = (names(&newest), names(&older));
    let Some(name) = newest.difference(&older).next() else { return false };
    let Ok(Some(mut bytes)) = store.get(name) else { return false };
    world.tally.damages.add(1);
    world.trace(|| format!("damages {name}"));
    store.delete(name).expect("memory can be deleted");
    if random.once_in(2) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1;
        store.put_new(name, &bytes).expect("memory has room");
    }
    true
}

fn manifests(entries: &[tidewatch_connectors::store::Entry]) -> Vec<Manifest> {
    let bodies = Body::decode_all(entries).unwrap_or_default();
    let manifests = bodies.into_iter().filter_map(|(_, body)| match body {
        Body::Manifest(manifest) => Some(manifest),
        _ => None,
    });
    manifests.collect()
}
