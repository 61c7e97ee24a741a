use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewatch_connectors::store;

use super::*;
use crate::checkpoint::{object, Change, Changes};

type State = BTreeMap<String, (i64, Option<Vec<u8>>)>;

/// Writes an object per worker of what `changed` says changed at `boundary`.
fn checkpoint(
    store: &dyn Store,
    boundary: i64,
    changed: &BTreeMap<String, Option<Vec<u8>>>,
    workers: usize,
) -> Vec<ObjectRef> {
    let version = EventTime::from_micros(boundary);
    let mut shares = vec![Changes::new(); workers];
    for (key, state) in changed {
        let worker = tidewatch_dataflows::KeyId::of(key).group().worker(workers);
        shares[worker].push(Change { key, version, last: version, state: state.as_deref() });
    }
    let written = |changes: &Changes| {
        ObjectRef::write(store, Epoch(1), object::encode(version, changes).unwrap()).unwrap()
    };
    shares.iter().filter(|changes| !changes.is_empty()).map(written).collect()
}

/// What the objects say together.
fn content(store: &dyn Store, objects: &[ObjectRef]) -> State {
    let read: Vec<_> = objects.iter().map(|object| object.read(store).unwrap()).collect();
    let mut state = State::new();
    for group in KeyGroups::ALL.iter() {
        let counts = objects.iter().zip(&read).filter(|(object, _)| object.groups.contains(group));
        let merged = Merged::of(counts.map(|(_, object)| object.group(group).unwrap()).collect());
        for change in merged.live() {
            let kept = (change.version.micros(), change.state.map(<[u8]>::to_vec));
            state.insert(change.key.to_owned(), kept);
        }
    }
    state
}

/// How many objects count for the key group that most count for.
fn chain(objects: &[ObjectRef]) -> usize {
    let depth = |group| objects.iter().filter(|object| object.groups.contains(group)).count();
    KeyGroups::ALL.iter().map(depth).max().unwrap_or(0)
}

#[derive(Clone, Debug)]
struct Life {
    workers: usize,
    checkpoints: Vec<Vec<(u16, Option<u8>)>>,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let change = (0..200u16, prop::option::weighted(0.7, any::<u8>()));
    let checkpoints = prop::collection::vec(prop::collection::vec(change, 0..60), 0..12);
    let life = (1..4usize, checkpoints).prop_map(|(workers, checkpoints)| Life { workers, checkpoints });
    prop::collection::vec(life, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whenever it is done, and however many workers there are.
    #[test]
    fn compaction_changes_nothing_that_is_said(lives in lives(), eagerness in 0..4usize) {
        let store = store::open("memory:").unwrap();
        let (mut objects, mut expected, mut boundary) = (Vec::new(), State::new(), 0);
        for life in lives {
            for checkpointed in life.checkpoints {
                boundary += 1;
                let changed: BTreeMap<_, _> = checkpointed
                    .into_iter()
                    .map(|(key, state)| (format!("key {key}"), state.map(|byte| vec![byte; 40])))
                    .collect();
                // Planned before the checkpoint, done after it, as on a thread of its own.
                let planned = plan(&objects, life.workers);
                objects.extend(checkpoint(&*store, boundary, &changed, life.workers));
                if let Some(plan) = planned {
                    let merged = plan.compact(&*store, Epoch(1)).unwrap();
                    objects = plan.replace(&objects, merged);
                }
                for (key, state) in changed {
                    match state {
                        Some(state) => expected.insert(key, (boundary, Some(state))),
                        None => expected.remove(&key),
                    };
                }
                for _ in 0..eagerness {
                    let Some(plan) = plan(&objects, life.workers) else { break };
                    let merged = plan.compact(&*store, Epoch(1)).unwrap();
                    objects = plan.replace(&objects, merged);
                }
                prop_assert_eq!(&expected, &content(&*store, &objects));
            }
        }
    }
}

/// Runs checkpoints with one merge after each, and says how much was written by merges for each byte of checkpoints.
fn run(changes: impl Fn(i64) -> BTreeMap<String, Option<Vec<u8>>>, warm: i64, checkpoints: i64) -> f64 {
    let store = store::open("memory:").unwrap();
    let (mut objects, mut checkpointed, mut merged) = (Vec::new(), 0, 0);
    for boundary in 0..checkpoints {
        let new = checkpoint(&*store, boundary, &changes(boundary), 2);
        checkpointed += new.iter().map(|object| object.bytes).sum::<u64>();
        objects.extend(new);
        // Both shares, as two workers' checkpoints call for.
        for _ in 0..2 {
            if let Some(plan) = plan(&objects, 2) {
                let object = plan.compact(&*store, Epoch(1)).unwrap();
                merged += object.as_ref().map_or(0, |object| object.bytes);
                objects = plan.replace(&objects, object);
            }
        }
        assert!(chain(&objects) <= 16, "{} objects at {boundary}", chain(&objects));
        if boundary >= warm && boundary % 5 == 0 {
            let taken: u64 = objects.iter().map(|object| object.bytes).sum();
            let mut whole = Vec::new();
            for worker in 0..2 {
                let share = KeyGroups::of_worker(worker, 2);
                let plan = Plan { share, inputs: objects.clone(), is_whole: true };
                whole.extend(plan.compact(&*store, Epoch(2)).unwrap());
            }
            let alive: u64 = whole.iter().map(|object| object.bytes).sum();
            assert!(taken <= 2 * alive, "{taken} bytes for {alive} at {boundary}");
        }
    }
    merged as f64 / checkpointed as f64
}

/// A state that cannot be compressed.
fn state(seed: i64) -> Option<Vec<u8>> {
    let word = |index: i64| xxhash_rust::xxh3::xxh3_64(&(seed * 8 + index).to_le_bytes()).to_le_bytes();
    Some((0..6).flat_map(word).collect())
}

#[test]
fn the_state_takes_at_most_twice_what_is_alive_in_few_objects() {
    let some = |boundary: i64, from: i64, to: i64| -> BTreeMap<_, _> {
        (from..to).map(|key| (format!("key {key}"), state(boundary * 10_000 + key))).collect()
    };
    // How many bytes merges write for each byte of checkpoints.
    let few = run(|boundary| some(boundary, boundary * 30 % 1_800, boundary * 30 % 1_800 + 30), 60, 130);
    let all = run(|boundary| some(boundary, 0, 300), 3, 20);
    let growing = run(|boundary| some(boundary, boundary * 30, boundary * 30 + 30), 3, 50);
    let sliding = |boundary: i64| {
        let mut changed = some(boundary, boundary * 30, boundary * 30 + 30);
        changed.extend((boundary * 30 - 600..boundary * 30 - 570).map(|key| (format!("key {key}"), None)));
        changed
    };
    let sliding = run(sliding, 30, 60);
    assert!(few < 8.0 && all < 1.5 && growing < 4.0 && sliding < 4.0, "{few} {all} {growing} {sliding}");
}
