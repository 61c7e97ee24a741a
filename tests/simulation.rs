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

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

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

/// How many seeds are tried unless somebody says otherwise.
const SEEDS: u64 = 2_000;
/// How many at the same time.
const AT_ONCE: usize = 2;

fn from_environment(name: &str) -> Option<u64> {
    let said = std::env::var(name).ok()?;
    Some(said.parse().unwrap_or_else(|_| panic!("{name} is no number: \"{said}\"")))
}

#[test]
fn output_is_that_of_an_undisturbed_run_wherever_runs_die() {
    let tally = Arc::new(Tally::default());
    if let Some(seed) = from_environment("SIMULATION_SEED") {
        let wrongs = History::of(seed, &tally).tell().unfold();
        println!("seed {seed}: {tally}");
        assert!(wrongs.is_empty(), "seed {seed}:\n{}", wrongs.join("\n"));
        return;
    }
    let seeds = from_environment("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    break;
                }
                let wrongs = History::of(seed, &tally).unfold();
                if !wrongs.is_empty() {
                    failures.lock().expect("nobody panics").push((seed, wrongs));
                }
            });
        }
    });
    println!("{seeds} seeds: {tally}");
    let mut failures = failures.into_inner().expect("nobody panics");
    failures.sort();
    let told: Vec<_> = failures
        .iter()
        .take(5)
        .map(|(seed, wrongs)| format!("SIMULATION_SEED={seed}: {}", wrongs.join("\n  ")))
        .collect();
    assert!(failures.is_empty(), "{} of {seeds} seeds fail:\n{}", failures.len(), told.join("\n"));
    if seeds >= SEEDS {
        for (event, count) in tally.all() {
            assert!(count > 0, "no seed has any {event}");
        }
    }
}
