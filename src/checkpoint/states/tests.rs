use proptest::prelude::*;
use tidewatch_connectors::store::{self, Epoch};

use super::*;
use crate::checkpoint::compaction::plan;
use crate::checkpoint::{object, Change, Changes, KeyGroups, Manifest, ObjectRef};

type Changed = BTreeMap<String, Option<u8>>;

fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros)
}

fn read(states: &mut States, boundary: i64) -> BTreeMap<String, (i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let each = |key: &Key, version: &Version| -> Result<(), Error> {
        let state = version.state.as_deref().unwrap_or_default().to_vec();
        found.insert(key.as_str().to_owned(), (version.boundary.micros(), state));
        Ok(())
    };
    as_of(states, time(boundary), each).unwrap();
    found
}

proptest! {
    /// Before objects are merged as of every boundary, afterwards as of the last one.
    #[test]
    fn what_a_cursor_reads_agrees_with_a_map(
        checkpoints in prop::collection::vec(prop::collection::btree_map("[a-c]{1,2}", any::<Option<u8>>(), 1..6), 1..20),
    ) {
        let store = store::open("memory:").unwrap();
        let (mut objects, mut expected, mut history) = (Vec::new(), BTreeMap::new(), Vec::new());
        let checkpoint = |objects: &Vec<ObjectRef>| {
            let manifest = Manifest {
                boundary: time(objects.len() as i64),
                epoch: Epoch(1),
                hash: 0,
                workers: 1,
                is_savepoint: false,
                partitions: Vec::new(),
                objects: objects.clone(),
                editions: Vec::new(),
            };
            Checkpoint::load(&*store, manifest, KeyGroups::ALL).unwrap()
        };
        for (boundary, changed) in (1..).zip(&checkpoints) {
            let changed: &Changed = changed;
            let mut changes = Changes::new();
            for (key, state) in changed {
                let state = state.as_ref().map(std::slice::from_ref);
                changes.push(Change { key, version: time(boundary), last: time(0), state });
                match state {
                    Some(state) => expected.insert(key.clone(), (boundary, state.to_vec())),
                    None => expected.remove(key),
                };
            }
            let bytes = object::encode(time(boundary), &changes).unwrap();
            objects.push(ObjectRef::write(&*store, Epoch(1), bytes).unwrap());
            history.push(expected.clone());
        }
        let mut states = checkpoint(&objects).states().unwrap();
        for (boundary, expected) in (1..).zip(&history) {
            prop_assert_eq!(expected, &read(&mut states, boundary), "as of {}", boundary);
        }
        while let Some(plan) = plan(&objects, 2) {
            let merged = plan.compact(&*store, Epoch(1)).unwrap();
            objects = plan.replace(&objects, merged);
        }
        let mut states = checkpoint(&objects).states().unwrap();
        prop_assert_eq!(&expected, &read(&mut states, checkpoints.len() as i64));
    }
}
