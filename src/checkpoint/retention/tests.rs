use std::collections::BTreeMap;

use proptest::prelude::*;
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::{self, Entry};
use tidewatch_connectors::Decision;
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::{Offset, PartitionId};

use super::*;
use crate::checkpoint::{object, Began, Change, Changes, ObjectRef};

fn time(micros: i64) -> EventTime {
    EventTime::from_micros(micros)
}

fn partition(number: u8) -> PartitionId {
    PartitionId::of("source", &number.to_string())
}

/// A watermark of a partition, forced at an offset.
fn decision(number: u8, offset: u64, watermark: i64) -> Decision {
    Decision { partition: partition(number), offset: Offset(offset), watermark: time(watermark) }
}

fn position(number: u8, offset: u64, watermark: i64) -> Position {
    Position {
        source: "source".to_owned(),
        name: number.to_string(),
        offset: Offset(offset),
        watermark: time(watermark),
        newest: time(0),
    }
}

fn object(epoch: u64, boundary: i64, seed: u64) -> ObjectRef {
    let mut changes = Changes::new();
    changes.push(Change {
        key: "a",
        version: time(boundary),
        last: time(0),
        state: Some(&[epoch, seed].map(|word| word as u8)),
    });
    let bytes = object::encode(time(boundary), &changes).unwrap();
    ObjectRef::write(&*store::open("memory:").unwrap(), Epoch(epoch), bytes).unwrap()
}

fn manifest(epoch: u64, boundary: i64, partitions: Vec<Position>, objects: Vec<ObjectRef>) -> Body {
    let (boundary, epoch) = (time(boundary), Epoch(epoch));
    Body::Manifest(Manifest {
        boundary,
        epoch,
        hash: 0,
        is_savepoint: false,
        workers: 1,
        partitions,
        objects,
        editions: Vec::new(),
    })
}

fn began() -> Body {
    Body::Began(Began { hash: 0, version: String::new(), host: String::new(), process: 0, run: 0 })
}

fn retention(epoch: u64, committed: i64, spare: usize) -> Retention {
    Retention { epoch: Epoch(epoch), committed: time(committed), spare, control: Control::default() }
}

fn numbered(bodies: Vec<Body>) -> Vec<(u64, Body)> {
    (0..).zip(bodies).collect()
}

#[test]
fn manifests_are_kept_back_to_the_newest_that_all_shards_have_passed() {
    let mut bodies = vec![began()];
    bodies.extend((1..=5).map(|index| manifest(1, index * 10, vec![], vec![object(1, index * 10, 0)])));
    let entries = numbered(bodies);
    let names: Vec<_> = (1..=5).map(|index| object(1, index * 10, 0).name).collect();
    for (committed, spare, below) in [(9, 1, 0), (10, 1, 1), (35, 1, 3), (35, 2, 2), (35, 9, 1), (99, 1, 5)] {
        let removal = retention(1, committed, spare).plan(&entries, &names);
        let expected = names[..(below.max(1) - 1) as usize].to_vec();
        assert_eq!(Removal { below, objects: expected }, removal, "{committed} {spare}");
    }
}

#[test]
fn what_follows_in_the_log_is_newer_whatever_its_boundary() {
    let objects: Vec<_> = (0..4).map(|seed| object(1 + seed / 2, 10, seed)).collect();
    let of = |seeds: &[usize]| seeds.iter().map(|seed| objects[*seed].clone()).collect::<Vec<_>>();
    // The second of the first run is damaged, so the second run went on from the first one.
    let entries = numbered(vec![
        manifest(1, 10, vec![], of(&[0])),
        manifest(1, 90, vec![], of(&[1])),
        manifest(2, 20, vec![], of(&[0, 2])),
        manifest(2, 30, vec![], of(&[0, 2, 3])),
    ]);
    let names: Vec<_> = objects.iter().map(|object| object.name.clone()).collect();
    let expected = Removal { below: 3, objects: vec![names[1].clone()] };
    assert_eq!(expected, retention(2, 99, 1).plan(&entries, &names));
}

#[test]
fn what_a_manifest_does_not_say_stays() {
    let at = |offset, watermark| manifest(1, 10, vec![position(1, offset, watermark)], vec![]);
    for (before, manifest, below) in [
        (began(), at(5, 50), 1),
        (Body::Decisions(vec![decision(1, 4, 90)]), at(5, 90), 1),
        (Body::Decisions(vec![decision(1, 5, 50)]), at(5, 50), 1),
        (Body::Decisions(vec![decision(1, 5, 51)]), at(5, 50), 0),
        (Body::Decisions(vec![decision(1, 6, 40)]), at(5, 50), 0),
        (Body::Decisions(vec![decision(1, 4, 40), decision(2, 0, 40)]), at(5, 50), 0),
        (Body::Joined(vec![position(1, 0, 0)]), at(5, 50), 1),
        (Body::Joined(vec![position(1, 0, 0), position(2, 0, 0)]), at(5, 50), 0),
    ] {
        let entries = numbered(vec![before, manifest]);
        assert_eq!(below, retention(1, 10, 1).plan(&entries, &[]).below, "{entries:?}");
    }
}

