//! Runs that die, hang and wake up again, and brokers that do: what is committed in the end must be what an undisturbed run
//! commits.
//!
//! What happens follows from a seed, which is printed; `CHAOS_SEED=7` has it happen again. `CHAOS_LIVES=400` takes longer.

mod crashes;
mod disk;
mod ends;
mod feed;
mod journal;
mod lives;
mod sinks;
mod topic;

use std::env;

use tempfile::TempDir;

/// The number that a variable of the environment gives.
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}=\"{text}\" is no number")))
}

/// The seed that is asked for.
fn seed() -> Option<u64> {
    number("CHAOS_SEED")
}

/// A folder in memory, where that is possible: a process that dies leaves behind what it has written, wherever that is, and
/// thousands of writes need not wait for a disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| TempDir::new()).expect("there is room for it")
}
