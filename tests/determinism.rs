//! Final output is a function of the partitions' contents alone: everything keyed goes through the harness.

mod reference;

use std::fmt::Write;

use tidewatch_connectors::generator::Profile;
use tidewatch_connectors::memory::MemoryRecord;
use tidewatch_dataflows::detectors::{self, EwmaZ};
use tidewatch_dataflows::event::Emission;
use tidewatch_dataflows::logic::{above, silent_for, window};
use tidewatch_dataflows::operators::Keyed;
use tidewatch_dataflows::params::Kind;
use tidewatch_dataflows::{EventTime, Key, Logic, Span};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::harness::{attack, generated, rows, Attack, Partitions};

/// Generated records with disorder, late ones and anomalies, in several partitions.
const GENERATOR: &str = r#"
name = "attacked"
[[source]]
name = "numbers"
connector = "generator"
options = { records = 1500, keys = 11, partitions = 5, rate = 100, season = "3s", disorder = "400ms", late = 0.05, anomalies = 0.02 }
lateness = "400ms"
"#;

/// Records of which none is late and none shares key, time and partition: they may arrive in any order within lateness.
const ROWS: &str =
    "name = \"attacked\"\n[[source]]\nname = \"rows\"\nconnector = \"memory\"\nlateness = \"50ms\"\n";

/// Attacks what follows the source, with the order of arrival too.
fn in_any_arrival(rest: &str) -> crate::harness::Report {
    let attacked = Attack::pipeline(&format!("{ROWS}{rest}")).records(disordered());
    attack(attacked.shuffled(Span::from_millis(50)))
}

fn detect(name: &str, detector: &str, params: &str, threshold: f64) -> String {
    format!("[[detect]]\nname = \"{name}\"\ndetector = \"{detector}\"\nparams = {{ {params} }}\nthreshold = {threshold}\n")
}

#[test]
fn every_detector_is_deterministic() {
    for info in detectors::built_in().iter() {
        let mut params = String::new();
        for parameter in &info.parameters {
            let value = match (parameter.is_required(), &parameter.kind) {
                (true, Kind::Span) => "\"300ms\"",
                (true, _) => "3",
                _ if info.name == "static" => "30",
                _ if parameter.name == "warmup" => "20",
                _ => continue,
            };
            let _ =
                write!(params, "{}{} = {value}", if params.is_empty() { "" } else { ", " }, parameter.name);
        }
        let text = GENERATOR.to_owned() + &detect("it", info.name, &params, 0.1);
        let report = attack(Attack::pipeline(&text).snapshotting());
        assert!(report.count("anomalies") > 0, "{} finds nothing", info.name);
        assert!(report.count("late") > 0 && report.count("verdicts") > 0, "{}", info.name);
        let report = in_any_arrival(&detect("it", info.name, &params.replace("300ms", "20ms"), 0.01));
        assert!(report.count("anomalies") > 0, "{} finds nothing", info.name);
    }
}

/// Without waiting for each other they would have more in memory than they may.
#[test]
fn partitions_far_apart_in_event_time_wait_for_each_other() {
    let row = |partition: i64, at: i64| {
        let time = EventTime::from_micros(partition * 1_000_000_000 + at * 10_000);
        MemoryRecord::row(time, &format!("k{}", at % 7), [(at % 11) as f64])
    };
    let partition = |p| (format!("p{p}"), (0..7_000).map(|at| row(p, at)).collect());
    let text = format!("{ROWS}{}[limits]\nahead = \"768KiB\"\n", detect("it", "ewma-z", "warmup = 10", 1.0));
    let report = attack(Attack::pipeline(&text).records((0..6).map(partition).collect()));
    assert_eq!(42_000, report.count("verdicts"));
}

