//! What each detector costs.
//!
//! Shape: every detector that is built in, with default parameters, over 10 thousand keys in turn, one thread, without a
//! dataflow: 320 records of each key before the clock starts, then as many rounds as two seconds hold. Values have a season, noise and
//! rare spikes. Reason: how many detections a core can carry, and how many keys its memory. Unit: nanoseconds per
//! record, as the median of rounds, and bytes of state per key. Beside it river, in Python, where it has the same statistic, in the same
//! run: one record after another over a thousand keys; its ADWIN is compiled, and does not count.
//!
//! `cargo bench --bench detectors -- --readme` also writes the table in README.md.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use support::is_test;
use support::python::{python, succeed};
use tidewatch::dataflows::detectors::{self, DetectorInfo};
use tidewatch::dataflows::logic::{AnyState, DynLogic, Selection, Verdict};
use tidewatch::dataflows::params::{Given, Kind, Params};
use tidewatch::prelude::*;

const RIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/detectors/river");
const RIVER_KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/river");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
/// The one of which river's is no Python, but compiled.
const COMPILED: &str = "adwin";
/// Of what river needs per record, how much a detector may: one part in so many.
const GOAL: f64 = 20.0;

fn main() {
    let costs: Vec<_> = detectors::built_in().iter().map(|info| (info.clone(), cost(info))).collect();
    let river = if is_test() { BTreeMap::new() } else { river() };
    println!(
        "\n{:<20} {:>12} {:>12} {:>12} {:>8}",
        "detector", "ns/record", "bytes/key", "river, ns", "ratio"
    );
    for (info, Cost { nanos, bytes }) in &costs {
        let other = river.get(info.name);
        println!(
            "{:<20} {nanos:>12.1} {bytes:>12} {:>12} {:>8}",
            info.name,
            other.map_or(String::new(), |other| format!("{other:.0}")),
            other.map_or(String::new(), |other| format!("{:.0}", other / nanos)),
        );
    }
    let in_python = costs.iter().filter(|(info, _)| info.name != COMPILED);
    let ratios = in_python.filter_map(|(info, cost)| Some(river.get(info.name)? / cost.nanos));
    if let Some(least) = ratios.min_by(f64::total_cmp) {
        println!("detectors: at least {least:.0} times river (goal {GOAL})");
    }
    if std::env::args().any(|argument| argument == "--readme") {
        write_table(&costs);
    }
}

/// What a detector costs.
struct Cost {
    /// Nanoseconds per record.
    nanos: f64,
    /// Of state, per key.
    bytes: usize,
}

/// The detection with default parameters; what has none gets one that fits the values.
fn construct(info: &DetectorInfo) -> DynLogic<Record, Verdict> {
    let needed =
        info.parameters.iter().filter(|parameter| parameter.is_required() || parameter.name == "max");
    let given = needed.map(|parameter| {
        let given =
            if matches!(parameter.kind, Kind::Span) { Given::Text("1h".into()) } else { Given::Number(70.0) };
        (parameter.name.to_owned(), given)
    });
    let params = Params::check(&info.parameters, given).expect("they are right");
    let selection = Selection { name: info.name.into(), values: vec![(0, "value".into())] };
    (info.construct)(&params, selection, &detectors::built_in()).expect("defaults are right")
}

fn cost(info: &DetectorInfo) -> Cost {
    let (keys, warm, limit) =
        if is_test() { (10, 320, Duration::ZERO) } else { (10_000, 320, Duration::from_secs(2)) };
    let logic = construct(info);
    let mut states: Vec<AnyState> =
        (0..keys).map(|key| logic.start(&Key::new(&format!("key {key}")))).collect();
    let (values, mut record, mut anomalous) = (values(), Record::new(EventTime::MIN, [0.0]), 0u64);
    let mut round = |at: usize| {
        record.time = EventTime::from_secs(1_704_067_200 + 60 * at as i64).expect("is in range");
        for (key, state) in states.iter_mut().enumerate() {
            record.values[0] = values[(at + key * 37) % values.len()];
            logic.on_record(state, record.time, &record, &mut |_, verdict| {
                anomalous += u64::from(verdict.score.is_some_and(|score| score > 1.0));
            });
        }
    };
    (0..warm).for_each(&mut round);
    let (start, mut times) = (Instant::now(), Vec::new());
    for at in warm.. {
        let before = Instant::now();
        round(at);
        times.push(before.elapsed().as_secs_f64());
        if start.elapsed() >= limit {
            break;
        }
    }
    std::hint::black_box(anomalous);
    times.sort_by(f64::total_cmp);
    let bytes = states.iter().map(|state| logic.memory(state) - size_of::<AnyState>()).sum::<usize>();
    Cost { nanos: times[times.len() / 2] * 1e9 / keys as f64, bytes: bytes / keys }
}

/// A level with a season of 24 records, noise, and a spike in a hundred records.
fn values() -> Vec<f64> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..24 * 641)
        .map(|at| {
            let season = 5.0 * (f64::from(at % 24) / 12.0 - 1.0).powi(2);
            let noise: f64 = (0..4).map(|_| uniform() - 0.5).sum();
            50.0 + season + noise + if uniform() < 0.01 { 20.0 } else { 0.0 }
        })
        .collect()
}

/// Nanoseconds per record of what river has of the same, by the name of the detector.
fn river() -> BTreeMap<String, f64> {
    let measured = python(RIVER_KEPT, &format!("{RIVER}/requirements.txt"))
        .and_then(|python| succeed("river", Command::new(python).arg(format!("{RIVER}/measure.py"))));
    match measured {
        Ok(lines) => lines
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, nanos)| (name.to_owned(), nanos.parse().expect("it prints numbers")))
            .collect(),
        Err(why) => {
            eprintln!("\n*** SKIPPED river: {why} ***\n");
            BTreeMap::new()
        }
    }
}

/// Puts the table between its marks.
fn write_table(costs: &[(DetectorInfo, Cost)]) {
    let mut table =
        "| Name | Finds | Score | ns per record | bytes per key |\n|---|---|---|---|---|\n".to_owned();
    for (info, Cost { nanos, bytes }) in costs {
        let _ =
            writeln!(table, "| `{}` | {} | {} | {nanos:.0} | {bytes} |", info.name, info.summary, info.score);
    }
    let readme = fs::read_to_string(README).expect("there is one");
    let (before, rest) = readme.split_once(BEGIN).expect("the table has a begin");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    fs::write(README, format!("{before}{BEGIN}\n\n{table}\n{END}{after}")).expect("it can be written");
}

const BEGIN: &str = "<!-- written by `cargo bench --bench detectors -- --readme` -->";
const END: &str = "<!-- end -->";
