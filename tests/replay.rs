//! A replay of what was recorded gives what the run gave: every stream, byte for byte.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidewatch::cluster::{Cluster, Outcome};
use tidewatch::config::{self, SinkFormat, Stream};
use tidewatch::job::{Job, Outputs};
use tidewatch::registry::{Registry, SourceInfo};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch_connectors::recording::{Play, Recorder, Recording};
use tidewatch_connectors::Control;
use tidewatch_dataflows::EventTime;

const WORKERS: [u16; 3] = [1, 2, 4];

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
"#;

fn job(text: &str, memory: &Memory) -> Job {
    let mut registry = Registry::default();
    let source = Arc::new(memory.clone());
    registry.add_source(SourceInfo {
        name: "memory",
        summary: "what the test pushes",
        parameters: vec![],
        rows: false,
        append_times: true,
        falls_silent: |_| true,
        construct: Arc::new(move |_, _| Ok(source.clone())),
    });
    let file = config::parse("live.toml", text, &|_| None, &registry).expect("the pipeline is right");
    Job::new(file, &registry).expect("its parts fit")
}

/// Every final stream of a job.
#[derive(Clone, Default)]
struct Sinks([MemorySink; 5]);

impl Sinks {
    fn outputs(&self, job: &Job) -> Arc<Outputs> {
        let (sinks, job) = (self.0.clone(), job.clone());
        Arc::new(move || {
            let output = |(stream, sink): (Stream, &MemorySink)| {
                let sink = sink.clone();
                (stream, job.encoded(move || Ok(Box::new(sink) as _), SinkFormat::Json))
            };
            // What is provisional depends on when records arrive.
            let streams = Stream::ALL.into_iter().filter(|stream| *stream != Stream::Provisional);
            streams.zip(&sinks).map(output).collect()
        })
    }

    fn texts(&self) -> Vec<String> {
        self.0.iter().map(|sink| String::from_utf8(sink.contents()).expect("JSON is UTF-8")).collect()
    }
}

fn run(job: &Job, workers: u16) -> Vec<String> {
    let sinks = Sinks::default();
    let outcome =
        job.run(Cluster::threads(workers), &Control::default(), sinks.outputs(job)).expect("it runs");
    assert_eq!(Outcome::Done, outcome);
    sinks.texts()
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

#[test]
fn a_replay_of_a_live_run_gives_the_same_bytes_at_any_number_of_workers() {
    for workers in WORKERS {
        let folder = tempfile::tempdir().expect("there is room for it");
        let path = folder.path().join("live.tide").display().to_string();
        let memory = Memory::new(["p0", "p1", "p2", "never"].map(|name| (name, vec![])));
        let memory = memory.header("ts,host,load").live();
        let recorder = Recorder::create(&path).expect("it is new");
        let live = job(LIVE, &memory).recorded(&recorder);
        let pushed = {
            let memory = memory.clone();
            thread::spawn(move || {
                push(&memory);
                memory.end();
            })
        };
        let expected = run(&live, workers);
        pushed.join().expect("it pushes");
        let recorded = recorder.finish().expect("it is written");
        assert_eq!((4, 266), (recorded.partitions, recorded.records));
        assert!(recorded.decisions > 2, "{recorded:?}");
        // Anomalies, verdicts, late records and dead letters; nothing is evicted.
        assert!(expected[..4].iter().all(|text| text.lines().count() > 3), "{expected:?}");

        let recording = Recording::open(&path).expect("it is a recording");
        assert!(recording.damages().is_empty());
        let replayed = job(LIVE, &Memory::default()).replayed(&recording, &Play::all()).expect("it fits");
        for replay in WORKERS {
            for pace in [Pace::default(), Pace { batch: 1, shuffle: Some(5), dictionary: 1 }] {
                assert_eq!(expected, run(&replayed.at_pace(pace), replay), "{workers}, by {replay}");
            }
        }
        // What it decodes anew, because a value that is missing would now mean something else, is the same.
        let anew = LIVE.replace("lateness", "missing = \"keep\"\nlateness");
        let replayed = job(&anew, &Memory::default()).replayed(&recording, &Play::all()).expect("it fits");
        assert_eq!(expected, run(&replayed, 2), "{workers}, decoded anew");

        // A recording of the replay is as good.
        let again = folder.path().join("again.tide").display().to_string();
        let recorder = Recorder::create(&again).expect("it is new");
        let replayed = job(LIVE, &Memory::default()).replayed(&recording, &Play::all()).expect("it fits");
        assert_eq!(expected, run(&replayed.recorded(&recorder), 2));
        assert_eq!(recorded.records, recorder.finish().expect("it is written").records);
        let recording = Recording::open(&again).expect("it is a recording");
        let replayed = job(LIVE, &Memory::default()).replayed(&recording, &Play::all()).expect("it fits");
        assert_eq!(expected, run(&replayed, 1), "{workers}, recorded twice");
    }
}

/// A folder with a pipeline over two sources, and what they read.
fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("there is room for it");
    let line = |n: i64, what: &str| match n % 97 {
        96 => "?,?".to_owned(),
        _ => {
            let (second, late) = (n / 10, if n % 31 == 0 { 20 } else { 0 });
            format!(
                "2024-01-01T00:{:02}:{:02}.{}Z,{what}{},{}.5",
                second / 60 % 60,
                second % 60,
                n % 10,
                n % 7,
                n * 37 % 83 - late
            )
        }
    };
    for (name, lines) in [("a.csv", 4_000), ("b.csv", 3_000), ("c.csv", 0)] {
        let mut text = "timestamp,host,load\n".to_owned();
        // Some lines come late: 17 seconds behind.
        (0..lines).for_each(|n| text += &(line(if n % 53 == 52 { n - 170 } else { n }, name) + "\n"));
        fs::write(folder.path().join(name), text).expect("it can be written");
    }
    let other = (0..500)
        .map(|n| format!("{{\"ts\":{},\"host\":\"y\",\"load\":{}.25}}\n", 1_704_067_200 + n / 10, n % 13));
    fs::write(folder.path().join("other.jsonl"), other.collect::<String>() + "{}")
        .expect("it can be written");
    let sink = |stream| {
        let options = format!("options = {{ path = \"own-{stream}.jsonl\" }}\n");
        format!("[[sink]]\nstream = \"{stream}\"\nconnector = \"file\"\n{options}")
    };
    let sinks: String = STREAMS.map(sink).concat();
    fs::write(folder.path().join("p.toml"), FILES.to_owned() + &sinks).expect("it can be written");
    folder
}

