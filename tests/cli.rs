//! The command line, as its users and their scripts meet it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use tidewatch_dataflows::detectors::Catalogue;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewatch");

/// What a command said and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn tidewatch<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    let output =
        Command::new(PROGRAM).args(arguments).timeout(Duration::from_secs(30)).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A folder with a pipeline file `p.toml`; `{}` in its text is the folder.
fn pipeline(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("there is room for it");
    let path = folder.path().join("p.toml");
    fs::write(&path, text.replace("{}", &folder.path().display().to_string())).expect("it can be written");
    let path = path.display().to_string();
    (folder, path)
}

fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}

const GENERATED: &str = r#"
name = "generated"
[[source]]
name = "numbers"
connector = "generator"
options = { records = 5000, keys = 20, partitions = 3, disorder = "50ms", late = 0.02, anomalies = 0.01 }
lateness = "50ms"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 4
[[sink]]
stream = "anomalies"
connector = "file"
options = { path = "{}/out.jsonl" }
"#;

/// Everything that comes in is an anomaly; the sink is added.
const STDIN: &str = r#"
name = "stdin"
[[source]]
name = "lines"
connector = "stdio"
format = { kind = "csv", header = false }
time = { field = "1", unit = "s" }
key = ["2"]
value = "3"
[[detect]]
name = "all"
detector = "static"
params = { max = 0 }
threshold = 1
"#;

#[test]
fn help_names_options_and_exit_codes() {
    let global = ["--verbose", "--quiet", "--json", "--help"];
    let own: [(&[&str], &[&str]); 7] = [
        (&[], &["run", "record", "replay", "check", "generate", "detectors", "--version"]),
        (&["run"], &["--workers", "--record", "PIPELINE.toml"]),
        (&["record"], &["--workers", "--out", "PIPELINE.toml"]),
        (
            &["replay"],
            &["--workers", "--speed", "--from", "--to", "--out", "--stream", "RECORDING", "PIPELINE.toml"],
        ),
        (&["check"], &["PIPELINE.toml"]),
        (
            &["generate"],
            &["--out", "--labels", "--seed", "--keys", "--partitions", "--records", "--rate", "--late"],
        ),
        (&["detectors"], &["NAME"]),
    ];
    for (command, options) in own {
        let said = tidewatch(command.iter().chain(&["--help"]));
        assert_eq!(Some(0), said.code);
        for word in
            global.iter().chain(options).chain(&["Exit codes: 0 ", "1 ", "2 usage", "130 interrupted"])
        {
            assert!(said.out.contains(word), "{command:?} --help lacks {word}:\n{}", said.out);
        }
    }
}

#[test]
fn run_tells_one_summary_in_which_every_record_is_accounted_for() {
    let (folder, path) = pipeline(GENERATED);
    let said = tidewatch(["run", &path, "--json", "-w", "2"]);
    assert_eq!((Some(0), ""), (said.code, said.err.as_str()));
    assert_eq!(1, said.out.lines().count(), "{}", said.out);
    let summary: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let count = |name: &str| summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"));
    assert_eq!(5000, count("records"));
    assert_eq!(5000, count("scored") + count("late") + count("malformed"));
    assert!(count("late") > 0 && count("anomalies") > 0, "{summary}");
    assert_eq!(count("anomalies"), read(&folder, "out.jsonl").lines().count() as u64);
    assert_eq!(Value::Bool(false), summary["interrupted"]);

    let said = tidewatch(["run", &path, "--quiet"]);
    assert_eq!((Some(0), "", ""), (said.code, said.out.as_str(), said.err.as_str()));
    let said = tidewatch(["run", &path]);
    assert_eq!((Some(0), ""), (said.code, said.out.as_str()));
    assert!(said.err.contains("5,000 records") && said.err.contains("stream = \"late\""), "{}", said.err);
}

#[test]
fn two_runs_give_identical_files() {
    let (folder, path) = pipeline(GENERATED);
    let mut runs = ["1", "4"].map(|workers| {
        assert_eq!(Some(0), tidewatch(["run", &path, "-q", "-w", workers]).code);
        read(&folder, "out.jsonl")
    });
    assert!(!runs[0].is_empty());
    let [first, second] = &mut runs;
    assert_eq!(first, second);
}

