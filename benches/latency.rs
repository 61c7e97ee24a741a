//! From a record to its provisional verdict, and from the record that completes a time to the final verdicts of that time.
//!
//! Shape: open loop, 100 thousand records per second in 4 partitions, 10 thousand keys → exchange → buffer → EWMA z → every
//! verdict. *Final*: records in order. *Provisional*: every tenth record up to 200 ms behind its partition, a lateness of a
//! second, so that 100 thousand records wait with a copy of the state after each. Reason: an anomaly is worth knowing while
//! it lasts; the engine must add little to the wait for event time, and say something at arrival even with much in wait.
//! Unit: milliseconds, as percentiles. *Final*: from the wall time at which the first record of the next millisecond is
//! due, which is when event time has passed a record, to its verdict. *Provisional*: from the wall time at which a record is
//! due to what is first said of it. A record is read when its millisecond is over, and due by then.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use criterion::{criterion_group, BenchmarkId, Criterion};
use support::second::{first, listen, second, Second};
use support::{is_test, percentiles};
use tidewatch::cluster::{run, Cluster};
use tidewatch::connectors::{Control, Error, Intake, Reader, Source, Status};
use tidewatch::dataflows::event::Change;
use tidewatch::dataflows::record::KeyText;
use tidewatch::dataflows::Offset;
use tidewatch::prelude::*;
use timely::dataflow::operators::Inspect;
use timely::scheduling::SyncActivator;

const PARTITIONS: u64 = 4;
/// Per partition.
const RECORDS_PER_MS: u64 = 25;
const KEYS: u64 = 10_000;

/// Records that are due at a wall time, their event time.
#[derive(Clone)]
struct Paced {
    start: SystemTime,
    millis: u64,
    keys: Arc<Vec<KeyText>>,
    disorder: bool,
}

/// How long ago a time was, by the clock that all processes have; zero if it is to come.
fn since(time: SystemTime) -> Duration {
    time.elapsed().unwrap_or_default()
}

/// How far a record is behind its partition, in milliseconds.
fn behind(record: u64) -> i64 {
    if record.is_multiple_of(10) {
        (record / 10 * 37 % 200) as i64
    } else {
        0
    }
}

impl Source for Paced {
    fn kind(&self) -> &'static str {
        "paced"
    }
    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok((0..PARTITIONS).map(|partition| partition.to_string()).collect())
    }
    fn open(
        &self,
        partition: &str,
        _from: Option<Offset>,
        _waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let number = partition.parse().map_err(|_| Error::Configuration("a number".to_owned()))?;
        Ok(Box::new(PacedReader { source: self.clone(), number, next: 0 }))
    }
    fn patience(&self) -> Option<Duration> {
        Some(Duration::from_micros(500))
    }
}

struct PacedReader {
    source: Paced,
    number: u64,
    next: u64,
}

impl Reader for PacedReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let due = since(self.source.start).as_millis() as u64 * RECORDS_PER_MS;
        while self.next < due.min(self.source.millis * RECORDS_PER_MS) {
            let millis = (self.next / RECORDS_PER_MS) as i64;
            let behind = if self.source.disorder { behind(self.next) } else { 0 };
            let time = EventTime::from_millis(millis - behind).expect("a run of seconds");
            let key = &self.source.keys[((self.next * PARTITIONS + self.number) * 7919 % KEYS) as usize];
            self.next += 1;
            // The value says when the record is due.
            if intake.row(Offset(self.next), time, key, &[millis as f64]) == ControlFlow::Break(()) {
                return Ok(Status::More);
            }
        }
        let ended = self.next == self.source.millis * RECORDS_PER_MS;
        Ok(if ended { Status::Ended } else { Status::Pending })
    }
}

/// What verdicts are measured.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Provisional,
    Final,
}