const FILES: &str = r#"
name = "files"
[[source]]
name = "hosts"
connector = "file"
options = { path = "*.csv" }
format = "csv"
time = "timestamp"
key = ["host", "@file"]
value = "load"
lateness = "1s"
[[source]]
name = "others"
connector = "file"
options = { path = "other.jsonl" }
format = "json"
time = { field = "ts", unit = "s" }
key = ["host", "@file"]
value = "load"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 1
"#;

/// Runs the program in a folder; returns its exit code, standard output and standard error.
fn tidewatch(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it is UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const STREAMS: [&str; 4] = ["anomalies", "verdicts", "late", "dead_letters"];

/// The files of the pipeline's own sinks, or of a replay.
fn streams(folder: &Path, name: impl Fn(&str) -> String) -> Vec<String> {
    STREAMS.map(|stream| fs::read_to_string(folder.join(name(stream))).expect("it is written")).into()
}

/// A folder with a recording `r.tide` of what the pipeline reads, and with what its sinks got.
fn recorded() -> (TempDir, Vec<String>) {
    let folder = files();
    let (code, out, err) = tidewatch(folder.path(), &["run", "p.toml", "--record", "r.tide", "-w", "2"]);
    assert_eq!((Some(0), ""), (code, &*out), "{err}");
    assert!(err.contains("r.tide: 7,501 records of 4 partitions recorded, "), "{err}");
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own.iter().all(|text| text.lines().count() > 10), "{own:?}");
    // A replay must do without what was recorded, and leave the sinks alone.
    for name in ["a.csv", "b.csv", "c.csv", "other.jsonl"]
        .map(str::to_owned)
        .into_iter()
        .chain(STREAMS.map(|stream| format!("own-{stream}.jsonl")))
    {
        fs::remove_file(folder.path().join(name)).expect("it is there");
    }
    (folder, own)
}

