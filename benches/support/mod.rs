//! What the benches share: measured runs side by side, and their ratios.

pub(crate) mod keyed;
pub(crate) mod python;
pub(crate) mod second;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};

/// A variant of a workload: its name, and what processes the records and returns a result and the time that it took.
pub(crate) type Timed<'a> = (String, Box<dyn FnMut() -> (u64, Duration) + 'a>);

/// A workload under several names: the same records, processed in different ways in one run.
pub(crate) struct Workload {
    name: String,
    records: u64,
    times: BTreeMap<String, Vec<Duration>>,
}

impl Workload {
    /// A workload of `records` records.
    pub(crate) fn new(name: &str, records: u64) -> Self {
        println!("\n{name}: {records} records");
        Self { name: name.to_owned(), records, times: BTreeMap::new() }
    }

    /// Measures each variant in turn, round by round, so that a drift of the machine's speed meets all of them.
    pub(crate) fn measure(
        &mut self,
        criterion: &mut Criterion,
        variants: &mut [(&str, &mut dyn FnMut() -> u64)],
    ) {
        let timed = variants.iter_mut().map(|(name, run)| -> Timed<'_> {
            let timed = move || {
                let start = Instant::now();
                let result = run();
                (result, start.elapsed())
            };
            ((*name).to_owned(), Box::new(timed))
        });
        let mut timed: Vec<_> = timed.collect();
        self.measure_timed(criterion, &mut timed);
    }

    /// The same for variants that say themselves how long they took.
    pub(crate) fn measure_timed(&mut self, criterion: &mut Criterion, variants: &mut [Timed<'_>]) {
        let mut check: Option<u64> = None;
        for round in 0..if is_test() { 1 } else { 13 } {
            for (name, run) in variants.iter_mut() {
                let (result, elapsed) = run();
                assert_eq!(*check.get_or_insert(result), result, "{name} agrees with the others");
                // The first round warms up.
                if round > 0 || is_test() {
                    self.times.entry(name.clone()).or_default().push(elapsed);
                }
            }
        }
        let mut group = criterion.benchmark_group(&self.name);
        group.throughput(Throughput::Elements(self.records)).sample_size(10);
        for (name, _) in variants.iter() {
            self.report(&mut group, name);
        }
        group.finish();
    }

    /// Hands criterion what was measured, and prints records per second.
    fn report(&self, group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>, name: &str) {
        let times = &self.times[name];
        let mut next = times.iter().cycle();
        group.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations).map(|_| *next.next().expect("at least one round")).sum()
            });
        });
        println!("{}/{name}: {:.2} M records/s (median)", self.name, self.rate(name) / 1e6);
    }

    fn median(&self, name: &str) -> f64 {
        let mut times: Vec<_> = self.times[name].iter().map(Duration::as_secs_f64).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn rate(&self, name: &str) -> f64 {
        self.records as f64 / self.median(name)
    }

    /// Prints how many times as fast `name` is as `other`, round by round, beside what it should be.
    pub(crate) fn ratio(&self, name: &str, other: &str, goal: f64) {
        let mut ratios: Vec<_> = self.times[name]
            .iter()
            .zip(&self.times[other])
            .map(|(time, other)| other.as_secs_f64() / time.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "{}: {name} / {other} = {:.2} (from {:.2} to {:.2}; goal {goal})",
            self.name,
            ratios[ratios.len() / 2],
            ratios[0],
            ratios[ratios.len() - 1],
        );
    }
}

/// Whether the workload is among those that the command line names, or it names none.
pub(crate) fn is_wanted(name: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|argument| name.contains(&argument))
}

/// Whether each bench should run just once, as `cargo bench -- --test` asks.
pub(crate) fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Prints the distribution of latencies in microseconds, and returns the 99th percentile in milliseconds.
pub(crate) fn percentiles(name: &str, mut micros: Vec<u32>) -> f64 {
    micros.sort_unstable();
    let at = |share: f64| f64::from(micros[((micros.len() - 1) as f64 * share) as usize]) / 1e3;
    println!(
        "{name}: p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms ({} verdicts)",
        at(0.5),
        at(0.99),
        at(1.0),
        micros.len()
    );
    at(0.99)
}

/// `full` records, or few in test mode.
pub(crate) fn scaled(full: u64) -> u64 {
    if is_test() {
        full / 100
    } else {
        full
    }
}
