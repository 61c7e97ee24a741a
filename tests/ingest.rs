//! Lateness, dead letters, silence and interruption, from records in memory to streams in sinks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tidewatch::cluster::{self, Cluster, Outcome};
use tidewatch::Error;
use tidewatch_connectors::egress::{Egress, Output};
use tidewatch_connectors::format::{Csv, TimeFormat};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch_connectors::{Control, Ingested, Input, MemoryJournal};
use tidewatch_dataflows::detectors::EwmaZ;
use tidewatch_dataflows::operators::Keyed;
use tidewatch_dataflows::state::StateError;
use tidewatch_dataflows::{EventTime, Key, Logic, PartitionId, Record, Span};

mod ends;
mod flow;
mod idle;

const WORKERS: [u16; 3] = [1, 2, 4];

/// Emits each record as it is, and −1 when a key has had none for a second: a timer, which shows how far time came.
struct Echo;

impl Logic for Echo {
    type In = Record;
    type Out = Record;
    type State = Option<EventTime>;

    fn start(&self, _: &Key) -> Self::State {
        None
    }
    fn on_record(
        &self,
        due: &mut Self::State,
        time: EventTime,
        record: &Record,
        out: &mut impl FnMut(EventTime, Record),
    ) {
        *due = Some(time.saturating_add(Span::from_secs(1)));
        out(time, record.clone());
    }
    fn deadline(&self, due: &Self::State) -> Option<EventTime> {
        *due
    }
    fn on_time(&self, due: &mut Self::State, time: EventTime, out: &mut impl FnMut(EventTime, Record)) {
        *due = None;
        out(time, Record::new(time, [-1.0]));
    }
    fn save(&self, _: &Self::State, _: &mut Vec<u8>) {}
    fn restore(&self, _: &mut &[u8]) -> Result<Self::State, StateError> {
        Ok(None)
    }
}

/// The streams of a run, as JSON lines.
#[derive(Clone, Default)]
struct Streams {
    scored: MemorySink,
    late: MemorySink,
    malformed: MemorySink,
}

fn text(sink: &MemorySink) -> String {
    String::from_utf8(sink.contents()).unwrap()
}

impl Streams {
    fn run(&self, inputs: &[Input], workers: u16, control: &Control) -> Result<Outcome, Error> {
        let (streams, inputs) = (self.clone(), inputs.to_vec());
        cluster::run(Cluster::threads(workers), control, move |worker| {
            let Streams { scored, late, malformed } = streams.clone();
            worker.dataflow(|scope| {
                let ingested = inputs.iter().map(|input| input.ingest(scope)).reduce(Ingested::concat);
                let Ingested { records, late: behind, malformed: wrong } =
                    ingested.expect("there is an input");
                let json = |sink| Output::json(sink, inputs[0].schema().clone());
                behind.egress(json(late));
                wrong.egress(json(malformed));
                records.keyed(Echo).egress(json(scored));
            });
            Ok(())
        })
    }

    fn texts(&self) -> [String; 3] {
        [&self.scored, &self.late, &self.malformed].map(text)
    }
}

/// Runs an input to its end.
fn texts(input: &Input, workers: u16, pace: Pace) -> [String; 3] {
    let streams = Streams::default();
    let outcome = streams.run(&[input.clone().pace(pace)], workers, &Control::default()).unwrap();
    assert_eq!(Outcome::Done, outcome);
    streams.texts()
}

/// `time in µs,key,value`.
fn csv() -> Csv {
    Csv::columns().time("1").time_format(TimeFormat::EpochMicros).key(["2"]).value("3")
}

/// An input of what `csv` reads, with five seconds of lateness.
fn input(memory: &Memory) -> Input {
    Input::of_payloads(memory.clone(), csv()).named("m").lateness(Span::from_secs(5))
}

fn record(millis: i64, key: &str, value: i64) -> MemoryRecord {
    MemoryRecord::raw(format!("{},{key},{value}", millis * 1000))
}

/// Waits until it is so; the run under test must get there by itself.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The text of a JSON field.
fn field(line: &str, name: &str) -> serde_json::Value {
    serde_json::from_str::<serde_json::Value>(line).unwrap()[name].clone()
}

