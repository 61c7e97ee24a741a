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
pub(crate) fn pipeline(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("there is room for it");
    let path = folder.path().join("p.toml");
    fs::write(&path, text.replace("{}", &folder.path().display().to_string())).expect("it can be written");
    let path = path.display().to_string();
    (folder, path)
}

pub(crate) fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}

pub(crate) const GENERATED: &str = r#"
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
pub(crate) const STDIN: &str = r#"
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
        (
            &["run"],
            &[
                "--workers",
                "--processes",
                "--process ",
                "--hostfile",
                "--record",
                "PIPELINE.toml",
                "Results go to",
            ],
        ),
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
        for word in global.iter().chain(options).chain(&[
            "Example",
            "  tidewatch ",
            "Exit codes: 0 ",
            "1 ",
            "2 usage",
            "130 interrupted",
        ]) {
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
fn check_reports_on_every_file() {
    let (_right, right) = pipeline(GENERATED);
    let (_wrong, wrong) = pipeline(&GENERATED.replace("ewma-z", "emwa-z"));
    let (_other, other) = pipeline(&GENERATED.replace("threshold", "treshold"));
    let said = tidewatch(["check", &wrong, &right, &other, "no/such.toml"]);
    assert_eq!(Some(2), said.code);
    assert!(said.out.starts_with(&format!("{right}: ")), "{}", said.out);
    for file in [&wrong, &other, "no/such.toml"] {
        assert!(said.err.lines().any(|line| line.starts_with(file)), "{}", said.err);
    }
}

#[test]
fn a_run_that_cannot_start_empties_no_file() {
    let source = r#"
[[source]]
name = "missing"
connector = "file"
options = { path = "{}/NAME.csv" }
format = "csv"
time = "timestamp"
key = ["key"]
value = "value"
"#;
    let (head, tail) = GENERATED.split_once("[[detect]]").expect("it has one");
    for (name, code) in [("nowhere", 2), ("dangling*", 1)] {
        let text = [head, &source.replace("NAME", name), "[[detect]]", tail].concat();
        let (folder, path) = pipeline(&text);
        let dangling = folder.path().join("dangling.csv");
        std::os::unix::fs::symlink(folder.path().join("void"), dangling).expect("it can be made");
        fs::write(folder.path().join("out.jsonl"), "precious").expect("it can be written");
        for workers in ["1", "2", "4"] {
            let said = tidewatch(["run", &path, "-q", "-w", workers]);
            assert_eq!(Some(code), said.code, "{name} -w{workers}: {}", said.err);
            assert_eq!("precious", read(&folder, "out.jsonl"), "{name} -w{workers}");
        }
    }
}

#[test]
fn a_run_without_events_leaves_an_empty_file() {
    let (folder, path) = pipeline(&GENERATED.replace("records = 5000", "records = 0"));
    fs::write(folder.path().join("out.jsonl"), "old").expect("it can be written");
    assert_eq!(Some(0), tidewatch(["run", &path, "-q", "-w", "2"]).code);
    assert_eq!(Some(String::new()), fs::read_to_string(folder.path().join("out.jsonl")).ok());
}

#[test]
fn a_sink_never_empties_what_a_source_reads() {
    let text = GENERATED.replace(
        "connector = \"generator\"\noptions = { records = 5000, keys = 20, partitions = 3, disorder = \"50ms\", late = 0.02, anomalies = 0.01 }",
        "connector = \"file\"\noptions = { path = \"{}/*.jsonl\" }\nformat = \"json\"\ntime = \"t\"\nvalue = \"v\"",
    );
    let (folder, path) = pipeline(&text);
    fs::write(folder.path().join("in.jsonl"), "precious").expect("it can be written");
    std::os::unix::fs::symlink("in.jsonl", folder.path().join("out.jsonl")).expect("it can be made");
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(2), said.code, "{}", said.err);
    assert!(said.err.starts_with(&format!("{path}:")) && said.err.contains("would empty"), "{}", said.err);
    assert_eq!("precious", read(&folder, "in.jsonl"));
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
        for parameter in json["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["required"].is_boolean(), "{parameter}");
            assert!(parameter["default"].is_null() || parameter["required"] == false, "{parameter}");
        }
        // What it shows of a pipeline file is one, but for the threshold.
        let (_, sample) = said.out.split_once("in a pipeline file\n").expect("it shows one");
        let (head, _) = GENERATED.split_once("[[detect]]").expect("it has one");
        let (_folder, path) = pipeline(&[head, &sample.replace('…', "1")].concat());
        let checked = tidewatch(["check", &path]);
        assert_eq!(Some(0), checked.code, "{}\n{sample}", checked.err);
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

/// Twenty thousand anomalies, to standard output and to a file or a pipe.
fn many_lines(sinks: &str) -> (TempDir, String) {
    let file = STDIN.replace("\"stdio\"", "\"file\"\noptions = { path = \"{}/lines.csv\" }");
    let (folder, path) = pipeline(&[&file, sinks].concat());
    fs::write(
        folder.path().join("lines.csv"),
        (0..20_000).map(|at| format!("{at},k,1\n")).collect::<String>(),
    )
    .expect("it can be written");
    (folder, path)
}

fn sink(connector: &str, options: &str) -> String {
    format!("[[sink]]\nstream = \"anomalies\"\nconnector = \"{connector}\"\n{options}\n")
}

#[test]
fn other_sinks_complete_when_the_reader_of_standard_output_has_gone() {
    let sinks = [sink("stdout", ""), sink("file", "options = { path = \"{}/out.jsonl\" }")].concat();
    let (folder, path) = many_lines(&sinks);
    let mut child = start(&["run", &path, "-q"]);
    drop(child.stdout.take());
    assert_eq!(Some(0), end(&mut child, Duration::from_secs(20)));
    assert_eq!(20_000, read(&folder, "out.jsonl").lines().count());
}

#[test]
fn a_pipe_that_is_a_sink_and_has_lost_its_reader_is_a_failure() {
    let (folder, path) = many_lines(&sink("file", "options = { path = \"{}/pipe\" }"));
    let pipe = folder.path().join("pipe");
    assert!(Process::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    let mut child = start(&["run", &path, "-q"]);
    // Opens, which lets the run go on, and reads nothing.
    drop(fs::File::open(&pipe).expect("the run opens it too"));
    assert_eq!(Some(1), end(&mut child, Duration::from_secs(20)));
    let error = std::io::read_to_string(child.stderr.take().expect("it is piped")).expect("it is text");
    assert!(error.starts_with(&pipe.display().to_string()), "{error}");
}

#[test]
fn nobody_needs_to_take_what_goes_to_standard_error() {
    let (_folder, path) = pipeline(GENERATED);
    for arguments in [&["run", &path, "-vv"][..], &["run", "no/such.toml"], &["check", "no/such.toml"]] {
        let expected = if arguments.len() == 3 { 0 } else { 1 };
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
        let status = Process::new(PROGRAM).args(arguments).stderr(full).stdout(Stdio::null()).status();
        assert_eq!(Some(expected), status.expect("it runs").code(), "{arguments:?}");
        let mut child = start(arguments);
        drop(child.stderr.take());
        assert_eq!(Some(expected), end(&mut child, Duration::from_secs(20)), "{arguments:?}");
    }
}

#[test]
fn more_is_said_with_v_and_even_more_with_vv() {
    let (_folder, path) = many_lines("");
    let [none, info, debug] = ["-q", "-v", "-vv"].map(|level| tidewatch(["run", &path, level]).err);
    assert_eq!("", none);
    for (word, at_info) in
        [("opened partition", true), ("opened sink", true), ("run ended", true), ("partition ended", false)]
    {
        assert_eq!(at_info, info.contains(word), "{word}: {info}");
        assert!(debug.contains(word), "{word}: {debug}");
    }
}

#[test]
fn generating_ends_with_a_whole_line_when_interrupted() {
    for signal in ["-INT", "-TERM"] {
        let mut child = start(&["generate", "--records", "1000000000"]);
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("there is a line");
        let kill = Process::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("there is kill").success());
        let rest = std::io::read_to_string(out).expect("it is text");
        assert!(rest.ends_with('\n'));
        assert_eq!(Some(130), end(&mut child, Duration::from_secs(5)), "{signal}");
    }
}

/// What a command shows on a terminal of this width; `None` where there is no `script` to make one.
fn on_terminal(columns: usize, command: &str) -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    let output = Process::new("script")
        .args(["-qec", &format!("stty cols {columns} rows 40; {command}"), "/dev/null"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("OUT", folder.path().join("out.jsonl"))
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_terminal_shows_a_table_that_fits_and_a_bar_below_it() {
    let run = format!("{PROGRAM} run examples/nab.toml");
    for columns in [80, 100, 160] {
        let Some(shown) = on_terminal(columns, &run) else { return };
        let rows = |line: &&str| line.contains("failure.csv");
        let table: Vec<_> = shown.split(['\n', '\r']).filter(rows).collect();
        assert!(table.len() > 3, "{shown}");
        for line in table {
            // What moves the cursor or clears a line takes no room.
            let text: String = line.split('\u{1b}').enumerate().fold(String::new(), |text, (index, part)| {
                let end = part.find(|letter: char| letter.is_ascii_alphabetic()).map_or(0, |end| end + 1);
                text + if index == 0 { part } else { &part[end..] }
            });
            assert!(text.chars().count() <= columns, "{columns}: {text:?}");
        }
        assert!(shown.contains(" records, ") && shown.contains("/s, at "), "no bar: {shown:?}");
    }
    let Some(shown) = on_terminal(80, &format!("{run} 2>/dev/null")) else { return };
    assert!(!shown.contains("/s, at "), "{shown}");
}

#[test]
fn compressed_and_plain_files_give_the_same_csv_at_any_number_of_workers() {
    let text: String = (0..3_000).map(|at| format!("{at},k{},{}\n", at % 7, at % 11)).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).expect("a Vec takes all");
    let files = [
        ("csv", text.clone().into_bytes()),
        ("csv.gz", gz.finish().expect("a Vec takes all")),
        ("csv.zst", zstd::encode_all(text.as_bytes(), 1).expect("a Vec takes all")),
    ];
    let sink = sink("file", "format = \"csv\"\noptions = { path = \"{}/out.csv\" }");
    let mut written: Vec<String> = Vec::new();
    for (extension, bytes) in files {
        let source = format!("\"file\"\noptions = {{ path = \"{{}}/lines.{extension}\" }}");
        let (folder, path) = pipeline(&[&STDIN.replace("\"stdio\"", &source), sink.as_str()].concat());
        fs::write(folder.path().join(format!("lines.{extension}")), bytes).expect("it can be written");
        for workers in ["1", "2"] {
            let said = tidewatch(["run", &path, "-q", "-w", workers]);
            assert_eq!((Some(0), ""), (said.code, said.err.as_str()), "{extension} -w{workers}");
            written.push(read(&folder, "out.csv"));
        }
    }
    let header = "time,key.2,detector,value,score,expected,lower,upper,attribution,anomalous\n";
    assert!(written[0].starts_with(header), "{}", written[0]);
    // All but the zeros, and the header.
    assert_eq!(3_000 - 3_000_usize.div_ceil(11) + 1, written[0].lines().count());
    for (index, other) in written.iter().enumerate() {
        assert!(written[0] == *other, "run {index} differs");
    }
}

#[test]
fn a_followed_file_is_read_until_an_interruption() {
    let source = "\"file\"\noptions = { path = \"{}/lines.csv\", follow = true }";
    let sink = sink("file", "options = { path = \"{}/out.jsonl\" }");
    let (folder, path) = pipeline(&[&STDIN.replace("\"stdio\"", source), sink.as_str()].concat());
    let lines = folder.path().join("lines.csv");
    fs::write(&lines, "0,k,1\n1,k,1\n2,k").expect("it can be written");
    let mut child = start(&["run", &path, "--json"]);
    let wait_for = |count: usize| {
        let waiting = Instant::now();
        while read(&folder, "out.jsonl").lines().count() < count {
            assert!(waiting.elapsed() < Duration::from_secs(20), "{count} lines never come");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // The record at the watermark is not final.
    wait_for(1);
    let mut file = fs::OpenOptions::new().append(true).open(&lines).expect("it is there");
    file.write_all(b",1\n3,k,1\n").expect("it can be written");
    wait_for(3);
    interrupt(&child);
    assert_eq!(Some(130), end(&mut child, Duration::from_secs(5)));
    assert_eq!(3, read(&folder, "out.jsonl").lines().count());
    let out = std::io::read_to_string(child.stdout.take().expect("it is piped")).expect("it is text");
    let summary: Value = serde_json::from_str(&out).expect("it is JSON");
    assert_eq!((Some(4), Some(true)), (summary["records"].as_u64(), summary["interrupted"].as_bool()));
}