#[test]
fn every_aggregate_and_gap_is_deterministic() {
    let aggregates = ["mean", "sum", "min", "max", "last", "count", "rate", "quantile"];
    let gaps = ["skip", "zero", "hold", "alert"];
    for (at, aggregate) in aggregates.into_iter().enumerate() {
        // Every aggregate with every size, and every gap with tumbling and sliding windows.
        for (sizes, gap) in [("1s", gaps[at % 4]), ("100ms", gaps[(at + 1) % 4])] {
            let quantile = if aggregate == "quantile" { ", quantile = 0.9" } else { "" };
            let step = format!(
                "[[step]]\noperator = \"window\"\nparams = {{ every = \"100ms\", size = \"{sizes}\", aggregate = \"{aggregate}\", missing = \"{gap}\"{quantile} }}\n"
            );
            let rest = step + &detect("it", "ewma-z", "warmup = 5", 1.5);
            let report = in_any_arrival(&rest);
            assert!(report.count("verdicts") > 100, "{aggregate} {gap}: {}", report.count("verdicts"));
            let text = GENERATOR.to_owned() + &rest;
            let report = attack(Attack::pipeline(&text).snapshotting());
            assert!(report.count("verdicts") > 100, "{aggregate} {gap}: {}", report.count("verdicts"));
        }
    }
}

#[test]
fn several_detections_and_sources_and_hysteresis_are_deterministic() {
    let text = GENERATOR.to_owned()
        + r#"
[[source]]
name = "more"
connector = "generator"
options = { seed = 2, records = 700, keys = 7, partitions = 2, rate = 50, disorder = "1s" }
lateness = "200ms"
[[detect]]
name = "z"
detector = "ewma-z"
params = { warmup = 10 }
threshold = 2.5
clear = 0.5
rebaseline_after = 3
close_after = "300ms"
critical = 4
[[detect]]
name = "change"
detector = "rate-of-change"
threshold = 100
[[detect]]
name = "rare"
detector = "ewma-z"
params = { warmup = 5 }
dead_band_fraction = 0.05
calibrate = 20
cool_down = 5
threshold = 0.95
[[detect]]
name = "odd"
detector = "ensemble"
params = { members = { z = { detector = "ewma-z", warmup = 10 }, running-range = { weight = 0.5, warmup = 5 } }, combine = "mean", warmup = 10 }
threshold = 0.5
[[detect]]
name = "silent"
detector = "no-record"
params = { after = "150ms" }
threshold = 0
"#;
    let report = attack(Attack::pipeline(&text).snapshotting());
    let anomalies = report.lines("anomalies").iter().map(|line| String::from_utf8_lossy(line).into_owned());
    for name in ["z", "change", "rare", "odd", "silent"] {
        assert!(anomalies.clone().any(|line| line.contains(&format!("\"{name}\""))), "{name}");
    }
    let alerts: Vec<_> = report.lines("alerts").iter().map(|line| String::from_utf8_lossy(line)).collect();
    for said in ["opened", "updated", "closed", "critical", "quiet", "returned", "shifted", "ended"] {
        assert!(alerts.iter().any(|line| line.contains(&format!("\"{said}\""))), "{said}");
    }
}

#[test]
fn what_is_quarantined_is_the_same_everywhere() {
    let quarantine = "quarantine = [{ partition = \"0\", offset = 7 }, { partition = \"3\", offset = 0 }]\n";
    let text = GENERATOR.to_owned() + quarantine + &detect("it", "ewma-z", "warmup = 20", 2.0);
    let report = attack(Attack::pipeline(&text));
    assert_eq!(2, report.count("dead_letters"));
}

