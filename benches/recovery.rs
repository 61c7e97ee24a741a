//! From `kill -9` to the first new output, beside a real broker.
//!
//! Shape: a job with a million keys of state (EWMA z), Kafka to Kafka, exactly once, commits every 20 ms, state saved
//! every 2 s; 10 thousand records/s of 40 keys come in meanwhile, of which one in fifty is an anomaly. It is killed
//! and started again at once, with the same number of workers and with another. Reason: that long nobody hears of
//! anomalies. Unit: milliseconds from the kill until the run that follows has come to each step, by the times of its
//! own log: *began* its epoch; *fenced* the shards of the sink, which ends the transactions of the run before;
//! *loaded* the checkpoint; *restored* the state of all keys; and until a reader of committed records has the first
//! one that it wrote. Beside it, keys restored per second, and bytes that checkpoints took per changed key.
//!
//! `RECOVERY_KEYS` says how many keys.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod kafka;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kafka::broker::{Broker, PATIENCE};
use kafka::load::{now, paced, Load, Producer, PARTITIONS};
use kafka::number;
use kafka::output::Output;
use kafka::program::{Pipeline, Program};
use support::is_test;

/// What is to be said in this order, and when by.
const PHASES: [&str; 4] = ["began", "fenced", "loaded", "restored"];
const GOAL: Duration = Duration::from_secs(5);
/// How many keys have records all the time: enough that every shard has some of them.
const HOT: u32 = 40;

fn main() {
    let Some(broker) = Broker::start() else { return };
    let keys = if is_test() { 4_000 } else { number("RECOVERY_KEYS", 1_000_000) as u32 };
    let folder = tempfile::tempdir().expect("there is room for it");
    println!("\nrecovery: {keys} keys, milliseconds after the kill");
    println!(
        "{:<14} {:>7} {:>7} {:>7} {:>8} {:>12} {:>14} {:>20}",
        "", PHASES[0], PHASES[1], PHASES[2], PHASES[3], "first output", "keys/s", "bytes/changed key"
    );
    for (name, before, after) in [("-w1", "-w1", "-w1"), ("-w1 to -w2", "-w1", "-w2"), ("-w2", "-w2", "-w2")]
    {
        let case =
            Case { broker: &broker, folder: folder.path(), id: format!("killed{}", name.replace(' ', "-")) };
        let found = case.run(keys, before, after);
        let first = found.first_output;
        println!(
            "{name:<14} {:>7.0} {:>7.0} {:>7.0} {:>8.0} {:>12.0} {:>14.0} {:>20.1}",
            found.phases[0],
            found.phases[1],
            found.phases[2],
            found.phases[3],
            first,
            found.keys_per_second,
            found.bytes_per_key
        );
        println!(
            "recovery/{name}: {:.2} of the {} s that it may take",
            first / 1e3 / GOAL.as_secs_f64(),
            GOAL.as_secs()
        );
    }
}

/// Says so when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A job that is killed once.
struct Case<'a> {
    broker: &'a Broker,
    folder: &'a Path,
    id: String,
}

/// Times in milliseconds after the kill.
struct Found {
    phases: [f64; 4],
    first_output: f64,
    keys_per_second: f64,
    bytes_per_key: f64,
}