#[test]
fn rejections_say_what_where_and_why_at_any_number_of_workers_and_any_pace() {
    let mut long = b"x".repeat(4095);
    long.extend("éé".as_bytes());
    let records = vec![
        record(0, "a", 1),
        MemoryRecord::raw("0,a"),
        record(10_000, "a", 2),
        MemoryRecord::raw("4999999,a,3"),
        record(5_000, "a", 4),
        MemoryRecord::raw(long),
        MemoryRecord::raw(b"\xff".to_vec()),
    ];
    let memory = Memory::new(["p0", "p1", "p2"].map(|name| (name, records.clone())));
    let input = input(&memory);
    let expected = texts(&input, 1, Pace::default());
    let of_p1 = |text: &String| -> Vec<String> {
        text.lines().filter(|line| line.contains("\"p1\"")).map(str::to_owned).collect()
    };
    let late = [concat!(
        r#"{"time":"1970-01-01T00:00:05Z","source":"m","partition":"p1","offset":3,"line":null,"#,
        r#""event_time":"1970-01-01T00:00:04.999999Z","#,
        r#""reason":"late: its event time is before the watermark, 1970-01-01T00:00:05Z","#,
        r#""raw":"4999999,a,3","raw_hex":null,"raw_bytes":11}"#
    )];
    assert_eq!(late.to_vec(), of_p1(&expected[1]));
    let malformed = of_p1(&expected[2]);
    let all = |name| malformed.iter().map(|line| field(line, name)).collect::<Vec<_>>();
    assert_eq!(vec![1, 5, 6], all("offset"));
    assert_eq!(vec!["1969-12-31T23:59:55Z", "1970-01-01T00:00:05Z", "1970-01-01T00:00:05Z"], all("time"));
    assert_eq!(vec![3, 4099, 1], all("raw_bytes"));
    assert_eq!("x".repeat(4095), field(&malformed[1], "raw"), "cut between characters");
    assert_eq!(
        (serde_json::Value::Null, "ff".into()),
        (field(&malformed[2], "raw"), field(&malformed[2], "raw_hex"))
    );
    assert_eq!(
        concat!(
            r#"{"time":"1969-12-31T23:59:55Z","source":"m","partition":"p1","offset":1,"line":null,"#,
            r#""event_time":null,"reason":"has 2 fields, but column 3 is wanted","raw":"0,a","raw_hex":null,"raw_bytes":3}"#
        ),
        malformed[0]
    );
    for workers in WORKERS {
        for (batch, shuffle) in [(1, None), (2, Some(7)), (1024, Some(1))] {
            let got = texts(&input, workers, Pace { batch, shuffle, dictionary: batch });
            assert_eq!(expected, got, "{workers} workers, batches of {batch}, shuffled by {shuffle:?}");
        }
    }
}

#[test]
fn a_quarantined_record_counts_as_one_that_cannot_be_decoded() {
    // One of them is late, another one would make one late.
    let seconds = [0, 10, 5, 4, 20, 16, 30];
    let payloads: Vec<_> = seconds.iter().map(|second| record(second * 1_000, "a", *second)).collect();
    let at = |second: i64| EventTime::from_micros(second * 1_000_000);
    let rows = seconds.iter().map(|second| MemoryRecord::row(at(*second), "a", [*second as f64]));
    let rows: Vec<_> = rows.collect();
    let schema = input(&Memory::default()).schema().clone();
    let of = |p1: &[MemoryRecord]| Memory::new([("p0", payloads.clone()), ("p1", p1.to_vec())]);
    let of_rows = Memory::new(["p0", "p1"].map(|name| (name, rows.clone())));
    let of_rows = Input::of_rows(of_rows, schema).named("m").lateness(Span::from_secs(5));
    for offset in 0..seconds.len() {
        let mut broken = payloads.clone();
        broken[offset] = MemoryRecord::raw("?");
        let expected = texts(&input(&of(&broken)), 1, Pace::default());
        let [decoded, given] = [(input(&of(&payloads)), ""), (of_rows.clone(), ".0]")].map(|(input, end)| {
            let input = input.quarantine([("p1", offset as u64), ("p1", 99)]);
            let got = texts(&input, 1, Pace::default());
            assert_eq!(got, texts(&input, 2, Pace { batch: 1, shuffle: Some(3), dictionary: 1 }));
            let raw = field(&got[2], "raw");
            assert!(raw.as_str().is_some_and(|raw| raw.ends_with(end)), "{raw}");
            got
        });
        assert_eq!((&expected[0], &expected[0]), (&decoded[0], &given[0]), "{offset}");
        assert_eq!(expected[1], decoded[1], "{offset}");
        assert_eq!(expected[1].lines().count(), given[1].lines().count(), "{offset}");
        let place = |text: &str| ["time", "partition", "offset", "event_time"].map(|name| field(text, name));
        assert_eq!((place(&expected[2]), place(&expected[2])), (place(&decoded[2]), place(&given[2])));
        assert_eq!(["quarantined"; 2], [&decoded, &given].map(|texts| field(&texts[2], "reason")));
    }
}