/// CSV lines with two values, of which some lines are no records, and some values are missing.
fn garbage() -> Partitions {
    let line = |partition: u64, at: u64| {
        let random = xxh3_64_with_seed(&at.to_le_bytes(), partition) % 1_000;
        let time = at * 10 + random % 300;
        let line = match random % 23 {
            0 => "not a record".to_owned(),
            1 => format!("{time},k{},1e999,0", random % 5),
            2 => format!("{time},\"k{}", random % 5),
            3 => format!("{time},k{},,{random}", random % 5),
            4 => return b"\xff\0\xfe,1,2".to_vec(),
            _ => format!("{time},k{},{random},{}", random % 5, random % 7),
        };
        line.into_bytes()
    };
    let records = |partition| (0..600).map(|at| MemoryRecord::raw(line(partition, at))).collect();
    (0..3).map(|partition| (format!("p{partition}"), records(partition))).collect()
}

#[test]
fn garbage_and_several_values_are_deterministic() {
    let text = r#"
name = "attacked"
[[source]]
name = "lines"
connector = "memory"
format = "csv"
time = { field = "t", unit = "ms" }
key = ["k"]
values = ["a", "b"]
lateness = "200ms"
missing = "keep"
[[detect]]
name = "a"
detector = "running-range"
params = { warmup = 3 }
value = "a"
threshold = 0.01
[[detect]]
name = "b"
detector = "windowed-gaussian"
value = "b"
threshold = 0.5
"#;
    let report = attack(Attack::pipeline(text).records(garbage()).header("t,k,a,b").snapshotting());
    for stream in ["anomalies", "late", "dead_letters"] {
        assert!(report.count(stream) > 0, "{stream} is empty");
    }
}

#[test]
fn evictions_by_both_limits_are_deterministic() {
    let text = GENERATOR.replace("keys = 11", "keys = 1200").replace("rate = 100", "rate = 1000");
    let window = "[[step]]\noperator = \"window\"\nparams = { every = \"20ms\", aggregate = \"quantile\", quantile = 0.5, missing = \"hold\" }\n";
    for (limits, step) in [("keys = 512", ""), ("keys = 300", window), ("state = \"64KiB\"", window)] {
        let text = format!("{text}{step}{}[limits]\n{limits}\n", detect("it", "ewma-z", "warmup = 1", 0.1));
        let report = attack(Attack::pipeline(&text).snapshotting());
        assert!(report.count("evictions") > 100, "{limits}: {} evictions", report.count("evictions"));
    }
}

fn disordered() -> Partitions {
    let disorder = Span::from_millis(50);
    generated(Profile { records: 1_500, keys: 9, partitions: 3, disorder, rate: 500.0, ..Profile::default() })
}

#[test]
fn a_logic_made_in_code_is_deterministic_in_any_arrival() {
    let logic =
        || window::sliding("100ms", "20ms").max().then(EwmaZ::new(0.1).expect("in range")).then(above(1.0));
    let report =
        attack(Attack::logic(logic).records(disordered()).shuffled(Span::from_millis(50)).snapshotting());
    assert!(report.count("emitted") > 0 && report.count("late") == 0);
    let silent = || silent_for("20ms").then(above(0.0));
    let report =
        attack(Attack::logic(silent).records(disordered()).shuffled(Span::from_millis(50)).snapshotting());
    assert!(report.count("emitted") > 0);
}

#[test]
fn evictions_are_the_same_in_any_arrival() {
    let profile = Profile { records: 3_000, keys: 900, partitions: 1, rate: 500.0, ..Profile::default() };
    let limits = tidewatch_dataflows::operators::Limits { keys: 256, state: usize::MAX };
    let logic = || EwmaZ::new(0.1).expect("in range").then(above(0.0));
    let records = generated(profile);
    assert!(!crate::harness::simultaneous(&records), "then evictions would not be compared");
    let attacked = Attack::logic_within(limits, logic).records(records);
    let report = attack(attacked.shuffled(Span::from_millis(50)));
    assert!(report.count("evictions") > 0);
}

