//! Runs that die at any step, in a time of their own: what they have written is what one that was not disturbed writes over the
//! same journal.
//!
//! Each seed makes a [world](world): partitions whose records come in simulated time, a store, and a sink of several shards.
//! In it a job lives, dies and lives again, as it does in production: the same sources, keyed state, checkpoints,
//! recovery and commits. Only threads, clock, store and sink are others: one thread runs at a time, and [who is next](turns)
//! is drawn. Any call of store or sink may be the last one of a life, and have been heard or not; a life that has been given
//! up may go on beside the next one.
//!
//! `SIMULATION_SEEDS=N` runs more seeds; `SIMULATION_SEED=K` runs that one and tells what happens.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

mod damage;
mod history;
mod life;
mod random;
mod sink;
mod source;
mod store;
mod tally;
mod turns;
mod world;

use history::History;
use tally::Tally;
use tidewatch_connectors::control::Rule;

/// How many seeds are tried unless somebody says otherwise.
const SEEDS: u64 = 2_000;
/// In how many seeds it must be seen that a rule is missing.
const ENOUGH: u64 = 3_000;
/// How many at the same time.
const AT_ONCE: usize = 2;

fn from_environment(name: &str) -> Option<u64> {
    let said = std::env::var(name).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name} is no number: \"{said}\"")))
}

fn rule_from_environment() -> Option<Rule> {
    let said = std::env::var("SIMULATION_RULE").ok()?;
    let named = Rule::ALL.into_iter().find(|rule| said == format!("{rule:?}"));
    Some(named.unwrap_or_else(|| panic!("SIMULATION_RULE is no rule: \"{said}\"")))
}

#[test]
fn output_is_that_of_an_undisturbed_run_wherever_runs_die() {
    let tally = Arc::new(Tally::default());
    if let Some(seed) = from_environment("SIMULATION_SEED") {
        let history = History::of(seed, &tally).tell();
        let wrongs = match rule_from_environment() {
            Some(rule) => history.breaking(rule).unfold(),
            None => history.unfold(),
        };
        println!("seed {seed}: {tally}");
        assert!(wrongs.is_empty(), "seed {seed}:\n{}", wrongs.join("\n"));
        return;
    }
    let seeds = from_environment("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let failures = Mutex::new(Vec::new());
    at_once(0..seeds, |seed| {
        let wrongs = History::of(seed, &tally).unfold();
        if !wrongs.is_empty() {
            failures.lock().expect("nobody panics").push((seed, wrongs));
        }
    });
    println!("{seeds} seeds: {tally}");
    let mut failures = failures.into_inner().expect("nobody panics");
    failures.sort();
    let told = failures.iter().take(5);
    let told: Vec<_> =
        told.map(|(seed, wrongs)| format!("SIMULATION_SEED={seed}: {}", wrongs.join("\n  "))).collect();
    assert!(failures.is_empty(), "{} of {seeds} seeds fail:\n{}", failures.len(), told.join("\n"));
    if seeds >= SEEDS {
        for (event, count) in tally.all() {
            assert!(count > 0, "no seed has any {event}");
        }
    }
}

#[test]
fn without_any_rule_some_seed_fails() {
    let (needless, only) = (Mutex::new(Vec::new()), rule_from_environment());
    let enough = from_environment("SIMULATION_SEEDS").unwrap_or(ENOUGH);
    at_once(0..Rule::ALL.len() as u64, |rule| {
        let rule = Rule::ALL[rule as usize];
        if only.is_some_and(|only| only != rule) {
            return;
        }
        let tally = Arc::default();
        let is_right = |history: History| history.unfold().is_empty();
        let fails = |seed: &u64| {
            let history = || History::of(*seed, &tally);
            !is_right(history().breaking(rule)) && is_right(history())
        };
        let first = if only.is_some() { 0 } else { shown_by(rule) };
        match (first..first + enough).find(fails) {
            Some(seed) => println!("seed {seed} shows that {rule:?} is missing, after {}", seed - first),
            None => needless.lock().expect("nobody panics").push(rule),
        }
    });
    let needless = needless.into_inner().expect("nobody panics");
    assert!(needless.is_empty(), "nothing is wrong in {enough} seeds without {needless:?}");
}

/// A seed that shows that a rule is missing; there the search begins. Whoever changes what seeds make may put the new ones here.
fn shown_by(rule: Rule) -> u64 {
    match rule {
        Rule::EntriesAreNew => 153,
        Rule::LogEndsEarlierRuns => 153,
        Rule::FencedBeforeProgressIsRead => 665,
        Rule::ProgressWithOutput => 34,
        Rule::NothingTwice => 10,
        Rule::CheckpointThatShardsHavePassed => 90,
        Rule::CheckpointThatIsIntact => 224,
        Rule::CheckpointOfAllWorkers => 132,
        Rule::NothingBeforeBoundary => 402,
        Rule::LateFirst => 75,
        Rule::DecisionsAreDurable => 432,
        Rule::RecordsWaitForDecisions => 13,
        Rule::DecisionsApplyAgain => 28,
        Rule::OldDecisionsFirst => 931,
        Rule::NoSilenceBelowFloor => 88,
        Rule::FloorAboveCommits => 56,
        Rule::JoinsAtFloor => 36,
        Rule::JoinsAreDurable => 36,
        Rule::NoJoinAfterEnd => 3,
        Rule::EditionsAreDurable => 1380,
        Rule::EditionsAtFloor => 166,
        Rule::CheckpointsAreKept => 90,
        Rule::EntriesAreKept => 1606,
    }
}

/// Does something for each number, for some at the same time.
fn at_once(numbers: Range<u64>, act: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    break;
                }
                act(number);
            });
        }
    });
}
