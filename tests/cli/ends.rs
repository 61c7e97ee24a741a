//! Runs that are interrupted, or whose readers go.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::program::{end, interrupt, pipeline, read, start, tidewatch};

use super::{many_lines, sink, STDIN};

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
fn a_recording_completes_when_the_reader_of_standard_output_has_gone() {
    for sinks in ["", &sink("stdout", "")] {
        let (folder, path) = many_lines(sinks);
        let recording = folder.path().join("r.tide").display().to_string();
        for cluster in [&["-w", "2"][..], &["-n", "2"]] {
            let mut child = start(&[&["run", &path, "--record", &recording], cluster].concat());
            drop(child.stdout.take());
            assert_eq!(Some(0), end(&mut child, Duration::from_secs(20)), "{cluster:?}");
            let said = tidewatch(["replay", &recording, &path, "-q"]);
            assert_eq!((Some(0), 20_000), (said.code, said.out.lines().count()), "{cluster:?}: {}", said.err);
            for part in ["", ".0", ".1"] {
                let _ = fs::remove_file(recording.clone() + part);
            }
        }
    }
}

#[test]
fn a_pipe_is_no_sink() {
    let (folder, path) = many_lines(&sink("file", "options = { path = \"{}/pipe\" }"));
    let pipe = folder.path().join("pipe");
    assert!(Process::new("mkfifo").arg(&pipe).status().expect("there is mkfifo").success());
    let mut child = start(&["run", &path, "-q"]);
    assert_eq!(Some(2), end(&mut child, Duration::from_secs(20)));
    let error = std::io::read_to_string(child.stderr.take().expect("it is piped")).expect("it is text");
    assert!(error.starts_with(&format!("{} is neither", pipe.display())), "{error}");
}

#[test]
fn another_sink_that_has_lost_its_reader_is_a_failure() {
    let (_folder, path) = many_lines(&sink("stderr", ""));
    let mut child = start(&["run", &path, "-q"]);
    drop(child.stderr.take());
    assert_eq!(Some(1), end(&mut child, Duration::from_secs(20)));
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