/// Numbers rows in the order of arrival, which is what no operator may do.
fn numbered(
    records: tidewatch_connectors::Ingested<'_>,
) -> timely::dataflow::StreamVec<'_, EventTime, Emission<f64>> {
    let to_first = Exchange::new(|_: &(EventTime, Key)| 0);
    let plain = records.records.rows.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(
        timely::dataflow::channels::pact::Pipeline,
        "Plain",
        |_, _| {
            move |input, output| {
                input.for_each(|time, batch| {
                    let heads = batch.rows().map(|(head, _)| (head.time, Key::new("all")));
                    output.session(&time).give_iterator(heads);
                });
            }
        },
    );
    plain.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(to_first, "Numbered", |_, _| {
        let mut number = 0.0;
        move |input, output| {
            input.for_each(|time, rows| {
                let mut session = output.session(&time);
                for (time, key) in rows.drain(..) {
                    number += 1.0;
                    session.give(Emission { time, key, value: number });
                }
            });
        }
    })
}

#[test]
fn an_operator_that_works_in_arrival_order_is_found() {
    let attacked = Attack::dataflow(numbered).records(disordered()).lateness(Span::from_millis(50));
    let difference = attacked.check().expect_err("arrival order differs").to_string();
    assert!(difference.starts_with("emitted differs from -w1 batch 1024 at -w1 batch 1"), "{difference}");
    assert!(difference.contains("\nexpected {") && difference.contains("\nfound    {"), "{difference}");
}

/// Numbers the verdicts of a worker over all its keys, in the right order: which is wrong only where there are several
/// workers.
fn counted(
    records: tidewatch_connectors::Ingested<'_>,
) -> timely::dataflow::StreamVec<'_, EventTime, Emission<f64>> {
    let verdicts = records.records.keyed(EwmaZ::new(0.1).expect("in range"));
    verdicts.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(
        timely::dataflow::channels::pact::Pipeline,
        "Counted",
        |_, _| {
            let mut number = 0.0;
            move |input, output| {
                input.for_each(|time, verdicts| {
                    let number = &mut number;
                    output.session(&time).give_iterator(verdicts.drain(..).map(|verdict| {
                        *number += 1.0;
                        Emission { time: verdict.time, key: verdict.key, value: *number }
                    }));
                });
            }
        },
    )
}

#[test]
fn a_state_that_several_keys_of_a_worker_share_is_found_at_two_workers() {
    let attacked = Attack::dataflow(counted).records(disordered()).lateness(Span::from_millis(50));
    let difference = attacked.check().expect_err("a worker counts its own keys").to_string();
    assert!(difference.starts_with("emitted differs from -w1 batch 1024 at -w2 batch 1024"), "{difference}");
}

/// A logic whose snapshot forgets half of what it knows.
struct Forgetful;

impl Logic for Forgetful {
    type In = tidewatch_dataflows::Record;
    type Out = f64;
    type State = (u32, u32);
    fn start(&self, _key: &Key) -> (u32, u32) {
        (0, 0)
    }
    fn on_record(
        &self,
        state: &mut (u32, u32),
        time: EventTime,
        _input: &Self::In,
        out: &mut impl FnMut(EventTime, f64),
    ) {
        *state = (state.0 + 1, state.1 + 2);
        out(time, f64::from(state.1));
    }
    fn save(&self, state: &(u32, u32), out: &mut Vec<u8>) {
        tidewatch_dataflows::state::save(&state.0, out);
    }
    fn restore(&self, bytes: &mut &[u8]) -> Result<(u32, u32), tidewatch_dataflows::state::StateError> {
        Ok((tidewatch_dataflows::state::restore("forgetful", bytes)?, 0))
    }
}

#[test]
fn a_state_that_does_not_survive_a_snapshot_is_found() {
    let records = vec![("p".to_owned(), rows(&[(1, "a", 1.0), (2, "a", 1.0), (3, "b", 1.0)]))];
    assert!(Attack::logic(|| Forgetful).records(records.clone()).check().is_ok());
    let difference =
        Attack::logic(|| Forgetful).records(records).snapshotting().check().expect_err("it forgets");
    assert!(difference.to_string().contains("snapshotting"), "{difference}");
}
