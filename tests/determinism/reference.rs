//! The keyed operator against a reference that knows nothing of frontiers, buckets and heaps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;
use tidewatch_connectors::format::{Encoder, JsonEncoder};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::MemoryRecord;
use tidewatch_connectors::Schema;
use tidewatch_dataflows::event::{Emission, Event, KeyCause, KeyEvent};
use tidewatch_dataflows::operators::{Eager, Limits};
use tidewatch_dataflows::record::KEY_GROUPS;
use tidewatch_dataflows::state::{self, StateError};
use tidewatch_dataflows::{EventTime, Key, KeyId, Logic, Offset, PartitionId, Record, Span, Watermark};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::harness::{Attack, Partitions, Setting};

/// Emits a hash of all that ever happened to a key, and sets timers by it: whatever the operator does to a key in
/// another order or at another time shows in all that follows.
#[derive(Clone, Copy)]
struct Chronicle;

/// What a key went through: a hash, and the next timer.
type Past = (u64, Option<EventTime>);

impl Chronicle {
    fn note(past: &mut Past, what: u64, time: EventTime, value: f64) -> f64 {
        let event = [what, time.micros() as u64, value.to_bits()].map(u64::to_le_bytes).concat();
        past.0 = xxh3_64_with_seed(&event, past.0);
        // A number that no format rounds.
        (past.0 >> 32) as f64
    }

    fn after(time: EventTime, past: &Past, least: u64) -> EventTime {
        time.saturating_add(Span::from_micros((least + (past.0 >> 16) % 40_000) as i64))
    }
}

impl Logic for Chronicle {
    type In = Record;
    type Out = f64;
    type State = Past;

    fn start(&self, key: &Key) -> Past {
        (key.id().hash(), None)
    }
    fn on_record(
        &self,
        past: &mut Past,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, f64),
    ) {
        out(time, Self::note(past, 1, time, input.values[0]));
        match past.0 % 4 {
            0 => past.1 = None,
            1 => {}
            // A timer at the very time of a record is due after all records of that time.
            2 => past.1 = Some(Self::after(time, past, 0)),
            _ => past.1 = Some(time),
        }
    }
    fn deadline(&self, past: &Past) -> Option<EventTime> {
        past.1
    }
    fn on_time(&self, past: &mut Past, time: EventTime, out: &mut impl FnMut(EventTime, f64)) {
        out(time, Self::note(past, 2, time, 0.0));
        past.1 = (!past.0.is_multiple_of(3)).then(|| Self::after(time, past, 1));
    }
    fn on_end(&self, past: &mut Past, _end: EventTime, out: &mut impl FnMut(EventTime, f64)) {
        if let Some(due) = past.1 {
            out(due, (past.0 >> 32) as f64);
        }
    }
    fn memory(&self, past: &Past) -> usize {
        8 + (past.0 % 50) as usize
    }
    fn save(&self, past: &Past, out: &mut Vec<u8>) {
        state::save(past, out);
    }
    fn restore(&self, bytes: &mut &[u8]) -> Result<Past, StateError> {
        state::restore("chronicle", bytes)
    }
}

struct Row {
    time: EventTime,
    place: (PartitionId, Offset),
    key: Key,
    record: Record,
}

/// The records in time of all partitions in order, and up to when timers are due at the end.
fn rows(partitions: &Partitions, lateness: Span) -> (Vec<Row>, EventTime) {
    let (mut rows, mut end) = (Vec::new(), EventTime::MIN);
    for (name, records) in partitions {
        let mut watermark = Watermark::new(lateness);
        for (offset, record) in records.iter().enumerate() {
            let MemoryRecord::Row { time, key, values } = record else { continue };
            if watermark.admit(*time) {
                let place = (PartitionId::of("memory", name), Offset(offset as u64));
                let record = Record::new(*time, values.clone());
                rows.push(Row { time: *time, place, key: key.key.clone(), record });
            }
        }
        end = end.max(watermark.time());
    }
    rows.sort_by_key(|row| (row.time, row.place));
    (rows, end.floor_ms())
}

/// Calls a key's timers before `limit`.
fn timers(key: &Key, past: &mut Past, limit: EventTime, emitted: &mut Vec<Emission<f64>>) {
    while let Some(due) = past.1.filter(|due| *due < limit) {
        Chronicle.on_time(past, due, &mut |time, value| {
            emitted.push(Emission { time, key: key.clone(), value });
        });
    }
}

/// Plays each key by itself.
fn emissions_slow(partitions: &Partitions, lateness: Span) -> Vec<Emission<f64>> {
    let (rows, end) = rows(partitions, lateness);
    let mut emitted = Vec::new();
    for key in rows.iter().map(|row| &row.key).collect::<BTreeSet<_>>() {
        let mut past = Chronicle.start(key);
        for row in rows.iter().filter(|row| row.key == *key) {
            timers(key, &mut past, row.time, &mut emitted);
            Chronicle.on_record(&mut past, row.time, &row.record, &mut |time, value| {
                emitted.push(Emission { time, key: key.clone(), value });
            });
        }
        timers(key, &mut past, end, &mut emitted);
        Chronicle.on_end(&mut past, EventTime::MIN, &mut |time, value| {
            emitted.push(Emission { time, key: key.clone(), value });
        });
    }
    emitted
}

/// The keys of one group that have state, each with its last record.
#[derive(Default)]
struct Crowd(BTreeMap<KeyId, (EventTime, Key, Past)>);

impl Crowd {
    /// Evicts the longest-silent key, of several the one with the least identifier.
    fn evict(&mut self, time: EventTime, cause: KeyCause, evicted: &mut Vec<KeyEvent>) {
        let (last_record, id) =
            self.0.iter().map(|(id, (last, ..))| (*last, *id)).min().expect("there is one");
        let (_, key, _) = self.0.remove(&id).expect("it was just seen");
        evicted.push(KeyEvent { time, key, group: id.group(), cause, last_record });
    }

