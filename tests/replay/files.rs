//! Recordings and replays through the program.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::program::{tidewatch_in, Said};

/// The files of the first source, with how many records each has: numbered, so that any two processes read some.
const INPUTS: [(&str, i64); 4] = [("n0.csv", 4_000), ("n1.csv", 1_500), ("n2.csv", 1_500), ("n3.csv", 0)];

/// A folder with a pipeline over two sources, and what they read.
pub(super) fn files() -> TempDir {
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
    for (name, lines) in INPUTS {
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

pub(super) const STREAMS: [&str; 4] = ["anomalies", "verdicts", "late", "dead_letters"];

/// The files of the pipeline's own sinks, or of a replay.
pub(super) fn streams(folder: &Path, name: impl Fn(&str) -> String) -> Vec<String> {
    STREAMS.map(|stream| fs::read_to_string(folder.join(name(stream))).expect("it is written")).into()
}

/// A folder with a recording `r.tide` of what the pipeline reads, made on a cluster, and with what its sinks got.
pub(super) fn recorded_on(cluster: &[&str]) -> (TempDir, Vec<String>) {
    let folder = files();
    assert_eq!(Some(0), tidewatch_in(&folder, ["run", "p.toml", "-q"]).code);
    let expected = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    let said = tidewatch_in(&folder, [&["run", "p.toml", "--record", "r.tide"], cluster].concat());
    assert_eq!((Some(0), ""), (said.code, &*said.out), "{}", said.err);
    let parts = said.err.lines().filter(|line| line.starts_with("r.tide") && line.contains(" recorded, "));
    assert_eq!(if cluster.contains(&"-n") { 2 } else { 1 }, parts.count(), "{}", said.err);
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own.iter().all(|text| text.lines().count() > 10), "{own:?}");
    assert!(expected == own, "recording has changed something");
    // A replay must do without what was recorded, and leave the sinks alone.
    let inputs = INPUTS.map(|(name, _)| name).into_iter().chain(["other.jsonl"]).map(str::to_owned);
    for name in inputs.chain(STREAMS.map(|stream| format!("own-{stream}.jsonl"))) {
        fs::remove_file(folder.path().join(name)).expect("it is there");
    }
    (folder, own)
}

pub(super) fn recorded() -> (TempDir, Vec<String>) {
    recorded_on(&["-w", "2"])
}

/// The names of all that is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it is there").file_name();
    let mut names: Vec<_> = entries.map(|entry| name(entry).display().to_string()).collect();
    names.sort();
    names
}

#[test]
fn run_records_and_replay_gives_the_same_files_on_any_cluster_and_touches_nothing_else() {
    for (recording, parts) in
        [(&["-w", "2"][..], &["r.tide"][..]), (&["-n", "2", "-w", "2"], &["r.tide.0", "r.tide.1"])]
    {
        let (folder, own) = recorded_on(recording);
        for cluster in [
            &["-w", "1"][..],
            &["-w", "2"],
            &["-w", "4"],
            &["-n", "2"],
            &["-n", "2", "-w", "2"],
            &["-n", "3"],
        ] {
            let replay = ["replay", "r.tide", "p.toml", "--out", "again/there"];
            let said = tidewatch_in(&folder, [&replay, cluster].concat());
            assert_eq!((Some(0), ""), (said.code, &*said.out), "{}", said.err);
            assert!(said.err.starts_with("7,501 records: ") && said.err.lines().count() == 4, "{}", said.err);
            let again = streams(&folder.path().join("again/there"), |stream| format!("{stream}.jsonl"));
            assert!(own == again, "recorded at {recording:?}, replayed at {cluster:?}");
        }
        assert_eq!([&["again", "p.toml"], parts].concat(), names(folder.path()));
    }
}

#[test]
fn a_replay_gives_each_stream_to_whoever_asks() {
    let (folder, own) = recorded();
    // Anomalies to standard output; or another stream; JSON for programs.
    let Said { code, out, err } = tidewatch_in(folder.path(), ["replay", "r.tide", "p.toml", "-q"]);
    assert_eq!((Some(0), &own[0], ""), (code, &out, &*err));
    let Said { code, out, .. } =
        tidewatch_in(folder.path(), ["replay", "r.tide", "p.toml", "-q", "--stream", "late"]);
    assert_eq!((Some(0), &own[2]), (code, &out));
    let json = ["replay", "r.tide", "p.toml", "--stream", "evictions", "--json"];
    let Said { out, .. } = tidewatch_in(folder.path(), json);
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!(7_501, summary["records"]);
}

