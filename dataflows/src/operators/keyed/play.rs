//! Plays the operator without timely, for the tests of what it holds.

use proptest::prelude::*;

use super::eager::Provisions;
use super::group::Outputs;
use super::{Eager, KeyedState, Limits};
use crate::alerts::Finding;
use crate::detectors;
use crate::event::{Emission, Revision};
use crate::logic::window::{sliding, tumbling};
use crate::logic::{silent_for, DynLogic, Episodes, Every, Gap, Logic, Selection, Threshold, Verdict};
use crate::params::{Given, Kind, Params};
use crate::record::{Dictionary, Offset, Origin};
use crate::state::Changes;
use crate::{EventTime, Key, Lapse, PartitionId, Record, RowBatch, Span};

pub(in crate::operators) type Boxed = DynLogic<Record, Finding>;
pub(in crate::operators) type Said = (EventTime, Key, Finding);

/// Rows of one partition: how far beyond the frontier, in units of 250 µs; which key; and the value.
pub(in crate::operators) type Rows = Vec<(u8, u8, f64)>;

/// Batches that arrive, each followed by a move of the frontier in milliseconds.
pub(in crate::operators) type Script = Vec<(u8, Rows, u8)>;

/// The detector with a short warming phase; what it requires gets a value that makes it speak.
pub(in crate::operators) fn detector(name: &str) -> DynLogic<Record, Verdict> {
    let detectors = detectors::built_in();
    let info = detectors.get(name).unwrap();
    let given = info.parameters.iter().filter_map(|parameter| {
        let value = match (parameter.name, &parameter.kind) {
            ("warmup" | "step", _) => Given::Integer(2),
            ("window", _) => Given::Integer(7),
            (_, Kind::Span) => Given::Text("3ms".to_owned()),
            _ if parameter.is_required() || name == "static" => Given::Number(1.0),
            _ => return None,
        };
        Some((parameter.name.to_owned(), value))
    });
    let params = Params::check(&info.parameters, given).unwrap();
    let selection = Selection { name: info.name.into(), values: vec![(0, "value".into())] };
    (info.construct)(&params, selection, &detectors).unwrap()
}

pub(in crate::operators) fn names() -> Vec<&'static str> {
    detectors::built_in().names().collect()
}

/// Every detector by itself, and logics with timers, hysteresis and several series.
pub(in crate::operators) fn logics() -> Vec<(String, Box<dyn Fn() -> Boxed>)> {
    let mut logics: Vec<(String, Box<dyn Fn() -> Boxed>)> = Vec::new();
    for name in names() {
        logics.push((
            name.to_owned(),
            Box::new(move || detector(name).then(all(1.0, 1.0)).then(episodes()).erased()),
        ));
    }
    logics.push((
        "anomalies".into(),
        Box::new(|| detector("ewma-z").then(anomalous(1.5, 0.5)).then(episodes()).erased()),
    ));
    logics.push((
        "window".into(),
        Box::new(|| {
            tumbling("2ms")
                .mean()
                .then(detector("rate-of-change"))
                .then(all(1.0, 1.0))
                .then(lasting())
                .erased()
        }),
    ));
    logics.push((
        "gaps".into(),
        Box::new(|| {
            sliding("6ms", "2ms")
                .max()
                .on_gap(Gap::Alert)
                .fill(9)
                .then(detector("ewma-z"))
                .then(all(1.0, 1.0))
                .then(episodes())
                .erased()
        }),
    ));
    logics.push((
        "silence".into(),
        Box::new(|| {
            tumbling("1ms")
                .mean()
                .on_gap(Gap::Alert)
                .fill(9)
                .then(silent_for("3ms"))
                .then(all(0.0, 0.0))
                .then(episodes())
                .erased()
        }),
    ));
    logics.push((
        "several".into(),
        Box::new(|| {
            let several = names()
                .into_iter()
                .map(|name| detector(name).then(all(1.0, 0.5)).then(episodes()).erased())
                .collect();
            Every::of(several).erased()
        }),
    ));
    logics
}

pub(in crate::operators) fn all(threshold: f64, clear: f64) -> Threshold {
    anomalous(threshold, clear).and_normal()
}

pub(in crate::operators) fn anomalous(threshold: f64, clear: f64) -> Threshold {
    Threshold::new(threshold, clear).unwrap()
}

/// Alerts that a few records close.
pub(in crate::operators) fn episodes() -> Episodes {
    Episodes::new("pipeline", "d").close_after(Lapse::Records(2)).unwrap().critical(4.0).and_normal()
}

/// Alerts that a timer closes.
fn lasting() -> Episodes {
    Episodes::new("pipeline", "d").close_after(Lapse::Time(Span::from_millis(2))).unwrap()
}

