//! What the benches beside a broker share: the broker, what is written to it and read from it, and programs under
//! measure.

#[allow(unused_imports, reason = "its own tests need them")]
#[path = "../../tests/broker.rs"]
pub(crate) mod broker;
pub(crate) mod ewma;
pub(crate) mod load;
pub(crate) mod output;
#[allow(dead_code, reason = "benches need a part of it")]
#[path = "../../tests/cluster/processes.rs"]
mod processes;
pub(crate) mod program;
pub(crate) mod streams;

use std::time::Duration;

/// The number in an environment variable, or `usually`.
pub(crate) fn number(variable: &str, usually: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(usually, |given| {
        given.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {given:?}"))
    })
}

/// Prints the distribution of times beside what it should be, in milliseconds: the name, how many there are, and p50, p90,
/// p99 and the longest. Returns p50 and p99.
pub(crate) fn distribution(name: &str, mut times: Vec<Duration>, goal: &str) -> [f64; 2] {
    assert!(!times.is_empty(), "{name}: nothing was measured");
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let count = times.len();
    println!(
        "{name:<44} {count:>8} {:>7.1} {:>7.1} {:>7.1} {:>7.1}  {goal}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    [at(0.5), at(0.99)]
}