#[test]
fn check_tells_right_from_wrong() {
    let (_folder, path) = pipeline(GENERATED);
    let said = tidewatch(["check", &path]);
    assert_eq!((Some(0), ""), (said.code, said.err.as_str()));
    assert!(said.out.contains("is valid"), "{}", said.out);
    assert_eq!("", tidewatch(["check", &path, "-q"]).out);

    let (_folder, path) = pipeline(&GENERATED.replace("ewma-z", "emwa-z").replace("lateness", "latenes"));
    for command in ["check", "run"] {
        let said = tidewatch([command, &path]);
        assert_eq!((Some(2), ""), (said.code, said.out.as_str()));
        let expected = [":7:1: ", "did you mean \"lateness\"?", ":10:12: ", "did you mean \"ewma-z\"?"];
        for part in expected {
            assert!(said.err.contains(part), "{command} lacks {part}:\n{}", said.err);
        }
        assert!(said.err.lines().all(|line| line.starts_with(&path)), "{}", said.err);
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["run"][..], &["fly"], &["run", "p.toml", "-w", "0"], &["generate", "--keys", "0"]] {
        let said = tidewatch(arguments);
        assert_eq!((Some(2), ""), (said.code, said.out.as_str()), "{arguments:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_read_exits_with_1_and_is_named() {
    let said = tidewatch(["run", "no/such.toml"]);
    assert_eq!(Some(1), said.code);
    assert!(said.err.starts_with("no/such.toml: "), "{}", said.err);

    // A link that leads nowhere: a file that is there but cannot be opened, even by root.
    let input = "\"file\"\noptions = { path = \"{}/*.csv\" }";
    let (folder, path) = pipeline(&STDIN.replace("\"stdio\"", input));
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(2), said.code, "a pattern that no file matches is a mistake in the pipeline");
    let link = folder.path().join("link.csv");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).expect("it can be made");
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(1), said.code, "{}", said.err);
    assert!(said.err.starts_with(&link.display().to_string()), "{}", said.err);

    let sink =
        "[[sink]]\nstream = \"late\"\nconnector = \"file\"\noptions = { path = \"{}/no/late.jsonl\" }\n";
    let (_folder, path) = pipeline(&[GENERATED, sink].concat());
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(1), said.code, "{}", said.err);
    assert!(said.err.contains("no/late.jsonl: "), "{}", said.err);
}

#[test]
fn every_detector_is_listed_and_described() {
    let list = tidewatch(["detectors"]).out;
    for info in Catalogue::default().iter() {
        assert!(list.lines().any(|line| line.starts_with(info.name)), "{} is not in\n{list}", info.name);
        let said = tidewatch(["detectors", info.name]);
        assert_eq!(Some(0), said.code);
        for part in [info.summary, info.score, info.cost, info.state, info.source] {
            assert!(said.out.contains(part), "{} lacks {part}:\n{}", info.name, said.out);
        }
        for parameter in &info.parameters {
            let line = format!("  {}: {}, ", parameter.name, parameter.kind);
            assert!(said.out.contains(&line) && said.out.contains(parameter.doc), "{line}:\n{}", said.out);
        }
        let json: Value =
            serde_json::from_str(&tidewatch(["detectors", info.name, "--json"]).out).expect("is JSON");
        assert_eq!(info.name, json["name"]);
        assert_eq!(info.parameters.len(), json["parameters"].as_array().map_or(0, Vec::len));
    }
    insta::with_settings!({
        snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!("detectors-ewma-z", tidewatch(["detectors", "ewma-z"]).out);
    });
}

#[test]
fn an_unknown_detector_is_answered_with_a_suggestion() {
    let said = tidewatch(["detectors", "emwa-z"]);
    assert_eq!((Some(2), ""), (said.code, said.out.as_str()));
    assert_eq!("unknown detector \"emwa-z\"; did you mean \"ewma-z\"?\n", said.err);
}

