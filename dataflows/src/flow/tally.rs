//! What a run counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that workers add to and anyone reads; it orders nothing.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the count.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes away from the count.
    pub fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What keyed state counts, over all workers of a process.
#[derive(Debug, Default)]
pub struct Tally {
    /// Records that the frontier has passed and a logic has seen.
    pub scored: Counter,
    /// Keys with state.
    pub keys: Counter,
    /// Keys evicted by a limit.
    pub evicted: Counter,
    /// Verdicts that a threshold calls anomalies.
    pub anomalies: Counter,
    /// Alerts that have opened.
    pub alerts: Counter,
    /// Alerts that have opened and were kept back, because they were muted.
    pub muted: Counter,
}