#[test]
fn run_records_and_replay_gives_the_same_files_and_touches_nothing_else() {
    let (folder, own) = recorded();
    for workers in ["1", "2", "4"] {
        let arguments = ["replay", "r.tide", "p.toml", "--out", "again/there", "-w", workers];
        let (code, out, err) = tidewatch(folder.path(), &arguments);
        assert_eq!((Some(0), ""), (code, &*out), "{err}");
        assert!(err.starts_with("7,501 records: "), "{err}");
        let again = streams(&folder.path().join("again/there"), |stream| format!("{stream}.jsonl"));
        assert!(own == again, "{workers} workers");
    }
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("it is there").file_name())
        .collect();
    names.sort();
    assert_eq!(["again", "p.toml", "r.tide"].map(std::ffi::OsString::from).to_vec(), names);

    // Anomalies to standard output; or another stream; JSON for programs.
    assert_eq!(
        (Some(0), own[0].clone(), String::new()),
        tidewatch(folder.path(), &["replay", "r.tide", "p.toml", "-q"])
    );
    let late = tidewatch(folder.path(), &["replay", "r.tide", "p.toml", "-q", "--stream", "late"]);
    assert_eq!((Some(0), &own[2]), (late.0, &late.1));
    let (_, out, _) =
        tidewatch(folder.path(), &["replay", "r.tide", "p.toml", "--stream", "evictions", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!(7_501, summary["records"]);
}

#[test]
fn record_alone_computes_nothing_and_replays_the_same() {
    let folder = files();
    let (code, out, err) = tidewatch(folder.path(), &["record", "p.toml", "--out", "alone.tide", "--json"]);
    assert_eq!((Some(0), ""), (code, &*err));
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((4, 7_501), (summary["partitions"].as_u64().unwrap(), summary["records"].as_u64().unwrap()));
    assert_eq!(summary["bytes"], folder.path().join("alone.tide").metadata().unwrap().len());
    assert!(!folder.path().join("own-anomalies.jsonl").exists());
    assert_eq!(Some(0), tidewatch(folder.path(), &["run", "p.toml", "-q"]).0);
    assert_eq!(Some(0), tidewatch(folder.path(), &["replay", "alone.tide", "p.toml", "--out", "again"]).0);
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own == streams(&folder.path().join("again"), |stream| format!("{stream}.jsonl")));
}

#[test]
fn a_replay_refuses_what_it_must_not_do() {
    let (folder, _) = recorded();
    let refused = |arguments: &[&str]| {
        let (code, out, err) = tidewatch(folder.path(), arguments);
        assert_eq!((Some(2), ""), (code, &*out), "{arguments:?}: {err}");
        err
    };
    let sinks = fs::read_to_string(folder.path().join("p.toml")).unwrap().replace("own-late", "./late");
    fs::write(folder.path().join("q.toml"), sinks).unwrap();
    let err = refused(&["replay", "r.tide", "q.toml", "--out", "."]);
    assert!(err.contains("late.jsonl belongs to the pipeline"), "{err}");
    assert!(refused(&["record", "p.toml", "--out", "r.tide"]).contains("never overwrites"));
    assert!(refused(&["run", "p.toml", "--record", "r.tide"]).contains("never overwrites"));
    assert!(refused(&["replay", "p.toml", "p.toml"]).contains("p.toml is not a recording"));
    for arguments in [
        &["--speed", "0"][..],
        &["--speed", "fast"],
        &["--from", "yesterday"],
        &["--stream", "anomaly"],
        &["--stream", "late", "--stream", "verdicts"],
        &["--from", "2024-01-01T00:00:00Z", "--to", "2024-01-01T00:00:00Z"],
    ] {
        refused(&[&["replay", "r.tide", "p.toml"], arguments].concat());
    }
    let renamed =
        fs::read_to_string(folder.path().join("p.toml")).unwrap().replace("\"others\"", "\"strangers\"");
    fs::write(folder.path().join("q.toml"), renamed).unwrap();
    let err = refused(&["replay", "r.tide", "q.toml"]);
    assert!(err.contains("has no source \"strangers\"; it has \"hosts\", \"others\""), "{err}");
}

#[test]
fn a_recording_is_a_source_of_pipelines() {
    let (folder, own) = recorded();
    let recorded =
        |source: &str| format!("connector = \"recording\"\noptions = {{ path = \"r.tide\"{source} }}");
    let text = fs::read_to_string(folder.path().join("p.toml")).unwrap();
    let text = text.replacen(
        "connector = \"file\"\noptions = { path = \"*.csv\" }",
        &recorded(", source = \"hosts\""),
        1,
    );
    let text = text.replacen(
        "connector = \"file\"\noptions = { path = \"other.jsonl\" }",
        &recorded(", source = \"others\""),
        1,
    );
    fs::write(folder.path().join("q.toml"), &text).unwrap();
    let (code, _, err) = tidewatch(folder.path(), &["run", "q.toml", "-q", "-w", "2"]);
    assert_eq!((Some(0), ""), (code, &*err));
    assert!(own == streams(folder.path(), |stream| format!("own-{stream}.jsonl")));

    fs::write(folder.path().join("q.toml"), text.replace(", source = \"others\"", "")).unwrap();
    assert_eq!(Some(0), tidewatch(folder.path(), &["check", "q.toml"]).0);
    let (code, _, err) = tidewatch(folder.path(), &["run", "q.toml", "-q"]);
    assert_eq!((Some(2), "r.tide has 2 sources: name one as \"source\"\n"), (code, &*err));
}

