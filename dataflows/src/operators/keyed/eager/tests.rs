use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::play::{all, detector, episodes, keys, limits, logics, script, Boxed, Play, Said};
use super::super::Limits;
use super::*;
use crate::alerts::Finding;
use crate::event::{Change, RevisionId};
use crate::Key;

/// What revisions add up to, checked on the way.
#[derive(Default)]
struct Heard {
    revisions: usize,
    said: BTreeMap<RevisionId, (u32, Option<Finding>, bool, Said)>,
}

impl Heard {
    /// Reads what is new.
    fn hear(&mut self, revisions: &[Revision<Finding>]) -> Result<(), TestCaseError> {
        for revision in &revisions[self.revisions..] {
            let known = self.said.get(&revision.id);
            let (number, said, confirmed) = known.map_or((0, None, false), |(number, said, confirmed, _)| {
                (number + 1, said.clone(), *confirmed)
            });
            prop_assert_eq!(number, revision.revision, "{:?}", revision);
            prop_assert!(!confirmed, "{:?} comes after a confirmation", revision);
            let (was, is, is_final) = match revision.change.clone() {
                Change::Provisional(is) => (None, Some(is), false),
                Change::Revised { was, is } => {
                    prop_assert!(was != is, "{:?} changes nothing", revision);
                    (Some(was), Some(is), false)
                }
                Change::Retracted(was) => (Some(was), None, false),
                Change::Confirmed(is) => (Some(is.clone()), Some(is), true),
            };
            prop_assert_eq!(said, was, "{:?}", revision);
            let what = (revision.time, revision.key.clone(), revision.change.value().clone());
            if let Some((.., (time, key, finding))) = known {
                let place = (time, key, finding.series());
                prop_assert_eq!(place, (&what.0, &what.1, what.2.series()), "two things have one identifier");
            }
            self.said.insert(revision.id, (number, is, is_final, what));
        }
        self.revisions = revisions.len();
        Ok(())
    }

    /// What is said; `confirmed` or not.
    fn said(&self, confirmed: Option<bool>) -> Vec<Said> {
        let said = self.said.values().filter(|(_, _, is, _)| confirmed.is_none_or(|wanted| wanted == *is));
        sorted(
            said.filter_map(|(_, said, _, (time, key, _))| Some((*time, key.clone(), said.clone()?)))
                .collect(),
        )
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
        let mut emit = |time, finding| said.push((time, key.clone(), finding));
        let mut state = None;
        let timers = |state: &mut crate::logic::AnyState, limit, emit: &mut dyn FnMut(EventTime, Finding)| {
            while let Some(due) = logic.deadline(state).filter(|due| *due < limit) {
                logic.on_time(state, due, &mut |time, finding| emit(time, finding));
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
        // One of the logics is all detectors together.
        let budget = Eager { state: 1 << 20, ..Eager::default() };
        for (name, logic) in logics() {
            let mut play = Play::new(logic(), Limits::default(), Some(budget));
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
    let mut play = Play::new(
        detector("static").then(all(9.0, 9.0)).then(episodes()).erased(),
        Limits::default(),
        Some(budget),
    );
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