#[test]
fn objects_of_no_manifest_go_when_their_run_is_over() {
    let [old, own, newer] = [1, 2, 3].map(|epoch| object(epoch, 10, 0).name);
    let kept = object(1, 5, 0);
    let entries = numbered(vec![manifest(1, 5, vec![], vec![kept.clone()])]);
    let names = [old.clone(), own, newer, kept.name, "state/readme".to_owned()];
    assert_eq!(vec![old], retention(2, 5, 1).plan(&entries, &names).objects);
}

/// What happens to a job, in the order of its log.
#[derive(Clone, Debug)]
enum Event {
    /// From so many checkpoints before the newest.
    Starts {
        back: i64,
    },
    Decides {
        number: u8,
        forward: u64,
        watermark: i64,
    },
    Joins {
        number: u8,
    },
    /// With an object of its own, and as many of the last manifest's as this.
    Checkpoints {
        forward: u64,
        inherits: usize,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        1 => (0..3i64).prop_map(|back| Event::Starts { back }),
        4 => (0..3u8, 0..3u64, 0..9i64)
            .prop_map(|(number, forward, watermark)| Event::Decides { number, forward, watermark }),
        1 => (0..3u8).prop_map(|number| Event::Joins { number }),
        4 => (0..4u64, 0..4usize).prop_map(|(forward, inherits)| Event::Checkpoints { forward, inherits }),
    ];
    prop::collection::vec(event, 0..40)
}

/// The log that events make, and the highest epoch.
fn log_of(events: &[Event]) -> (Vec<(u64, Body)>, u64) {
    let (mut epoch, mut boundary, mut objects) = (1, 0, Vec::new());
    let mut positions = BTreeMap::new();
    let mut bodies = Vec::new();
    for (seed, event) in (0..).zip(events) {
        bodies.push(match *event {
            Event::Starts { back } => {
                epoch += 1;
                boundary -= (3 * back).min(boundary);
                began()
            }
            Event::Decides { number, forward, watermark } => {
                let offset = positions.get(&number).map_or(0, |position: &Position| position.offset.0);
                Body::Decisions(vec![decision(number, offset + forward, boundary + watermark)])
            }
            Event::Joins { number } => {
                positions.entry(number).or_insert_with(|| position(number, 0, boundary));
                Body::Joined(vec![positions[&number].clone()])
            }
            Event::Checkpoints { forward, inherits } => {
                boundary += 3;
                for position in positions.values_mut() {
                    position.offset.0 += forward;
                    position.watermark = time(boundary);
                }
                objects.truncate(inherits);
                objects.push(object(epoch, boundary, seed));
                manifest(epoch, boundary, positions.values().cloned().collect(), objects.clone())
            }
        });
    }
    (numbered(bodies), epoch)
}

/// What a run that starts from a manifest and finds these entries knows: by partition, the decisions that it must apply itself.
fn known(manifest: &Manifest, entries: &[(u64, Body)]) -> BTreeMap<PartitionId, Vec<(Offset, EventTime)>> {
    let mut known: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, body) in entries {
        match body {
            Body::Decisions(decisions) => {
                for decision in decisions {
                    let position = manifest.position(decision.partition);
                    let at = |position: &Position| (position.offset, position.watermark);
                    if position.is_none_or(|position| (decision.offset, decision.watermark) > at(position)) {
                        known
                            .entry(decision.partition)
                            .or_default()
                            .push((decision.offset, decision.watermark));
                    }
                }
            }
            Body::Joined(positions) => {
                for position in
                    positions.iter().filter(|joined| manifest.position(joined.partition()).is_none())
                {
                    known
                        .entry(position.partition())
                        .or_default()
                        .push((position.offset, position.watermark));
                }
            }
            _ => {}
        }
    }
    known
}

