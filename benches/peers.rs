//! The same job on tidewatch and on its peers, beside a real broker.
//!
//! Shape: a backlog of 6 million records of 58 bytes of JSON in a topic of 4 partitions, 10 thousand keys → EWMA z →
//! one in a thousand is an anomaly → a topic, in transactions, committed every 100 ms. Systems: tidewatch, one worker,
//! with state that survives; a program written by hand, one thread with `rdkafka`, `serde_json` and a hash map, which
//! keeps neither its state nor its place; Kafka Streams with `exactly_once_v2`, one thread, state in memory with a
//! changelog. With `PEERS=all` also Flink and Bytewax. Reason: what all that tidewatch does beside the arithmetic
//! costs. Unit: records per second, and per second of processor time of the process (the broker's is not counted),
//! from when a system says that it reads (Flink and Bytewax, that they start) until a reader of committed records has
//! all anomalies, which must be the right ones, each once. Systems take turns; ratios are of the same round.
//!
//! `PEERS_RECORDS` and `PEERS_ROUNDS` say how many.

#[path = "peers/by_hand.rs"]
mod by_hand;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod kafka;
#[path = "peers/others.rs"]
mod others;
#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use kafka::broker::{Broker, PATIENCE};
use kafka::load::{backlog, Anomaly, Load, PARTITIONS};
use kafka::output::Output;
use kafka::program::{Pipeline, Program};
use kafka::{number, streams};
use support::is_test;
use support::second::Second;
use tempfile::TempDir;

const INPUT: &str = "peers";
/// The program whose processor time is the measure, and the one that is measured.
const BY_HAND: &str = "by hand";
const TIDEWATCH: &str = "tidewatch";
const STREAMS: &str = "Kafka Streams";

/// A system that can do the job.
struct System<'a> {
    name: &'static str,
    /// What it says on standard error when it begins to read.
    ready: &'static str,
    /// What starts it, for a round, writing to a topic.
    command: Box<dyn Fn(&str) -> Command + 'a>,
}

/// Records per second, and per second of processor time.
#[derive(Clone, Copy)]
struct Speed {
    wall: f64,
    cpu: f64,
}

fn main() {
    if let Some(part) = Second::part() {
        return by_hand::run(&part).expect("the broker is there");
    }
    let Some(broker) = Broker::start() else { return };
    let (records, keys) =
        if is_test() { (40_000, 400) } else { (number("PEERS_RECORDS", 6_000_000), 10_000) };
    let rounds = if is_test() { 1 } else { number("PEERS_ROUNDS", 3) };
    broker.topic(INPUT, PARTITIONS as i32, &[]);
    let expected = backlog(&broker, INPUT, Load::new(keys, 1000), records);
    println!("\npeers: {records} records, {keys} keys, {} anomalies, {rounds} rounds", expected.len());
    let folder = tempfile::tempdir().expect("there is room for it");
    let systems = systems(&broker, &folder);
    if !is_test() {
        // Broker and disk warm up.
        measure(&broker, &systems[0], "warm-up", records, &expected);
    }
    let mut speeds = BTreeMap::<&str, Vec<Speed>>::new();
    for round in 0..rounds {
        for system in &systems {
            let output = format!("{}-{round}", system.name.replace(' ', "-"));
            let speed = measure(&broker, system, &output, records, &expected);
            println!(
                "round {round}: {:<14} {:>9.0} records/s {:>9.0} records/CPU-s",
                system.name, speed.wall, speed.cpu
            );
            speeds.entry(system.name).or_default().push(speed);
        }
    }
    report(&speeds);
}

fn systems<'a>(broker: &'a Broker, folder: &'a TempDir) -> Vec<System<'a>> {
    let by_hand = |output: &str| Second::command(&format!("{} {INPUT} {output}", broker.address));
    let tidewatch = |output: &str| {
        let pipeline = Pipeline {
            name: output,
            input: INPUT,
            output,
            commit: "100ms",
            every: "5s",
            shards: 1,
            ends: true,
        };
        pipeline.command(broker, folder.path(), &["-w1"])
    };
    let mut systems = vec![
        System { name: BY_HAND, ready: by_hand::READY, command: Box::new(by_hand) },
        System { name: TIDEWATCH, ready: "goes on", command: Box::new(tidewatch) },
    ];
    if let Some(class_path) = streams::class_path() {
        let command =
            move |output: &str| streams::command(&class_path, broker, folder.path(), output, INPUT, output);
        systems.push(System { name: STREAMS, ready: streams::READY, command: Box::new(command) });
    }
    match std::env::var("PEERS").as_deref() {
        Ok("all") => systems.extend(others::systems(broker, folder)),
        _ => println!("*** peers: Flink and Bytewax are not run; they are with PEERS=all ***"),
    }
    systems
}

/// Runs a system once.
fn measure(
    broker: &Broker,
    system: &System<'_>,
    output: &str,
    records: u64,
    expected: &HashSet<Anomaly>,
) -> Speed {
    broker.topic(output, PARTITIONS as i32, &[]);
    let committed = Output::of(broker, output);
    let mut program = Program::start(&mut (system.command)(output));
    program.await_said(system.ready);
    let (start, cpu) = (Instant::now(), program.cpu_seconds());
    // A peer may take long.
    committed.await_count(expected.len(), PATIENCE + Duration::from_micros(records * 100));
    let (wall, cpu) = (start.elapsed(), program.cpu_seconds() - cpu);
    program.stop();
    committed.exactly(broker, expected);
    // A hundredth of a second is the least that can be told.
    Speed { wall: records as f64 / wall.as_secs_f64(), cpu: records as f64 / cpu.max(0.01) }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Prints what each system does, and how tidewatch compares with it.
fn report(speeds: &BTreeMap<&str, Vec<Speed>>) {
    println!(
        "\n{:<14} {:>10} {:>14} {:>32}",
        "system", "records/s", "records/CPU-s", "tidewatch / it, per CPU-second"
    );
    for (name, of) in speeds {
        let ratios = speeds[TIDEWATCH].iter().zip(of).map(|(tidewatch, of)| tidewatch.cpu / of.cpu);
        let goal = match *name {
            BY_HAND => " (goal 0.8)",
            STREAMS => " (goal 3)",
            _ => "",
        };
        println!(
            "{name:<14} {:>10.0} {:>14.0} {:>20.2}{goal}",
            median(of.iter().map(|speed| speed.wall).collect()),
            median(of.iter().map(|speed| speed.cpu).collect()),
            median(ratios.collect()),
        );
    }
}