#[test]
fn generated_records_are_the_same_for_a_seed_and_readable() {
    let generate = |seed: &str, more: &[&str]| {
        let said =
            tidewatch(["generate", "--records", "2000", "--keys", "5", "--seed", seed].iter().chain(more));
        assert_eq!((Some(0), ""), (said.code, said.err.as_str()));
        said.out
    };
    assert_eq!(generate("1", &[]), generate("1", &[]));
    assert_ne!(generate("1", &[]), generate("2", &[]));
    assert_eq!(2000, generate("1", &["--json"]).lines().count());

    for (name, format) in [("g.csv", "csv"), ("g.jsonl", "json")] {
        let text = format!(
            r#"
name = "again"
[[source]]
name = "file"
connector = "file"
options = {{ path = "{{}}/{name}" }}
format = "{format}"
time = "timestamp"
key = ["key"]
value = "value"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 4
"#
        );
        let (folder, path) = pipeline(&text);
        let out = folder.path().join(name).display().to_string();
        assert_eq!("", generate("1", &["--out", &out]));
        let said = tidewatch(["run", &path, "--json"]);
        let last = said.out.lines().last().expect("a summary");
        let summary: Value = serde_json::from_str(last).expect("it is JSON");
        assert_eq!(
            (Some(2000), Some(0)),
            (summary["scored"].as_u64(), summary["malformed"].as_u64()),
            "{name}"
        );
    }
}

fn start(arguments: &[&str]) -> Child {
    let mut process = Process::new(PROGRAM);
    process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().expect("it runs")
}

/// Waits for the end of a process, but not longer than `limit`; returns its exit code.
fn end(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    loop {
        match child.try_wait().expect("it is ours") {
            Some(status) => return status.code(),
            None if start.elapsed() > limit => {
                child.kill().expect("it is ours");
                panic!("it still runs after {limit:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn interrupt(child: &Child) {
    let status =
        Process::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is kill");
    assert!(status.success());
}

#[test]
fn a_reader_that_goes_early_is_no_error() {
    let (_folder, path) =
        pipeline(&STDIN.replace("\"stdio\"", "\"file\"\noptions = { path = \"{}/lines.csv\" }"));
    let lines = Path::new(&path).with_file_name("lines.csv");
    fs::write(lines, (0..20_000).map(|at| format!("{at},k,1\n")).collect::<String>())
        .expect("it can be written");
    for arguments in [&["run", &path, "-q"][..], &["generate", "--records", "200000"]] {
        let mut child = start(arguments);
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::with_capacity(64, out).read_line(&mut line).expect("there is a line");
        assert!(line.ends_with('\n'), "{line:?}");
        assert_eq!(Some(0), end(&mut child, Duration::from_secs(20)), "{arguments:?}");
        let error = std::io::read_to_string(child.stderr.take().expect("it is piped")).expect("it is text");
        assert_eq!("", error, "{arguments:?}");
    }
}

#[test]
fn an_interrupted_run_has_written_what_was_final_and_no_more() {
    let sink =
        "[[sink]]\nstream = \"anomalies\"\nconnector = \"file\"\noptions = { path = \"{}/out.jsonl\" }\n";
    let (folder, path) = pipeline(&[STDIN, sink].concat());
    let mut child = start(&["run", &path, "--json", "-w", "2"]);
    let input = child.stdin.as_mut().expect("it is piped");
    for at in 0..100 {
        writeln!(input, "{at},k{},1", at % 7).expect("it reads");
    }
    input.flush().expect("it reads");
    // The last record is at the watermark, so it is not final.
    let waiting = Instant::now();
    while read(&folder, "out.jsonl").lines().count() < 99 && waiting.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    assert_eq!(Some(130), end(&mut child, Duration::from_secs(2)));
    assert_eq!(99, read(&folder, "out.jsonl").lines().count());
    let out = std::io::read_to_string(child.stdout.take().expect("it is piped")).expect("it is text");
    let summary: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((Some(100), Some(99)), (summary["records"].as_u64(), summary["scored"].as_u64()));
    assert_eq!(Value::Bool(true), summary["interrupted"]);
}

#[test]
fn a_second_interrupt_ends_a_run_that_cannot_end() {
    let (_folder, path) = pipeline(STDIN);
    let mut child = start(&["run", &path, "-q"]);
    let mut input = child.stdin.take().expect("it is piped");
    // Nobody reads what it writes, so it waits for ever.
    let lines: String = (0..5_000).map(|at| format!("{at},k,1\n")).collect();
    input.write_all(lines.as_bytes()).expect("it reads");
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("it is ours").is_none(), "it has ended at once");
    interrupt(&child);
    assert_eq!(Some(130), end(&mut child, Duration::from_secs(1)));
}
