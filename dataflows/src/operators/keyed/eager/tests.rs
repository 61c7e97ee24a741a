use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::group::Outputs;
use super::super::{KeyedState, Limits};
use super::*;
use crate::detectors;
use crate::event::{Change, RevisionId};
use crate::logic::window::{sliding, tumbling};
use crate::logic::{silent_for, DynLogic, Every, Gap, Selection, Threshold, Verdict};
use crate::params::{Given, Kind, Params};
use crate::record::{Dictionary, Offset, Origin};
use crate::state::Changes;
use crate::{Key, RowBatch, Span};

type Boxed = DynLogic<Record, Verdict>;
type Said = (EventTime, Key, Verdict);

/// Rows of one partition: how far beyond the frontier, in units of 250 µs; which key; and the value.
type Rows = Vec<(u8, u8, f64)>;

/// Batches that arrive, each followed by a move of the frontier in milliseconds.
type Script = Vec<(u8, Rows, u8)>;

/// The detector with a short warming phase; what it requires gets a value that makes it speak.
fn detector(name: &str) -> Boxed {
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
    (info.construct)(&params, Selection { name: info.name.into(), values: vec![(0, "value".into())] })
        .unwrap()
}

fn names() -> Vec<&'static str> {
    detectors::built_in().names().collect()
}

/// Every detector by itself, and logics with timers, hysteresis and several series.
fn logics() -> Vec<(String, Box<dyn Fn() -> Boxed>)> {
    let mut logics: Vec<(String, Box<dyn Fn() -> Boxed>)> = Vec::new();
    for name in names() {
        logics.push((name.to_owned(), Box::new(move || detector(name).then(all(1.0, 1.0)).erased())));
    }
    logics.push(("anomalies".into(), Box::new(|| detector("ewma-z").then(anomalous(1.5, 0.5)).erased())));
    logics.push((
        "window".into(),
        Box::new(|| {
            tumbling("2ms").mean().then(detector("rate-of-change")).then(anomalous(1.0, 1.0)).erased()
        }),
    ));
    logics.push((
        "gaps".into(),
        Box::new(|| sliding("6ms", "2ms").max().on_gap(Gap::Alert).fill(9).then(detector("ewma-z")).erased()),
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
                .erased()
        }),
    ));
    logics.push((
        "several".into(),
        Box::new(|| {
            let several =
                names().into_iter().map(|name| detector(name).then(all(1.0, 0.5)).erased()).collect();
            Every::of(several).erased()
        }),
    ));
    logics
}

fn all(threshold: f64, clear: f64) -> Threshold {
    anomalous(threshold, clear).and_normal()
}

fn anomalous(threshold: f64, clear: f64) -> Threshold {
    Threshold::new(threshold, clear).unwrap()
}

/// Keys of one group, so that limits evict some of them.
fn keys() -> Vec<Key> {
    let group = Key::new("0").id().group();
    let names = (0..).map(|name: u32| Key::new(&name.to_string()));
    names.filter(|key| key.id().group() == group).take(4).collect()
}

/// Plays the operator: what arrives, how far the frontier is, what was emitted and what was said.
struct Play {
    state: KeyedState<Boxed>,
    dictionary: Dictionary,
    keys: Vec<Key>,
    offset: u64,
    frontier: EventTime,
    emitted: Vec<Said>,
    evicted: usize,
    revisions: Vec<Revision<Verdict>>,
}

