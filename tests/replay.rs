//! A replay of what was recorded gives what the run gave: every stream, byte for byte.

#[cfg(target_os = "linux")]
mod cluster;
mod damage;
mod files;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidewatch::cluster::Cluster;
use tidewatch::config::{self, SinkFormat, Stream};
use tidewatch::job::{Job, Outputs};
use tidewatch::registry::{Registry, SourceInfo};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch_connectors::recording::Recorded;
use tidewatch_connectors::Control;
use tidewatch_dataflows::EventTime;

use crate::harness::program::{read, tidewatch_in};
use crate::harness::{on_cluster, Tape};

/// A memory with a header, which may fall silent.
const LIVE: &str = r#"
name = "live"
[[source]]
name = "requests"
connector = "memory"
format = "csv"
time = { field = "ts", unit = "ms" }
key = ["host", "@partition"]
value = "load"
lateness = "50ms"
idle = "60ms"
max_future = "1h"
[[step]]
operator = "window"
params = { every = "20ms", aggregate = "max" }
[[detect]]
name = "quiet"
detector = "no-record"
params = { after = "100ms" }
threshold = 0
[[detect]]
name = "high"
detector = "static"
params = { max = 60 }
threshold = 1
[alerts]
group_by = ["host"]
gap = "100ms"
"#;

fn job(text: &str, memory: &Memory) -> Job {
    let mut registry = Registry::default();
    let source = Arc::new(memory.clone());
    registry.sources.add(SourceInfo {
        name: "memory",
        parameters: vec![],
        rows: false,
        envelopes: false,
        append_times: true,
        falls_silent: |_| true,
        construct: Arc::new(move |_, _| Ok(source.clone())),
    });
    let file = config::parse("live.toml", text, &|_| None, &registry).expect("the pipeline is right");
    Job::new(file, &registry).expect("its parts fit")
}

/// All streams of the pipeline but what is provisional, which depends on when records arrive. It mutes nobody.
fn final_streams() -> impl Iterator<Item = Stream> {
    Stream::ALL.into_iter().filter(|stream| !stream.is_provisional() && *stream != Stream::Muted)
}

/// What a final stream says, of all that say something.
fn said(texts: &[String], stream: Stream) -> &str {
    let place = final_streams().position(|one| one == stream).expect("it is final");
    &texts[place]
}

/// Every final stream of a job.
#[derive(Clone)]
struct Sinks(Vec<MemorySink>);

impl Sinks {
    fn new() -> Self {
        Self(final_streams().map(|_| MemorySink::default()).collect())
    }

    fn outputs(&self, job: &Job) -> Arc<Outputs> {
        let (sinks, job) = (self.0.clone(), job.clone());
        Arc::new(move || {
            let output = |(stream, sink): (Stream, &MemorySink)| {
                let sink = sink.clone();
                (stream, job.encoded(stream, move || Ok(Box::new(sink) as _), SinkFormat::Json))
            };
            final_streams().zip(&sinks).map(output).collect()
        })
    }

    fn texts(&self) -> Vec<String> {
        self.0.iter().map(|sink| String::from_utf8(sink.contents()).expect("JSON is UTF-8")).collect()
    }
}

/// Pushes records of several partitions, with pauses in which some of them fall silent.
fn push(memory: &Memory) {
    let at = |millis: i64| EventTime::from_micros(millis * 1000);
    for n in 0..300_i64 {
        let partition = format!("p{}", n % 3);
        let time = n * 10 - [0, 30, 0, 45, 200, 0, 7][n as usize % 7];
        let payload = match n % 41 {
            40 => "not a record".to_owned(),
            30 => format!("{},a,1", time + 7_200_000),
            _ => format!("{time},{},{}", ["a", "b", "c"][n as usize % 5 % 3], n * 37 % 83),
        };
        // One partition says nothing from a hundred on to two hundred.
        if partition != "p1" || !(100..200).contains(&n) {
            memory.push(&partition, MemoryRecord::appended(payload, at(n * 10)));
        }
        if n % 50 == 49 {
            thread::sleep(Duration::from_millis(110));
        }
    }
}

/// Runs a job on so many processes, with so many workers of each.
fn run_on((processes, workers): (usize, u16), job: &Job, tape: &Tape) -> Vec<String> {
    let (sinks, control) = (Sinks::new(), Control::default);
    let outputs = sinks.outputs(job);
    let run = |cluster| tape.job(job, &cluster)?.run(cluster, &control(), outputs.clone());
    on_cluster(processes, workers, run).expect("it runs");
    sinks.texts()
}