proptest! {
    #[test]
    fn every_run_that_can_follow_finds_what_it_needs(events in events(), committed in -3..99i64, spare in 1..3usize) {
        let (entries, epoch) = log_of(&events);
        let mut names: Vec<_> = (1..epoch + 2).map(|epoch| object(epoch, 1_000, 77).name).collect();
        for (_, body) in &entries {
            if let Body::Manifest(manifest) = body {
                names.extend(manifest.objects.iter().map(|object| object.name.clone()));
            }
        }
        names.sort();
        names.dedup();
        let removal = retention(epoch, committed, spare).plan(&entries, &names);
        let left: Vec<_> = entries.iter().filter(|(number, _)| *number >= removal.below).cloned().collect();
        // A shard goes on committing; a run starts from the newest manifest that all have passed, whatever came after.
        let usable = |entries: &[(u64, Body)], committed: i64| -> Vec<Manifest> {
            let of = |body: &Body| match body {
                Body::Manifest(manifest) if manifest.boundary <= time(committed) => Some(manifest.clone()),
                _ => None,
            };
            entries.iter().filter_map(|(_, body)| of(body)).collect()
        };
        for later in committed..committed + 20 {
            let (before, after) = (usable(&entries, later), usable(&left, later));
            let (before, after) = (before.last(), after.last());
            prop_assert_eq!(before, after, "as of {}", later);
            if let Some(manifest) = before {
                prop_assert_eq!(known(manifest, &entries), known(manifest, &left), "as of {}", later);
                for object in &manifest.objects {
                    prop_assert!(!removal.objects.contains(&object.name), "{} is gone as of {}", object.name, later);
                }
            }
        }
        let is_of = |name: &str, epoch| epoch_of(name) == Some(Epoch(epoch));
        prop_assert!(!removal.objects.iter().any(|name| is_of(name, epoch + 1)), "an object of a newer run");
        let own = object(epoch, 1_000, 77).name;
        prop_assert!(!removal.objects.contains(&own), "an object that is being written");
        // Nothing is kept for ever: once all shards have passed, what only older manifests name is gone.
        let end = retention(epoch, i64::MAX, 1).plan(&entries, &names);
        if let Some(last) = usable(&entries, i64::MAX).last() {
            let kept: Vec<_> = names.iter().filter(|name| !end.objects.contains(name)).cloned().collect();
            for name in kept {
                let is_named = last.objects.iter().any(|object| object.name == name);
                prop_assert!(is_named || is_of(&name, epoch + 1) || name == own, "{} is kept", name);
            }
        }
    }
}

#[test]
fn a_run_that_is_fenced_removes_nothing() {
    let store = store::open("memory:").unwrap();
    let (mut log, _) = Log::open(store.clone(), LOG).unwrap();
    log.begin(&began().encode()).unwrap();
    for boundary in [10, 20] {
        let mut changes = Changes::new();
        changes.push(Change { key: "a", version: time(boundary), last: time(0), state: None });
        let bytes = object::encode(time(boundary), &changes).unwrap();
        let object = ObjectRef::write(&*store, Epoch(1), bytes).unwrap();
        log.append(Epoch(1), &manifest(1, boundary, vec![], vec![object]).encode()).unwrap();
    }
    let (mut newer, entries) = Log::open(store.clone(), LOG).unwrap();
    let all = store.list("").unwrap();
    newer.begin(&began().encode()).unwrap();
    let fenced = retention(1, 20, 1).remove(&store);
    assert!(matches!(fenced, Err(Error::Fenced { epoch: Epoch(2) })), "{fenced:?}");
    assert_eq!(all.len() + 1, store.list("").unwrap().len());

    let removal = retention(2, 20, 1).remove(&store).unwrap();
    assert_eq!((2, 1), (removal.below, removal.objects.len()));
    let (_, left) = Log::open(store.clone(), LOG).unwrap();
    let numbers = |entries: &[Entry]| entries.iter().map(|entry| entry.number).collect::<Vec<_>>();
    assert_eq!((vec![0, 1, 2], vec![2, 3]), (numbers(&entries), numbers(&left)));
    assert_eq!(1, store.list(PREFIX).unwrap().len());
}

#[test]
fn an_edition_stays_until_a_manifest_has_it_or_one_that_follows_it() {
    let edition = |from| Edition { from: time(from), value: format!("from {from}") };
    let manifest = |boundary, editions: &[i64]| match manifest(1, boundary, vec![], vec![]) {
        Body::Manifest(manifest) => Body::Manifest(Manifest {
            editions: editions.iter().map(|from| edition(*from)).collect(),
            ..manifest
        }),
        _ => unreachable!("it makes one"),
    };
    for (from, boundary, editions, below) in [
        (5, 10, &[5][..], 1),
        (5, 10, &[][..], 0),
        // What follows it is in force only later.
        (5, 10, &[11], 0),
        (5, 10, &[10], 1),
        (12, 10, &[5], 0),
        (12, 10, &[5, 12], 1),
    ] {
        let entries = numbered(vec![Body::Referred(edition(from)), manifest(boundary, editions)]);
        let removal = retention(1, 99, 1).plan(&entries, &[]);
        assert_eq!(below, removal.below, "{from} at {boundary} with {editions:?}");
    }
}