#[test]
fn a_file_has_lines_also_behind_a_record_that_spans_some() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    std::fs::write(&path, "1,\"a\nb\",1\n2,\"c,2\nbad\n3,d,3\n").unwrap();
    let source = tidewatch_connectors::file::FileSource::glob(path.to_str().unwrap());
    let input = source.format(csv().multiline(true));
    let [scored, late, malformed] = texts(&input, 2, Pace::default());
    assert_eq!("", late);
    let values: Vec<_> =
        scored.lines().map(|line| field(line, "value0")).filter(|value| *value != -1.0).collect();
    assert_eq!(vec![1.0, 3.0], values);
    let places: Vec<_> = malformed.lines().map(|line| (field(line, "line"), field(line, "raw"))).collect();
    assert_eq!(vec![(3.into(), "2,\"c,2".into()), (4.into(), "bad".into())], places);
    assert!(malformed.contains(r#""reason":"the quote is never closed""#), "{malformed}");
}

#[test]
fn a_record_from_the_future_is_a_dead_letter_and_moves_no_watermark() {
    let at = |millis: i64| EventTime::from_micros(millis * 1000);
    let appended = |time: i64, value: i64, appended| {
        MemoryRecord::appended(format!("{},a,{value}", time * 1000), at(appended))
    };
    let memory = Memory::new([(
        "p0",
        vec![
            appended(1_000, 1, 1_000),
            appended(2_001, 2, 1_000),
            appended(2_000, 3, 1_000),
            appended(i64::MAX / 1000, 4, 1_000),
            // Late only if the future had counted.
            appended(1_500, 5, 2_000),
            // Late, and not from the future.
            appended(999, 6, 2_000),
        ],
    )]);
    let input = input(&memory).lateness(Span::from_secs(1)).max_future(Span::from_secs(1));
    let expected = texts(&input, 1, Pace::default());
    let [scored, late, malformed] = &expected;
    let scored: Vec<_> =
        scored.lines().map(|line| field(line, "value0")).filter(|value| *value != -1.0).collect();
    assert_eq!(vec![1.0, 5.0, 3.0], scored);
    assert_eq!(vec![5], late.lines().map(|line| field(line, "offset")).collect::<Vec<_>>());
    let first = malformed.lines().next().unwrap();
    assert_eq!("1970-01-01T00:00:02.001Z", field(first, "event_time"));
    assert_eq!(
        "in the future: 1970-01-01T00:00:02.001Z is more than 1s after it was appended, 1970-01-01T00:00:01Z",
        field(first, "reason")
    );
    assert_eq!(vec![1, 3], malformed.lines().map(|line| field(line, "offset")).collect::<Vec<_>>());
    for workers in WORKERS {
        assert_eq!(expected, texts(&input, workers, Pace { batch: 1, shuffle: Some(3), dictionary: 1 }));
    }
}

/// What becomes of a partition's records, from the definition of lateness.
fn classify(records: &[Option<i64>], lateness: i64) -> Vec<char> {
    let mut watermark = i64::MIN;
    let mut classes = Vec::new();
    for time in records {
        classes.push(match time {
            None => 'm',
            Some(time) if *time < watermark => 'l',
            Some(_) => 's',
        });
        watermark = watermark.max(time.map_or(i64::MIN, |time| time - lateness));
    }
    classes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_record_is_scored_or_late_or_malformed(
        partitions in prop::collection::vec(
            prop::collection::vec(prop::option::weighted(0.8, 0i64..100_000), 0..40), 1..5),
        lateness in 0i64..20_000,
        workers in prop::sample::select(WORKERS.to_vec()),
        batch in 1usize..20,
        shuffle in prop::option::of(any::<u64>()),
    ) {
        let mut expected: [BTreeSet<String>; 3] = Default::default();
        let memory = Memory::new(partitions.iter().enumerate().map(|(p, times)| {
            let classes = classify(times, lateness);
            let records = times.iter().zip(classes).enumerate().map(|(n, (time, class))| {
                let id = p * 1000 + n;
                expected["slm".find(class).unwrap()].insert(id.to_string());
                // Each in a key of its own, so that what is scored can be told apart.
                MemoryRecord::raw(match time {
                    Some(time) => format!("{time},k,{id}"),
                    None => format!("\u{0},k,{id}"),
                })
            });
            (format!("p{p}"), records.collect())
        }));
        let input = input(&memory).lateness(Span::from_micros(lateness)).pace(Pace { batch, shuffle, dictionary: batch });
        let (streams, control) = (Streams::default(), Control::default());
        prop_assert_eq!(Outcome::Done, streams.run(&[input], workers, &control).unwrap());
        let [scored, late, malformed] = streams.texts();
        let ids = |text: &str| -> Vec<String> {
            let raw = |line: &str| field(line, "raw").as_str().unwrap().rsplit(',').next().unwrap().to_owned();
            text.lines().map(raw).collect()
        };
        let values = scored.lines().map(|line| field(line, "value0").as_f64().unwrap());
        let got = [values.filter(|id| *id >= 0.0).map(|id| id.to_string()).collect(), ids(&late), ids(&malformed)];
        for (expected, got) in expected.iter().zip(&got) {
            prop_assert_eq!(expected.len(), got.len(), "each once");
            prop_assert_eq!(expected, &got.iter().cloned().collect());
        }
        let counts = control.counts();
        let counted = [counts.records.get(), counts.late.get(), counts.malformed.get()];
        prop_assert_eq!([got.iter().map(Vec::len).sum(), got[1].len(), got[2].len()], counted.map(|n| n as usize));
    }
}