/// The latencies, in microseconds, that the workers of this process see in a run of all from `start` on.
fn open_loop(stage: Stage, cluster: Cluster, start: SystemTime, seconds: u64) -> Vec<u32> {
    let keys = (0..KEYS).map(|key| Key::new(&format!("key-{key}")).into()).collect();
    let disorder = stage == Stage::Provisional;
    let source = Paced { start, millis: seconds * 1000, keys: Arc::new(keys), disorder };
    let input = Input::of_rows(source, Schema::new(["key"], ["value"]));
    let input = if disorder { input.lateness("1s") } else { input };
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let seen = latencies.clone();
    run(cluster, &Control::default(), move |worker| {
        let seen = seen.clone();
        // The first second warms up; the last millisecond ends with the run.
        let note = move |millis: u64, due: u64| {
            let latency = since(start + Duration::from_millis(due));
            if millis > 1000.min(seconds * 500) && millis + 1 < seconds * 1000 {
                seen.lock().expect("no worker panics").push(latency.as_micros() as u32);
            }
        };
        worker.dataflow::<EventTime, _, _>(|scope| {
            let logic = EwmaZ::new(0.05)?.then(Threshold::new(4.0, 4.0)?.and_normal());
            let records = input.ingest(scope).records;
            match stage {
                Stage::Final => {
                    records.keyed(logic).inspect(move |verdict| {
                        let millis = verdict.time.micros() as u64 / 1000;
                        // Reading begins at the start of a millisecond: the one after it completes this one.
                        note(millis, millis + 2);
                    });
                }
                Stage::Provisional => {
                    let keyed = records.keyed_eagerly(Limits::default(), Eager::default(), logic);
                    keyed.provisional.inspect(move |revision| {
                        if let Change::Provisional(Verdict { value: Some(millis), .. }) = revision.change {
                            note(millis as u64, millis as u64 + 1);
                        }
                    });
                }
            }
            Ok(())
        })
    })
    .expect("the run succeeds");
    let latencies = std::mem::take(&mut *latencies.lock().expect("no worker panics"));
    latencies
}

/// How long after now a run starts: its workers must be there.
const AHEAD: Duration = Duration::from_millis(500);

fn threads(stage: Stage, workers: u16, seconds: u64) -> Vec<u32> {
    open_loop(stage, Cluster::threads(workers), SystemTime::now() + AHEAD, seconds)
}

/// Two processes with a worker each.
fn processes(stage: Stage, seconds: u64) -> Vec<u32> {
    let start = SystemTime::now() + AHEAD;
    let micros = start.duration_since(UNIX_EPOCH).expect("it is later").as_micros();
    let (mut other, address) = Second::start(&format!("{} {micros} {seconds}", stage == Stage::Final));
    let mut latencies = open_loop(stage, first(1, address), start, seconds);
    let line = other.line();
    latencies.extend(line.split_terminator(' ').map(|micros| micros.parse::<u32>().expect("a number")));
    other.end();
    latencies
}

/// What the second process does.
fn be_second(part: &str) {
    let words: Vec<_> = part.split(' ').collect();
    let [is_final, micros, seconds] = words[..] else { panic!("{part:?} names no part") };
    let stage = if is_final == "true" { Stage::Final } else { Stage::Provisional };
    let start = UNIX_EPOCH + Duration::from_micros(micros.parse().expect("a number"));
    let latencies = open_loop(stage, second(1, listen()), start, seconds.parse().expect("a number"));
    println!("{}", latencies.iter().map(|micros| format!("{micros} ")).collect::<String>());
}

fn latency(criterion: &mut Criterion) {
    let seconds = if is_test() { 1 } else { 10 };
    let mut group = criterion.benchmark_group("latency");
    group.sample_size(10).warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
    for (stage, what, goal) in [(Stage::Final, "final", 10), (Stage::Provisional, "provisional", 5)] {
        let mut alone = None;
        for cluster in ["-w1", "-w2", "-n2"] {
            let name = format!("latency/{what}/{cluster}");
            let latencies = match cluster {
                "-w1" => threads(stage, 1, seconds),
                "-w2" => threads(stage, 2, seconds),
                _ => processes(stage, seconds),
            };
            if !is_test() {
                let expected = (seconds - 1) * 1000 * RECORDS_PER_MS * PARTITIONS;
                let missing = expected.saturating_sub(latencies.len() as u64);
                assert!(missing < expected / 100, "{name}: {missing} of {expected} records have no verdict");
            }
            let p99_ms = percentiles(&name, latencies);
            println!("{name}: 100000 records/s, p99 {p99_ms:.2} ms (goal {goal})");
            let alone = *alone.get_or_insert(p99_ms);
            println!("latency/{what}: p99 of {cluster} / -w1 = {:.2}", p99_ms / alone);
            let p99 = Duration::from_secs_f64(p99_ms / 1e3);
            group.bench_function(BenchmarkId::new(what, cluster), |bencher| {
                bencher.iter_custom(|iterations| (0..iterations).map(|_| p99).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, latency);

fn main() {
    if let Some(part) = Second::part() {
        return be_second(&part);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
