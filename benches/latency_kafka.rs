//! From a record's being written to its anomaly's being read, exactly once, beside a real broker.
//!
//! Shape: open loop at a fixed rate into a topic of 4 partitions, each in order; a thousand keys → EWMA z, lateness 0
//! → a reader of committed records. One in a hundred records is an anomaly, which is known beforehand: each must come,
//! once. Reason: what an alert must wait for beside the arithmetic, the client's grouping of records (5 ms), event
//! time, transactions and the broker, on cores that all of them share. Unit: milliseconds from the call that writes a
//! record, whose event time is that moment, until its anomaly has been read, as percentiles over a minute after half a
//! minute of warm-up. Beside it Kafka Streams with its default settings for exactly once, under the same load in the
//! same run.
//!
//! `LATENCY_SECONDS` says how long is measured; half of that is warm-up.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod kafka;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kafka::broker::Broker;
use kafka::load::{now, paced, Load, Producer, PARTITIONS};
use kafka::output::Output;
use kafka::program::{Pipeline, Program};
use kafka::{distribution, number, streams};
use support::is_test;

const KEYS: u32 = 1_000;
/// Of the 50th and the 99th percentile, in milliseconds, at 10 thousand records per second and 20 ms commits.
const GOAL: [f64; 2] = [30.0, 60.0];

fn main() {
    let Some(broker) = Broker::start() else { return };
    let seconds = number("LATENCY_SECONDS", if is_test() { 3 } else { 60 });
    let folder = tempfile::tempdir().expect("there is room for it");
    let bench = Bench { broker: &broker, folder: folder.path(), seconds };
    println!("\nlatency from write to committed read, ms, over {seconds} s");
    println!("{:<44} {:>8} {:>7} {:>7} {:>7} {:>7}", "", "count", "p50", "p90", "p99", "max");
    // The whole path with fewer records.
    let (slow, fast) = if is_test() { (1_000, 10_000) } else { (10_000, 100_000) };
    let cases = [(slow, 20, 1), (slow, 20, 4), (slow, 50, 1), (slow, 100, 1), (fast, 20, 1), (fast, 20, 4)];
    let mut own = None;
    for (rate, commit, shards) in cases.into_iter().take(if is_test() { 2 } else { cases.len() }) {
        let goal = if (rate, commit, shards) == (slow, 20, 1) { "(goal: p50 30, p99 60)" } else { "" };
        let found = bench.tidewatch(rate, commit, shards, goal);
        own.get_or_insert(found);
    }
    let own = own.expect("there is a case");
    println!(
        "latency_kafka: {:.2} of the p50 and {:.2} of the p99 that it may have",
        own[0] / GOAL[0],
        own[1] / GOAL[1]
    );
    if let Some(class_path) = streams::class_path() {
        let peer = bench.streams(slow, &class_path);
        println!(
            "latency_kafka: tidewatch at 20 ms / Kafka Streams = {:.2} (p50), {:.2} (p99)",
            own[0] / peer[0],
            own[1] / peer[1]
        );
    }
}

/// Where systems are measured, and how long.
struct Bench<'a> {
    broker: &'a Broker,
    folder: &'a Path,
    seconds: u64,
}

impl Bench<'_> {
    fn tidewatch(&self, rate: u64, commit: u64, shards: u32, goal: &str) -> [f64; 2] {
        let id = format!("tidewatch-{rate}-{commit}-{shards}");
        let name = format!("tidewatch, {rate}/s, {commit} ms, shards: {shards}");
        let commit = format!("{commit}ms");
        let start = |input: &str, output: &str| {
            let (name, every) = (id.as_str(), "5s");
            let pipeline = Pipeline { name, input, output, commit: &commit, every, shards, ends: false };
            pipeline.command(self.broker, self.folder, &["-w1"])
        };
        distribution(&name, self.latencies(&id, rate, "goes on", start), goal)
    }

    fn streams(&self, rate: u64, class_path: &str) -> [f64; 2] {
        let id = format!("streams-{rate}");
        let start = |input: &str, output: &str| {
            streams::command(class_path, self.broker, self.folder, &id, input, output)
        };
        let name = format!("Kafka Streams, {rate}/s, 100 ms");
        distribution(&name, self.latencies(&id, rate, streams::READY, start), "")
    }

    /// Runs a system under load, and returns how long each anomaly took.
    fn latencies(
        &self,
        id: &str,
        rate: u64,
        ready: &str,
        start: impl Fn(&str, &str) -> Command,
    ) -> Vec<Duration> {
        let keys = if is_test() { KEYS / 10 } else { KEYS };
        let (input, output) = (format!("{id}-in"), format!("{id}-out"));
        for topic in [&input, &output] {
            self.broker.topic(topic, PARTITIONS as i32, &[]);
        }
        let committed = Output::of(self.broker, &output);
        let mut program = Program::start(&mut start(&input, &output));
        program.await_said(ready);
        let from = now() + self.seconds as i64 * 500_000;
        let to = from + self.seconds as i64 * 1_000_000;
        let (producer, mut expected) = (Producer::new(self.broker, &input), HashSet::new());
        let note = |anomaly: (u32, i64)| {
            if (from..to).contains(&anomaly.1) {
                expected.insert(anomaly);
            }
        };
        // Event time passes a record when later ones have come.
        paced(&producer, &mut Load::new(keys, 100), rate, note, || now() > to + 1_000_000);
        let seen = committed.await_all(&expected);
        program.stop();
        let latency = |time: i64, at: i64| Duration::from_micros((at - time).max(0) as u64);
        seen.iter().map(|seen| latency(seen.anomaly.1, seen.at)).collect()
    }
}