/// Keys of one group, so that limits evict some of them.
pub(in crate::operators) fn keys() -> Vec<Key> {
    let group = Key::new("0").id().group();
    let names = (0..).map(|name: u32| Key::new(&name.to_string()));
    names.filter(|key| key.id().group() == group).take(4).collect()
}

/// Plays the operator: what arrives, how far the frontier is, what was emitted and what was said.
pub(in crate::operators) struct Play {
    pub(super) state: KeyedState<Boxed>,
    dictionary: Dictionary,
    pub(in crate::operators) keys: Vec<Key>,
    offset: u64,
    pub(in crate::operators) frontier: EventTime,
    pub(in crate::operators) emitted: Vec<Said>,
    pub(in crate::operators) evicted: usize,
    pub(in crate::operators) revisions: Vec<Revision<Finding>>,
    /// What is being saved.
    pub(super) saved: Changes,
}

impl Play {
    pub(in crate::operators) fn new(logic: Boxed, limits: Limits, eager: Option<Eager>) -> Self {
        Self {
            state: KeyedState::new(1, logic, limits, eager.map(Provisions::new)),
            // So small that numbers of keys are used again.
            dictionary: Dictionary::with_generation(1),
            keys: keys(),
            offset: 0,
            frontier: EventTime::from_micros(-20_000),
            emitted: Vec::new(),
            evicted: 0,
            revisions: Vec::new(),
            saved: Changes::at(EventTime::MIN),
        }
    }

    fn hear(&mut self) {
        let Some(eager) = &mut self.state.eager else { return };
        let from = self.revisions.len();
        self.revisions.extend(eager.revisions());
        for revision in &self.revisions[from..] {
            assert!(revision.time >= self.frontier, "{revision:?} is behind {}", self.frontier);
        }
    }

    pub(in crate::operators) fn time(&self, ahead: u8) -> EventTime {
        self.frontier.saturating_add(Span::from_micros(i64::from(ahead) * 250))
    }

    pub(in crate::operators) fn arrive(&mut self, partition: u8, rows: &Rows) {
        let rows: Vec<_> = rows.iter().map(|(ahead, key, value)| (self.time(*ahead), *key, *value)).collect();
        self.arrive_at(partition, &rows);
    }

    pub(in crate::operators) fn arrive_at(&mut self, partition: u8, rows: &[(EventTime, u8, f64)]) {
        let partition = PartitionId::of("s", &partition.to_string());
        let mut batch = RowBatch::new(Origin { partition, dictionary: 0 }, 1, Offset(self.offset));
        for (time, key, value) in rows {
            self.offset += 1;
            let key = &self.keys[usize::from(*key)];
            let number = self.dictionary.number(key.id(), || key.clone(), &mut batch);
            batch.push(*time, number, Offset(self.offset), &[*value]);
            if !batch.forgotten.is_empty() {
                self.state.accept(&mut batch);
                batch.reset(Origin { partition, dictionary: 0 }, 1, Offset(self.offset));
            }
        }
        self.state.accept(&mut batch);
        self.hear();
    }

    pub(in crate::operators) fn advance(&mut self, limit: EventTime) {
        let mut evictions = Vec::new();
        let mut eager = self.state.eager.take();
        let emitted = &mut self.emitted;
        let mut emit = |number, emission: Emission<Finding>| {
            if let Some(eager) = &mut eager {
                eager.confirm(number, &emission);
            }
            emitted.push((emission.time, emission.key, emission.value));
        };
        let sight = self.state.sight.clone();
        let (evicted, saved) = (&mut evictions, &mut self.saved);
        let mut out = Outputs { emit: &mut emit, evicted, saved, sight: &sight };
        match limit {
            EventTime::MAX => self.state.finish(self.frontier, &mut out),
            limit => self.state.release(limit, &mut out),
        };
        if let Some(eager) = &mut eager {
            eager.pass(limit, &evictions, &self.state.logic, &self.state.groups);
        }
        self.state.eager = eager;
        self.state.prune(&evictions);
        self.evicted += evictions.len();
        self.hear();
        self.frontier = limit;
    }
}

pub(in crate::operators) fn script() -> impl Strategy<Value = Script> {
    let value = prop_oneof![6 => (-4i32..4).prop_map(f64::from), 1 => Just(-0.0), 1 => Just(f64::NAN)];
    let ahead = prop_oneof![3 => 0u8..12, 2 => 0u8..60];
    let rows = prop::collection::vec((ahead, 0u8..4, value), 0..12);
    let advance = prop_oneof![2 => Just(0u8), 3 => 1u8..8, 1 => 8u8..30];
    prop::collection::vec((0u8..3, rows, advance), 1..16)
}

pub(in crate::operators) fn limits() -> impl Strategy<Value = Limits> {
    // One or two keys of a group, or all.
    prop::sample::select(vec![256, 512, 1_000_000]).prop_map(|keys| Limits { keys, ..Limits::default() })
}
