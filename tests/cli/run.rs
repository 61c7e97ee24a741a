//! `tidewatch run`.

use std::fs;
use std::io::Write;
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use crate::harness::program::{pipeline, read, tidewatch, PROGRAM};

use super::{sink, GENERATED, STDIN};

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