#[test]
fn record_alone_computes_nothing_and_replays_the_same() {
    let folder = files();
    let Said { code, out, err } =
        tidewatch_in(folder.path(), ["record", "p.toml", "--out", "alone.tide", "--json"]);
    assert_eq!((Some(0), ""), (code, &*err));
    let summary: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((5, 7_501), (summary["partitions"].as_u64().unwrap(), summary["records"].as_u64().unwrap()));
    assert_eq!(summary["bytes"], folder.path().join("alone.tide").metadata().unwrap().len());
    assert!(!folder.path().join("own-anomalies.jsonl").exists());
    assert_eq!(Some(0), tidewatch_in(folder.path(), ["run", "p.toml", "-q"]).code);
    assert_eq!(
        Some(0),
        tidewatch_in(folder.path(), ["replay", "alone.tide", "p.toml", "--out", "again"]).code
    );
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own == streams(&folder.path().join("again"), |stream| format!("{stream}.jsonl")));
}

#[test]
fn a_replay_refuses_what_it_must_not_do() {
    let (folder, _) = recorded();
    let refused = |arguments: &[&str]| {
        let Said { code, out, err } = tidewatch_in(folder.path(), arguments);
        assert_eq!((Some(2), ""), (code, &*out), "{arguments:?}: {err}");
        err
    };
    fs::copy(folder.path().join("r.tide"), folder.path().join("late.jsonl")).unwrap();
    let err = refused(&["replay", "late.jsonl", "p.toml", "--out", "."]);
    assert!(err.contains("late.jsonl belongs to the recording"), "{err}");
    assert!(refused(&["record", "p.toml", "--out", "r.tide"]).contains("never overwrites"));
    assert!(refused(&["run", "p.toml", "--record", "r.tide"]).contains("never overwrites"));
    assert!(refused(&["replay", "p.toml", "p.toml"]).contains("p.toml is not a recording"));
    for arguments in [
        &["--speed", "0"][..],
        &["--speed", "fast"],
        &["--from", "yesterday"],
        &["--stream", "anomaly"],
        &["--stream", "late", "--stream", "verdicts"],
        // The pipeline does not say which alerts are one.
        &["--stream", "incidents"],
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
fn a_file_of_the_pipeline_is_not_for_replays_and_recordings() {
    let (folder, _) = recorded();
    let text = fs::read_to_string(folder.path().join("p.toml")).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    // Among the files of a source, and of a recording that is one; as a sink; as itself.
    put("q.toml", &text.replace("other.jsonl", "in/*.jsonl").replace("own-verdicts", "./out/late"));
    let recording = "connector = \"recording\"\noptions = { path = \"other.tide\", source = \"others\" }";
    put("s.toml", &text.replace("connector = \"file\"\noptions = { path = \"other.jsonl\" }", recording));
    fs::create_dir(folder.path().join("in")).unwrap();
    put("in/anomalies.jsonl", "precious");
    put("late.jsonl", &text);
    std::os::unix::fs::symlink("in", folder.path().join("link")).unwrap();
    let among = |source: &str| format!("it is among the files of source \"{source}\"");
    let (hosts, others) = (among("hosts"), among("others"));
    let (sink, itself) = ("it is the \"path\" of a sink", "it is the pipeline file itself");
    for (arguments, file, what) in [
        (&["replay", "r.tide", "q.toml", "--out", "in"][..], "in/anomalies.jsonl", &*others),
        (&["replay", "r.tide", "q.toml", "--out", "link"], "link/anomalies.jsonl", &others),
        (&["replay", "r.tide", "q.toml", "--out", "in", "--stream", "late"], "in/late.jsonl", &others),
        (&["replay", "r.tide", "q.toml", "--out", "out", "--stream", "late"], "out/late.jsonl", sink),
        (&["replay", "r.tide", "late.jsonl", "--out", "."], "./late.jsonl", itself),
        (&["run", "q.toml", "--record", "in/r.jsonl"], "in/r.jsonl", &others),
        (&["run", "q.toml", "--record", "n.csv"], "n.csv", &hosts),
        (&["run", "s.toml", "--record", "other.tide", "-n", "2"], "other.tide.0", &others),
        (&["record", "q.toml", "--out", "link/r.jsonl"], "link/r.jsonl", &others),
        (&["record", "p.toml", "--out", "./own-late.jsonl"], "./own-late.jsonl", sink),
        (&["run", "p.toml", "--record", "./own-late.jsonl"], "./own-late.jsonl", sink),
        (&["record", "p.toml", "--out", "p.toml"], "p.toml", itself),
    ] {
        let before = names(folder.path());
        let Said { code, out, err } = tidewatch_in(folder.path(), arguments);
        assert_eq!((Some(2), ""), (code, &*out), "{arguments:?}: {err}");
        let expected = format!("{file} belongs to the pipeline: {what}");
        assert!(err.starts_with(&expected) && err.lines().count() == 1, "{arguments:?}: {err}");
        assert_eq!(before, names(folder.path()), "{arguments:?}");
    }
    assert_eq!("precious", fs::read_to_string(folder.path().join("in/anomalies.jsonl")).unwrap());
    assert_eq!(vec!["anomalies.jsonl"], names(&folder.path().join("in")));
}

#[test]
fn a_start_that_fails_leaves_no_recording_in_the_way_of_the_next() {
    let folder = files();
    let path = |name: &str| folder.path().join(name);
    let hide = |name: &str| fs::rename(path(name), path("hidden")).expect("it is there");
    for (start, wrong) in [
        (&["run", "p.toml", "--record", "r.tide"][..], &["gone", "dangling", "sink"][..]),
        (&["run", "p.toml", "--record", "r.tide", "-w", "4"], &["dangling", "sink"]),
        (&["record", "p.toml", "--out", "r.tide", "-w", "4"], &["gone", "dangling"]),
        // Where one process cannot open what another one can, that one may have read something by then.
        (&["run", "p.toml", "--record", "r.tide", "-n", "2"], &["gone"]),
        (&["record", "p.toml", "--out", "r.tide", "-n", "2"], &["gone"]),
    ] {
        for wrong in wrong {
            let sink = path("own-late.jsonl");
            match *wrong {
                "sink" => {
                    let _ = fs::remove_file(&sink);
                    fs::create_dir(&sink).expect("it can be made");
                }
                wrong => {
                    hide("other.jsonl");
                    if wrong == "dangling" {
                        std::os::unix::fs::symlink("nowhere", path("other.jsonl")).expect("it can be made");
                    }
                }
            }
            let said = tidewatch_in(&folder, start);
            let code = if *wrong == "dangling" { 1 } else { 2 };
            assert_eq!((Some(code), ""), (said.code, &*said.out), "{start:?}, {wrong}: {}", said.err);
            assert!(!said.err.contains("recorded"), "{start:?}, {wrong}: {}", said.err);
            let left = names(folder.path()).into_iter().filter(|name| name.starts_with("r.tide"));
            assert_eq!(Vec::<String>::new(), left.collect::<Vec<_>>(), "{start:?}, {wrong}");
            match *wrong {
                "sink" => fs::remove_dir(&sink).expect("it is empty"),
                _ => fs::rename(path("hidden"), path("other.jsonl")).expect("it is there"),
            }
        }
        let said = tidewatch_in(&folder, [start, &["-q"]].concat());
        assert_eq!((Some(0), ""), (said.code, &*said.err), "{start:?}");
        assert_eq!(Some(0), tidewatch_in(&folder, ["replay", "r.tide", "p.toml", "-q"]).code, "{start:?}");
        for part in ["r.tide", "r.tide.0", "r.tide.1"] {
            let _ = fs::remove_file(path(part));
        }
    }
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
    let Said { code, err, .. } = tidewatch_in(folder.path(), ["run", "q.toml", "-q", "-w", "2"]);
    assert_eq!((Some(0), ""), (code, &*err));
    assert!(own == streams(folder.path(), |stream| format!("own-{stream}.jsonl")));

    fs::write(folder.path().join("q.toml"), text.replace(", source = \"others\"", "")).unwrap();
    assert_eq!(Some(0), tidewatch_in(folder.path(), ["check", "q.toml"]).code);
    let Said { code, err, .. } = tidewatch_in(folder.path(), ["run", "q.toml", "-q"]);
    assert_eq!((Some(2), "r.tide has 2 sources: name one as \"source\"\n"), (code, &*err));
}

#[test]
fn a_range_is_played_alone() {
    let (folder, _) = recorded();
    let arguments = ["replay", "r.tide", "p.toml", "-q", "--stream", "verdicts"];
    let range = ["--from", "2024-01-01T00:01:00Z", "--to", "2024-01-01T00:02:00Z"];
    let Said { code, out, .. } = tidewatch_in(folder.path(), [&arguments[..], &range].concat());
    assert_eq!(Some(0), code);
    let minutes = |text: &str| text.lines().filter(|line| line.contains("T00:01:")).count();
    assert!(minutes(&out) > 1_000 && minutes(&out) == out.lines().count(), "{}", out.lines().count());
}

#[test]
fn a_replay_at_a_speed_takes_its_time() {
    let (folder, own) = recorded();
    // 400 seconds of event time.
    let start = Instant::now();
    let Said { code, out, .. } =
        tidewatch_in(folder.path(), ["replay", "r.tide", "p.toml", "-q", "--speed", "200x", "-w", "2"]);
    let elapsed = start.elapsed();
    assert_eq!((Some(0), &own[0]), (code, &out));
    assert!(elapsed > Duration::from_millis(1_900) && elapsed < Duration::from_secs(8), "{elapsed:?}");
}