impl Play {
    fn new(logic: Boxed, limits: Limits, eager: Option<Eager>) -> Self {
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

    fn time(&self, ahead: u8) -> EventTime {
        self.frontier.saturating_add(Span::from_micros(i64::from(ahead) * 250))
    }

    fn arrive(&mut self, partition: u8, rows: &Rows) {
        let partition = PartitionId::of("s", &partition.to_string());
        let mut batch = RowBatch::new(Origin { partition, dictionary: 0 }, 1, Offset(self.offset));
        for (ahead, key, value) in rows {
            self.offset += 1;
            let key = &self.keys[usize::from(*key)];
            let number = self.dictionary.number(key.id(), || key.clone(), &mut batch);
            batch.push(self.time(*ahead), number, Offset(self.offset), &[*value]);
            if !batch.forgotten.is_empty() {
                self.state.accept(&mut batch);
                batch.reset(Origin { partition, dictionary: 0 }, 1, Offset(self.offset));
            }
        }
        self.state.accept(&mut batch);
        self.hear();
    }

    fn advance(&mut self, limit: EventTime) {
        let mut evictions = Vec::new();
        let mut eager = self.state.eager.take();
        let emitted = &mut self.emitted;
        let mut emit = |number, emission: Emission<Verdict>| {
            if let Some(eager) = &mut eager {
                eager.confirm(number, &emission);
            }
            emitted.push((emission.time, emission.key, emission.value));
        };
        let sight = self.state.sight.clone();
        let mut saved = Changes::at(EventTime::MIN);
        let mut out = Outputs { emit: &mut emit, evicted: &mut evictions, saved: &mut saved, sight: &sight };
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

/// What revisions add up to, checked on the way.
#[derive(Default)]
struct Heard {
    revisions: usize,
    said: BTreeMap<RevisionId, (u32, Option<Verdict>, bool, Said)>,
}

impl Heard {
    /// Reads what is new.
    fn hear(&mut self, revisions: &[Revision<Verdict>]) -> Result<(), TestCaseError> {
        for revision in &revisions[self.revisions..] {
            let known = self.said.get(&revision.id);
            let (number, said, confirmed) = known
                .map_or((0, None, false), |(number, said, confirmed, _)| (number + 1, *said, *confirmed));
            prop_assert_eq!(number, revision.revision, "{:?}", revision);
            prop_assert!(!confirmed, "{:?} comes after a confirmation", revision);
            let (was, is, is_final) = match revision.change {
                Change::Provisional(is) => (None, Some(is), false),
                Change::Revised { was, is } => {
                    prop_assert!(was != is, "{:?} changes nothing", revision);
                    (Some(was), Some(is), false)
                }
                Change::Retracted(was) => (Some(was), None, false),
                Change::Confirmed(is) => (Some(is), Some(is), true),
            };
            prop_assert_eq!(said, was, "{:?}", revision);
            let what = (revision.time, revision.key.clone(), *revision.change.value());
            if let Some((.., (time, key, verdict))) = known {
                let place = (time, key, verdict.detector);
                prop_assert_eq!(place, (&what.0, &what.1, what.2.detector), "two things have one identifier");
            }
            self.said.insert(revision.id, (number, is, is_final, what));
        }
        self.revisions = revisions.len();
        Ok(())
    }

    /// What is said; `confirmed` or not.
    fn said(&self, confirmed: Option<bool>) -> Vec<Said> {
        let said = self.said.values().filter(|(_, _, is, _)| confirmed.is_none_or(|wanted| wanted == *is));
        sorted(said.filter_map(|(_, said, _, (time, key, _))| Some((*time, key.clone(), (*said)?))).collect())
    }
}

fn sorted(mut said: Vec<Said>) -> Vec<Said> {
    said.sort_unstable();
    said
}

fn before(said: &[Said], limit: EventTime) -> Vec<Said> {
    sorted(said.iter().filter(|(time, ..)| *time < limit).cloned().collect())
}

/// The definition of what is said: what each key's logic emits for all that arrived, with timers up to the frontier.
fn say_slow(
    logic: &Boxed,
    arrived: &[(EventTime, PartitionId, usize, Key, f64)],
    frontier: EventTime,
) -> Vec<Said> {
    let mut arrived = arrived.to_vec();
    arrived.sort_unstable_by_key(|(time, partition, index, ..)| (*time, *partition, *index));
    let mut said = Vec::new();
    for key in keys() {
        let mut emit = |time, verdict| said.push((time, key.clone(), verdict));
        let mut state = None;
        let timers = |state: &mut crate::logic::AnyState, limit, emit: &mut dyn FnMut(EventTime, Verdict)| {
            while let Some(due) = logic.deadline(state).filter(|due| *due < limit) {
                logic.on_time(state, due, &mut |time, verdict| emit(time, verdict));
            }
        };
        for (time, .., value) in arrived.iter().filter(|(.., of, _)| *of == key) {
            if let Some(state) = &mut state {
                timers(state, *time, &mut emit);
            }
            let state = state.get_or_insert_with(|| logic.start(&key));
            logic.on_record(state, *time, &Record::new(*time, [*value]), &mut emit);
        }
        if let Some(state) = &mut state {
            timers(state, frontier, &mut emit);
        }
    }
    sorted(said)
}

fn script() -> impl Strategy<Value = Script> {
    let value = prop_oneof![6 => (-4i32..4).prop_map(f64::from), 1 => Just(-0.0), 1 => Just(f64::NAN)];
    let ahead = prop_oneof![3 => 0u8..12, 2 => 0u8..60];
    let rows = prop::collection::vec((ahead, 0u8..4, value), 0..12);
    let advance = prop_oneof![2 => Just(0u8), 3 => 1u8..8, 1 => 8u8..30];
    prop::collection::vec((0u8..3, rows, advance), 1..16)
}

fn limits() -> impl Strategy<Value = Limits> {
    // One or two keys of a group, or all.
    prop::sample::select(vec![256, 512, 1_000_000]).prop_map(|keys| Limits { keys, ..Limits::default() })
}

fn budget() -> impl Strategy<Value = Eager> {
    let generous = Eager { records: 256, ..Eager::default() };
    prop_oneof![
        Just(generous),
        prop::sample::select(vec![0, 1, 3, 8]).prop_map(move |records| Eager { records, ..generous }),
        prop::sample::select(vec![0, 100, 2000]).prop_map(move |memory| Eager { memory, ..generous }),
        prop::sample::select(vec![0, 50, 120]).prop_map(move |state| Eager { state, ..generous }),
    ]
}

proptest! {
    #[test]
    fn up_to_the_frontier_what_is_said_is_what_is_final(
        script in script(), limits in limits(), budget in budget(),
    ) {
        for (name, logic) in logics() {
            let mut plain = Play::new(logic(), limits, None);
            let mut eager = Play::new(logic(), limits, Some(budget));
            let mut heard = Heard::default();
            for (partition, rows, advance) in &script {
                plain.arrive(*partition, rows);
                eager.arrive(*partition, rows);
                if *advance > 0 {
                    let limit = plain.time(*advance * 4);
                    plain.advance(limit);
                    eager.advance(limit);
                }
                heard.hear(&eager.revisions)?;
                let said = before(&heard.said(None), plain.frontier);
                prop_assert_eq!(&before(&plain.emitted, plain.frontier), &said, "{} before {}", name, plain.frontier);
                prop_assert_eq!(sorted(plain.emitted.clone()), heard.said(Some(true)), "{} confirmed", name);
            }
            plain.advance(EventTime::MAX);
            eager.advance(EventTime::MAX);
            heard.hear(&eager.revisions)?;
            prop_assert_eq!(&plain.emitted, &eager.emitted, "{}: the final stream is another", name);
            prop_assert_eq!(plain.evicted, eager.evicted);
            prop_assert_eq!(sorted(plain.emitted), heard.said(Some(true)), "{} at the end", name);
            prop_assert_eq!(0, heard.said(Some(false)).len(), "{} leaves something open", name);
            let provisions = eager.state.eager.unwrap();
            prop_assert_eq!((0, 0, 0), (provisions.keys.len(), provisions.due.0.len(), provisions.memory));
        }
    }

    #[test]
    fn within_the_budget_all_that_arrived_is_said(script in script()) {
        for (name, logic) in logics() {
            let mut play = Play::new(logic(), Limits::default(), Some(Eager::default()));
            let (mut heard, mut arrived) = (Heard::default(), Vec::new());
            for (partition, rows, advance) in &script {
                let id = PartitionId::of("s", &partition.to_string());
                for (ahead, key, value) in rows {
                    let key = play.keys[usize::from(*key)].clone();
                    arrived.push((play.time(*ahead), id, arrived.len(), key, *value));
                }
                play.arrive(*partition, rows);
                if *advance > 0 {
                    play.advance(play.time(*advance * 4));
                }
                heard.hear(&play.revisions)?;
                prop_assert_eq!(say_slow(&logic(), &arrived, play.frontier), heard.said(None), "{}", name);
            }
        }
    }
}

#[test]
fn a_key_past_its_budget_waits_and_speaks_again_when_nothing_of_it_waits() {
    let budget = Eager { records: 2, ..Eager::default() };
    let mut play =
        Play::new(detector("static").then(all(1.0, 1.0)).erased(), Limits::default(), Some(budget));
    let said = |play: &mut Play, rows: &[(u8, u8, f64)]| {
        play.revisions.clear();
        play.arrive(0, &rows.to_vec());
        play.revisions.len()
    };
    assert_eq!(2, said(&mut play, &[(4, 0, 1.0), (40, 0, 1.0)]));
    assert_eq!(1, said(&mut play, &[(8, 0, 1.0), (8, 1, 1.0)]), "another key has a budget of its own");
    play.advance(play.time(8));
    assert_eq!(0, said(&mut play, &[(60, 0, 1.0)]), "a record still waits");
    play.advance(play.time(64));
    assert_eq!(1, said(&mut play, &[(0, 0, 1.0)]));
}