#[test]
fn a_replay_of_a_live_run_gives_the_same_bytes_on_any_cluster() {
    for recording in [(1, 1), (1, 2), (1, 4), (2, 2)] {
        let folder = tempfile::tempdir().expect("there is room for it");
        let path = folder.path().join("live.tide").display().to_string();
        let memory = Memory::new(["p0", "p1", "p2", "never"].map(|name| (name, vec![])));
        let memory = memory.header("ts,host,load").live();
        let tape = Tape::record(&path, recording.0);
        let pushed = {
            let memory = memory.clone();
            thread::spawn(move || {
                push(&memory);
                memory.end();
            })
        };
        let expected = run_on(recording, &job(LIVE, &memory), &tape);
        pushed.join().expect("it pushes");
        let recorded = tape.finish().expect("it is written");
        let total = |count: fn(&Recorded) -> u64| recorded.iter().map(count).sum::<u64>();
        assert_eq!((4, 266), (total(|part| part.partitions), total(|part| part.records)));
        assert!(total(|part| part.decisions) > 2, "{recorded:?}");
        assert!(recorded.iter().all(|part| part.records > 0), "{recorded:?}");
        // Nothing is evicted.
        for stream in final_streams().filter(|stream| *stream != Stream::Evictions) {
            assert!(said(&expected, stream).lines().count() > 3, "{stream:?}: {expected:?}");
        }

        let (tape, nothing) = (Tape::play(&path).expect("it is a recording"), Memory::default());
        for replay in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)] {
            for pace in [Pace::default(), Pace { batch: 1, shuffle: Some(5), dictionary: 1 }] {
                let found = run_on(replay, &job(LIVE, &nothing).at_pace(pace), &tape);
                assert_eq!(expected, found, "recorded at {recording:?}, replayed at {replay:?}");
            }
        }
        // What it decodes anew, because a value that is missing would now mean something else, is the same.
        let anew = LIVE.replace("lateness", "missing = \"keep\"\nlateness");
        assert_eq!(expected, run_on((1, 2), &job(&anew, &nothing), &tape), "{recording:?}, decoded anew");
        replays_through_the_program(&folder, &expected);

        // A recording of the replay is as good.
        let again = folder.path().join("again.tide").display().to_string();
        let replayed = tape.job(&job(LIVE, &nothing), &Cluster::threads(1)).expect("it fits");
        let tape = Tape::record(&again, 2);
        assert_eq!(expected, run_on((2, 1), &replayed, &tape));
        let tape = tape.rewind(&again).expect("it is written");
        assert_eq!(expected, run_on((1, 1), &job(LIVE, &nothing), &tape), "{recording:?}, recorded twice");
    }
}

/// Replays `live.tide` with processes of their own.
fn replays_through_the_program(folder: &TempDir, expected: &[String]) {
    // A replay opens no source, but the program knows none that is called memory; nor does it evaluate `idle`.
    let source = "connector = \"recording\"\noptions = { path = \"nowhere.tide\" }";
    let text = LIVE.replace("connector = \"memory\"", source).replace("idle = \"60ms\"\n", "");
    fs::write(folder.path().join("live.toml"), text).expect("it can be written");
    let provisional = Stream::ALL.into_iter().filter(|stream| stream.is_provisional());
    let all: Vec<_> = final_streams().chain(provisional).map(|stream| ["--stream", stream.name()]).collect();
    for cluster in [["-n1", "-w1"], ["-n1", "-w2"], ["-n2", "-w1"], ["-n2", "-w2"]] {
        let replay = ["replay", "live.tide", "live.toml", "-q", "--out", "found"];
        let said = tidewatch_in(folder, [&replay, &cluster[..], all.as_flattened()].concat());
        assert_eq!((Some(0), "", ""), (said.code, &*said.out, &*said.err), "{cluster:?}");
        for (stream, expected) in final_streams().zip(expected) {
            let found = read(folder, &format!("found/{}.jsonl", stream.name()));
            // In memory, nothing ends the last line.
            assert!(*expected == found.trim_end(), "{stream:?} at {cluster:?}");
        }
    }
}

#[test]
fn a_quarantine_applies_to_a_replay_whether_or_not_it_applied_to_what_was_recorded() {
    let plain = LIVE.replace("idle = \"60ms\"\n", "");
    let quarantine =
        "quarantine = [{ partition = \"p1\", offset = 3 }, { partition = \"p0\", offset = 8 }]\n";
    let quarantined = plain.replace("lateness", &(quarantine.to_owned() + "lateness"));
    let line = |n: i64| format!("{},a,{}", n * 10 - [0, 30, 70][n as usize % 3], n * 37 % 83);
    let records = |p: i64| (0..40).map(|n| MemoryRecord::raw(line(n * 2 + p))).collect::<Vec<_>>();
    let memory = Memory::new([("p0", records(0)), ("p1", records(1))]).header("ts,host,load");
    let [without, with] = [&plain, &quarantined].map(|text| run_on((1, 1), &job(text, &memory), &Tape::None));
    let dead_letters = |texts: &[String]| said(texts, Stream::DeadLetters).lines().count();
    assert_eq!((0, 2), (dead_letters(&without), dead_letters(&with)), "{with:?}");
    let folder = tempfile::tempdir().expect("there is room for it");
    for recorded in [&plain, &quarantined] {
        let path = folder.path().join(format!("{}.tide", recorded.len())).display().to_string();
        let tape = Tape::record(&path, 2);
        run_on((2, 1), &job(recorded, &memory), &tape);
        assert_eq!(80, tape.finish().expect("it is written").iter().map(|part| part.records).sum::<u64>());
        let tape = Tape::play(&path).expect("it is a recording");
        for (text, expected) in [(&plain, &without), (&quarantined, &with)] {
            // With the rows that were recorded, and decoded anew.
            for text in [text.clone(), text.replace("value =", "missing = \"keep\"\nvalue =")] {
                let replayed = run_on((1, 2), &job(&text, &Memory::default()), &tape);
                assert_eq!(*expected, replayed, "{recorded}{text}");
            }
        }
    }
}