    fn bytes(&self) -> usize {
        self.0.values().map(|(.., past)| Chronicle.memory(past)).sum()
    }
}

/// Plays each key group by itself, within limits for each group.
fn limited_slow(
    partitions: &Partitions,
    lateness: Span,
    keys: usize,
    bytes: usize,
) -> (Vec<Emission<f64>>, Vec<KeyEvent>) {
    let (rows, end) = rows(partitions, lateness);
    let (mut emitted, mut evicted) = (Vec::new(), Vec::new());
    for group in rows.iter().map(|row| row.key.id().group()).collect::<BTreeSet<_>>() {
        let mut crowd = Crowd::default();
        for row in rows.iter().filter(|row| row.key.id().group() == group) {
            let (time, id) = (row.time, row.key.id());
            for (other, (_, key, past)) in &mut crowd.0 {
                timers(key, past, if *other == id { time } else { time.min(end) }, &mut emitted);
            }
            while !crowd.0.contains_key(&id) && crowd.0.len() >= keys {
                crowd.evict(time, KeyCause::KeyLimit, &mut evicted);
            }
            let fresh = || (time, row.key.clone(), Chronicle.start(&row.key));
            let (last, key, past) = crowd.0.entry(id).or_insert_with(fresh);
            *last = time;
            Chronicle.on_record(past, time, &row.record, &mut |time, value| {
                emitted.push(Emission { time, key: key.clone(), value });
            });
            while crowd.bytes() > bytes {
                crowd.evict(time, KeyCause::StateLimit, &mut evicted);
            }
        }
        for (_, key, past) in crowd.0.values_mut() {
            timers(key, past, end, &mut emitted);
            Chronicle.on_end(past, EventTime::MIN, &mut |time, value| {
                emitted.push(Emission { time, key: key.clone(), value });
            });
        }
    }
    (emitted, evicted)
}

/// What a sink gets of events.
fn lines<E: Event>(mut events: Vec<E>) -> Vec<String> {
    events.sort_by(|a, b| a.time().cmp(&b.time()).then_with(|| a.order(b)));
    let mut encoder = JsonEncoder::new(Schema::new(["key"], ["value0"]));
    let mut line = |event: &E| {
        let mut bytes = Vec::new();
        encoder.encode(event, &mut bytes);
        String::from_utf8(bytes).expect("JSON is text")
    };
    events.iter().map(&mut line).collect()
}

/// Keys of one group, and one of another.
fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let group = KeyId::of("k0").group();
        let mut names: Vec<_> = (0..)
            .map(|at| format!("k{at}"))
            .filter(|name| KeyId::of(name).group() == group)
            .take(5)
            .collect();
        names.push("k1".to_owned());
        names
    })
}

fn inputs() -> impl Strategy<Value = Partitions> {
    let time =
        prop_oneof![4 => (0i64..120).prop_map(|ms| ms * 1_000), 1 => 0i64..120_000, 1 => -5_000i64..5_000];
    let record = (time, 0..names().len(), 0u8..4);
    let partition = prop::collection::vec(record, 0..25);
    prop::collection::vec(partition, 1..4).prop_map(|partitions| {
        let row = |(time, key, value): (i64, usize, u8)| {
            MemoryRecord::row(EventTime::from_micros(time), &names()[key], [f64::from(value)])
        };
        let rows =
            |(at, records): (usize, Vec<_>)| (format!("p{at}"), records.into_iter().map(row).collect());
        partitions.into_iter().enumerate().map(rows).collect()
    })
}

fn settings() -> impl Strategy<Value = Setting> {
    let budget = prop::option::of((0usize..9).prop_map(|records| Eager { records, ..Eager::default() }));
    (1u16..4, 1usize..9, prop::option::of(any::<u64>()), any::<bool>(), budget).prop_map(
        |(workers, batch, shuffle, snapshotting, eager)| Setting {
            processes: 1,
            workers,
            pace: Pace { batch, shuffle, dictionary: batch },
            snapshotting,
            arrival: None,
            recorded: None,
            alone: false,
            eager,
        },
    )
}

fn captured(attack: &Attack, setting: Setting, stream: &str) -> Vec<String> {
    let captured = attack.run(setting).expect("it runs");
    let (_, lines) = captured.into_iter().find(|(name, _)| *name == stream).expect("it has the stream");
    lines.into_iter().map(|line| String::from_utf8(line).expect("JSON is text")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn keyed_agrees_with_each_key_by_itself(
        partitions in inputs(), lateness in 0i64..150, setting in settings(),
    ) {
        let lateness = Span::from_millis(lateness);
        let attack = Attack::logic(|| Chronicle).records(partitions.clone()).lateness(lateness);
        prop_assert_eq!(lines(emissions_slow(&partitions, lateness)), captured(&attack, setting, "emitted"));
    }

    #[test]
    fn limits_agree_with_each_group_by_itself(
        partitions in inputs(), lateness in 0i64..150, setting in settings(),
        keys in 1usize..4, bytes in 20usize..200,
    ) {
        let lateness = Span::from_millis(lateness);
        let limits = Limits { keys: keys * KEY_GROUPS, state: bytes * KEY_GROUPS };
        let attack = Attack::logic_within(limits, || Chronicle).records(partitions.clone()).lateness(lateness);
        let (emitted, evicted) = limited_slow(&partitions, lateness, keys, bytes);
        prop_assert_eq!(lines(emitted), captured(&attack, setting, "emitted"));
        prop_assert_eq!(lines(evicted), captured(&attack, setting, "evictions"));
    }
}