#[test]
fn a_range_is_played_alone() {
    let (folder, _) = recorded();
    let arguments = ["replay", "r.tide", "p.toml", "-q", "--stream", "verdicts"];
    let range = ["--from", "2024-01-01T00:01:00Z", "--to", "2024-01-01T00:02:00Z"];
    let (code, out, _) = tidewatch(folder.path(), &[&arguments[..], &range].concat());
    assert_eq!(Some(0), code);
    let minutes = |text: &str| text.lines().filter(|line| line.contains("T00:01:")).count();
    assert!(minutes(&out) > 1_000 && minutes(&out) == out.lines().count(), "{}", out.lines().count());
}

#[test]
fn a_replay_at_a_speed_takes_its_time() {
    let (folder, own) = recorded();
    // 400 seconds of event time.
    let start = Instant::now();
    let (code, out, _) =
        tidewatch(folder.path(), &["replay", "r.tide", "p.toml", "-q", "--speed", "200x", "-w", "2"]);
    let elapsed = start.elapsed();
    assert_eq!((Some(0), &own[0]), (code, &out));
    assert!(elapsed > Duration::from_millis(1_900) && elapsed < Duration::from_secs(8), "{elapsed:?}");
}

#[test]
fn a_damaged_recording_is_played_up_to_the_damage_and_the_exit_code_says_so() {
    let (folder, own) = recorded();
    let whole = fs::read(folder.path().join("r.tide")).unwrap();
    let replay = |bytes: &[u8]| {
        fs::write(folder.path().join("d.tide"), bytes).unwrap();
        let (code, out, err) = tidewatch(folder.path(), &["replay", "d.tide", "p.toml", "-q"]);
        assert_eq!(Some(1), code, "{err}");
        (out, err)
    };
    let (out, err) = replay(&whole[..whole.len() - 5]);
    assert!(out == own[0] && err.contains("the recording was not closed"), "{err}");
    let (out, err) = replay(&whole[..whole.len() / 2]);
    assert!(out.len() < own[0].len(), "{err}");
    assert!(
        err.starts_with("d.tide: damaged at byte ") && err.contains("bytes from there on are lost"),
        "{err}"
    );
    // In the middle of the blocks of records, which are most of it.
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let (_, err) = replay(&flipped);
    assert!(err.starts_with("d.tide: damaged at byte ") && err.contains(" in block "), "{err}");
    assert!(err.contains("the block does not have its checksum; ") && err.contains(" from offset "), "{err}");
}

/// Starts to record standard input into `r.tide`, gives it a hundred records, and waits for `until`.
fn record_standard_input(folder: &Path, until: impl Fn(u64) -> bool) -> Child {
    let text = LIVE.replace("\"memory\"", "\"stdio\"").replace("max_future = \"1h\"\n", "");
    fs::write(folder.join("p.toml"), text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["record", "p.toml", "--out", "r.tide"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let input = child.stdin.as_mut().expect("it is piped");
    writeln!(input, "ts,host,load").unwrap();
    (0..100).for_each(|n| writeln!(input, "{n},a,{n}").unwrap());
    input.flush().unwrap();
    let start = Instant::now();
    while !until(folder.join("r.tide").metadata().map_or(0, |file| file.len())) {
        assert!(start.elapsed() < Duration::from_secs(20), "it is not written");
        thread::sleep(Duration::from_millis(50));
    }
    child
}

/// Replays `r.tide`; the exit code, how many records there were, and standard error.
fn replay_standard_input(folder: &Path) -> (Option<i32>, u64, String) {
    let (code, out, err) =
        tidewatch(folder, &["replay", "r.tide", "p.toml", "--json", "--stream", "evictions"]);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    (code, summary["records"].as_u64().expect("a number"), err)
}

#[test]
fn what_was_recorded_before_the_program_was_killed_can_be_replayed() {
    let folder = tempfile::tempdir().expect("there is room for it");
    // All but the beginning has waited for its five seconds.
    let mut child = record_standard_input(folder.path(), |length| length > 200);
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let (code, records, err) = replay_standard_input(folder.path());
    assert_eq!((Some(1), 100), (code, records));
    assert!(err.contains("the recording was not closed"), "{err}");
}

#[test]
fn an_interruption_closes_a_recording() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let mut child = record_standard_input(folder.path(), |length| length > 0);
    thread::sleep(Duration::from_millis(500));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("there is kill").success());
    assert_eq!(Some(130), child.wait().expect("it is ours").code());
    assert_eq!((Some(0), 100, String::new()), replay_standard_input(folder.path()));
}
