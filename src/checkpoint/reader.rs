//! Finds the newest checkpoint that is intact, and reads what it keeps.

use std::sync::Arc;

use tidewatch_connectors::store::Log;
use tidewatch_connectors::{Error, Store};
use tidewatch_dataflows::record::KeyGroup;
use tidewatch_dataflows::EventTime;
use tracing::warn;

use super::{Body, KeyGroups, Manifest, Merged, Object, LOG};

/// A checkpoint with its objects, or those of them that count for some key groups.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    manifest: Manifest,
    /// Each with the key groups for which it counts.
    pub(super) objects: Vec<(KeyGroups, Object)>,
}

impl Checkpoint {
    /// The newest intact checkpoint of a store with a boundary of at most `limit`; `None` if there is no checkpoint. A damaged
    /// object is named in a warning, and the next older checkpoint is tried.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if there are checkpoints and none is intact, or the log is damaged;
    /// [`Error::Store`].
    pub fn newest(store: &Arc<dyn Store>, limit: Option<EventTime>) -> Result<Option<Self>, Error> {
        'log: loop {
            let mut manifests = manifests(store)?;
            manifests.retain(|manifest| limit.is_none_or(|limit| manifest.boundary <= limit));
            let mut damage = None;
            while let Some(manifest) = manifests.pop() {
                match Self::load(&**store, manifest.clone(), KeyGroups::ALL) {
                    Err(error @ Error::Damaged { .. }) => {
                        // What is gone may have been removed meanwhile, by whoever needs it no more.
                        if !self::manifests(store)?.contains(&manifest) {
                            continue 'log;
                        }
                        warn!(boundary = %manifest.boundary, %error, "a checkpoint is damaged: goes back to an older one");
                        damage = Some(error);
                    }
                    loaded => return loaded.map(Some),
                }
            }
            return damage.map_or(Ok(None), Err);
        }
    }

    /// Reads the objects of a manifest that count for any of `groups`, and verifies their checksums.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if an object is damaged or missing; [`Error::Store`].
    pub fn load(store: &dyn Store, manifest: Manifest, groups: KeyGroups) -> Result<Self, Error> {
        let mut objects = Vec::new();
        for named in &manifest.objects {
            if !named.groups.and(groups).is_empty() {
                let object = named.read(store)?;
                object.verify()?;
                objects.push((named.groups, object));
            }
        }
        Ok(Self { manifest, objects })
    }

    /// What is known of the checkpoint.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is kept of the keys of a key group.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if an object has the right checksums and is wrong all the same.
    pub fn group(&self, group: KeyGroup) -> Result<Merged, Error> {
        let counts = self.objects.iter().filter(|(groups, _)| groups.contains(group));
        let sources = counts.map(|(_, object)| object.group(group)).collect::<Result<_, _>>()?;
        Ok(Merged::of(sources))
    }
}

/// The manifests of a store's log, the oldest first: a run that went on from an older one saves at lower boundaries than the run
/// before it, and what it saves counts.
pub(super) fn manifests(store: &Arc<dyn Store>) -> Result<Vec<Manifest>, Error> {
    let (_, entries) = Log::open(store.clone(), LOG)?;
    let manifests = Body::decode_all(&entries)?.into_iter().filter_map(|(_, body)| match body {
        Body::Manifest(manifest) => Some(manifest),
        _ => None,
    });
    Ok(manifests.collect())
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::store::{self, Epoch};

    use super::*;
    use crate::checkpoint::{object, Change, Changes, ObjectRef};

    fn time(micros: i64) -> EventTime {
        EventTime::from_micros(micros)
    }

    /// A store with checkpoints at these boundaries, each with an object that says of key "a" which, after those before.
    fn checkpointed(boundaries: &[i64]) -> (Arc<dyn Store>, Vec<ObjectRef>) {
        let store = store::open("memory:").unwrap();
        let (mut log, _) = Log::open(store.clone(), LOG).unwrap();
        let mut objects = Vec::new();
        for boundary in boundaries {
            let mut changes = Changes::new();
            let state = boundary.to_le_bytes();
            changes.push(Change { key: "a", version: time(*boundary), last: time(0), state: Some(&state) });
            let bytes = object::encode(time(*boundary), &changes).unwrap();
            objects.push(ObjectRef::write(&*store, Epoch(1), bytes).unwrap());
            let manifest = Manifest {
                boundary: time(*boundary),
                epoch: Epoch(1),
                hash: 0,
                is_savepoint: false,
                workers: 1,
                partitions: Vec::new(),
                objects: objects.clone(),
                editions: Vec::new(),
            };
            log.append(Epoch(1), &Body::Manifest(manifest).encode()).unwrap();
        }
        (store, objects)
    }

    fn newest(store: &Arc<dyn Store>, limit: Option<i64>) -> Option<i64> {
        let checkpoint = Checkpoint::newest(store, limit.map(time)).unwrap()?;
        let merged = checkpoint.group(tidewatch_dataflows::KeyId::of("a").group()).unwrap();
        let state = merged.live().next().unwrap().state.unwrap();
        assert_eq!(checkpoint.manifest().boundary.micros().to_le_bytes(), state);
        Some(checkpoint.manifest().boundary.micros())
    }

    #[test]
    fn the_newest_checkpoint_up_to_a_limit_is_found() {
        let (store, _) = checkpointed(&[10, 20, 30]);
        for (limit, expected) in [
            (None, Some(30)),
            (Some(30), Some(30)),
            (Some(29), Some(20)),
            (Some(10), Some(10)),
            (Some(9), None),
        ] {
            assert_eq!(expected, newest(&store, limit), "{limit:?}");
        }
        assert_eq!(None, newest(&checkpointed(&[]).0, None));
    }

    #[test]
    fn a_damaged_object_leads_to_an_older_checkpoint_and_none_intact_is_an_error() {
        let (store, objects) = checkpointed(&[10, 20, 30]);
        let bytes = store.get(&objects[2].name).unwrap().unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            store.delete(&objects[2].name).unwrap();
            store.put_new(&objects[2].name, &flipped).unwrap();
            assert_eq!(Some(20), newest(&store, None), "byte {at}");
        }
        store.delete(&objects[1].name).unwrap();
        assert_eq!(Some(10), newest(&store, None));
        store.delete(&objects[0].name).unwrap();
        let error = Checkpoint::newest(&store, None).unwrap_err().to_string();
        assert!(error.contains(&objects[0].name) && error.ends_with("it is missing"), "{error}");
    }

    #[test]
    fn only_the_objects_of_some_key_groups_are_read() {
        let (store, objects) = checkpointed(&[10]);
        store.delete(&objects[0].name).unwrap();
        let manifest = manifests(&store).unwrap().remove(0);
        let own = objects[0].groups;
        assert!(Checkpoint::load(&*store, manifest.clone(), KeyGroups::ALL.without(own)).is_ok());
        assert!(Checkpoint::load(&*store, manifest, own).is_err());
    }
}
