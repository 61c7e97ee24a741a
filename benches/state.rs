//! Resident bytes per key.
//!
//! Shape: 1 million keys, 3 records each, through EWMA z and a threshold at one worker; resident memory is read while
//! the state is alive and the buffers are empty. Reason: state is what limits the number of keys. Unit: resident
//! bytes per key: map, text of the key, state and timers, with the dictionary of the source; and the ratio to a hash map from
//! the key's text to the same state, filled by a process of its own.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::collections::HashMap;
use std::process::Command;
use std::time::Instant;

use criterion::{criterion_group, criterion_main, Criterion};
use support::scaled;
use tidewatch::connectors::generator::{Generator, Profile};
use tidewatch::connectors::{Control, Error, Intake, Reader, Source, Status};
use tidewatch::dataflows::Offset;
use tidewatch::prelude::*;
use timely::scheduling::SyncActivator;

/// A source that falls silent instead of ending, so that what it fed stays as it is.
struct Silent(Generator);

struct SilentReader(Box<dyn Reader>);

impl Source for Silent {
    fn kind(&self) -> &'static str {
        "silent"
    }
    fn partitions(&self) -> Result<Vec<String>, Error> {
        self.0.partitions()
    }
    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(SilentReader(self.0.open(partition, from, waker)?)))
    }
}

impl Reader for SilentReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let status = self.0.read(intake)?;
        Ok(if status == Status::Ended { Status::Pending } else { status })
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("resident memory is in /proc/self/status") * 1024
}

/// Resident bytes that a run holds for its keys.
fn held(keys: u64) -> u64 {
    let profile = Profile { keys: keys as u32, records: 3 * keys, rate: 200_000.0, ..Profile::default() };
    let generator = Generator::new(profile).expect("the profile is right");
    let input = Input::of_rows(Silent(generator), Schema::new(["key"], ["value"]));
    let before = resident_bytes();
    let control = Control::default();
    control.install();
    timely::execute_directly(move |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            let limits = Limits { keys: 2 * keys as usize, ..Limits::default() };
            let logic = EwmaZ::new(0.05).expect("in range").then(above(4.0));
            input.ingest(scope).records.keyed_within(limits, logic);
        });
        // The last millisecond stays open: nothing tells that it is over.
        let start = Instant::now();
        while control.tally().scored.get() + 200 < 3 * keys {
            worker.step_or_park(Some(Duration::from_millis(10)));
            assert!(start.elapsed() < Duration::from_secs(120), "the run goes on");
        }
        let held = resident_bytes().saturating_sub(before);
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        held
    })
}

/// Asks a process for [`bare`], whose argument is the value.
const BARE: &str = "TIDEWATCH_BENCH_BARE";

/// Resident bytes that a hash map from texts to the state of EWMA z and a threshold takes.
fn bare(keys: u64) -> u64 {
    let before = resident_bytes();
    let mut map = HashMap::new();
    for key in 0..keys {
        let detector = EwmaZ::new(0.05).expect("in range");
        map.insert(format!("key-{key:06}").into_boxed_str(), (Detector::start(&detector, 0), false));
    }
    resident_bytes().saturating_sub(before) + map.len() as u64 - keys
}

/// The same in a process of its own, where no allocation of another run is reused.
fn bare_apart(keys: u64) -> u64 {
    let program = std::env::current_exe().expect("a program has a path");
    let output = Command::new(program).env(BARE, keys.to_string()).output().expect("it starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().expect("it prints a number")
}

fn state(criterion: &mut Criterion) {
    if let Some(keys) = std::env::var(BARE).ok().and_then(|keys| keys.parse().ok()) {
        return println!("{}", bare(keys));
    }
    let keys = scaled(1_000_000);
    let start = Instant::now();
    let bytes = held(keys);
    let elapsed = start.elapsed();
    println!("state: {} resident bytes per key at {keys} keys (goal 200)", bytes / keys);
    println!("state: tidewatch / hash map = {:.2}", bytes as f64 / bare_apart(keys) as f64);
    println!(
        "state: {:.2} M records/s while the keys are new",
        3.0 * keys as f64 / elapsed.as_secs_f64() / 1e6
    );
    let mut group = criterion.benchmark_group("state");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
    group.bench_function("million-keys", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| elapsed).sum());
    });
    group.finish();
}

criterion_group!(benches, state);
criterion_main!(benches);