impl Case<'_> {
    fn run(&self, keys: u32, before: &str, after: &str) -> Found {
        let (input, output) = (format!("{}-in", self.id), format!("{}-out", self.id));
        for topic in [&input, &output] {
            self.broker.topic(topic, PARTITIONS as i32, &[]);
        }
        // Few keys are hot. The others have two records each, so that their variance is not zero: state is what counts.
        let producer = Producer::new(self.broker, &input);
        let mut all = Load::new(keys, u64::MAX);
        for _ in 0..2 * keys {
            all.write(&producer, now(), false);
        }
        producer.flush();
        let filled = now();
        let is_done = AtomicBool::new(false);
        let rate = if is_test() { 4_000 } else { 10_000 };
        thread::scope(|scope| {
            let steady = || {
                let mut hot = Load::new(HOT, 50);
                paced(&producer, &mut hot, rate, |_| {}, || is_done.load(Ordering::Relaxed));
            };
            scope.spawn(steady);
            // Also when a panic ends it.
            let _done = OnDrop(&is_done);
            self.kill_and_start(&input, &output, filled, [before, after])
        })
    }

    fn start(&self, input: &str, output: &str, workers: &str) -> Program {
        let pipeline = Pipeline {
            name: &self.id,
            input,
            output,
            commit: "20ms",
            every: if is_test() { "200ms" } else { "2s" },
            shards: 4,
            ends: false,
        };
        Program::start(&mut pipeline.command(self.broker, self.folder, &[workers]))
    }

    /// Kills the job once its state has all that was written by `filled`, and starts it again.
    fn kill_and_start(&self, input: &str, output: &str, filled: i64, [before, after]: [&str; 2]) -> Found {
        let committed = Output::of(self.broker, output);
        let mut first = self.start(input, output, before);
        let (boundary, bytes_per_key) = await_saved(&mut first, filled);
        // Only a checkpoint that all shards have passed is one to go on from; one without output tells no more than once a
        // second how far it is.
        await_passed(&committed, boundary);
        first.observed.kill();
        let killed = now();
        let mut second = self.start(input, output, after);
        // By the clock of who wrote it, in whole milliseconds.
        let is_new = |written: i64| written > killed;
        let start = Instant::now();
        let found = loop {
            match committed.find(|seen| is_new(seen.written)) {
                Some(found) => break found,
                None => {
                    assert!(start.elapsed() < PATIENCE, "nothing new is committed: {}", second.observed.err())
                }
            }
            thread::sleep(Duration::from_millis(1));
        };
        let said = second.await_said(PHASES[3]);
        let after_kill = |at: i64| (at - killed) as f64 / 1e3;
        let last = |phase| events(&said, phase).last().map(|event| after_kill(event.at));
        let phases = PHASES.map(|phase| last(phase).unwrap_or_else(|| panic!("it has not {phase}: {said}")));
        let restored: Vec<_> = events(&said, PHASES[3]).collect();
        let keys: u64 = restored.iter().map(|event| event.number("keys")).sum();
        let slowest = restored.iter().map(|event| event.number("elapsed_ms")).max().unwrap_or_default();
        second.stop();
        Found {
            phases,
            first_output: after_kill(found.at),
            keys_per_second: keys as f64 * 1e3 / slowest.max(1) as f64,
            bytes_per_key,
        }
    }
}

/// Waits until all hot keys had anomalies after a boundary.
fn await_passed(committed: &Output, boundary: i64) {
    let start = Instant::now();
    while committed.keys_since(boundary) < HOT as usize {
        assert!(start.elapsed() < PATIENCE, "only {} keys have anomalies", committed.keys_since(boundary));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a checkpoint that has all that was written by `filled`; returns its boundary, and the bytes per changed key of all so
/// far.
fn await_saved(program: &mut Program, filled: i64) -> (i64, f64) {
    const SAVED: &str = "committed checkpoint";
    let start = Instant::now();
    loop {
        let said = program.await_said(SAVED);
        let saved: Vec<_> = events(&said, SAVED).collect();
        let boundary = saved.last().map(|event| event.time("boundary"));
        if let Some(boundary) = boundary.filter(|boundary| *boundary >= filled) {
            let sum = |name| saved.iter().map(|event| event.number(name)).sum::<u64>() as f64;
            return (boundary, sum("bytes") / sum("keys"));
        }
        assert!(start.elapsed() < PATIENCE, "its state is not saved: {said}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Something that a program said while it ran.
struct Event<'a> {
    /// When, in microseconds since 1970.
    at: i64,
    line: &'a str,
}

/// What was said with this message.
fn events<'a>(said: &'a str, message: &'a str) -> impl Iterator<Item = Event<'a>> {
    said.lines().filter_map(move |line| {
        let (at, rest) = line.split_once(' ')?;
        // LEVEL module: message field=value …
        let (_, told) = rest.split_once(": ")?;
        let is_it = told.strip_prefix(message).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        is_it.then_some(Event { at: at.parse::<Timestamp>().ok()?.as_microsecond(), line })
    })
}

impl Event<'_> {
    fn field(&self, name: &str) -> &str {
        let field = self.line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        field.unwrap_or_else(|| panic!("{name} is not said: {}", self.line))
    }

    fn number(&self, name: &str) -> u64 {
        self.field(name).parse().expect("a number")
    }

    fn time(&self, name: &str) -> i64 {
        self.field(name).parse::<Timestamp>().expect("a time").as_microsecond()
    }
}
