//! Records at which user code panics: named, and set aside by the line that the message gives.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::processes::{start, Ended, SOON};
use crate::examples::example;
use crate::harness::program::{pipeline, read};

const PIPELINE: &str = r#"
name = "poisoned"
[[source]]
name = "loads"
connector = "file"
options = { path = "{}/*.csv" }
format = { kind = "csv", header = true }
time = { field = "t", unit = "s" }
key = ["host", "@file"]
value = "load"
lateness = "10s"
# here
[[detect]]
name = "it"
detector = "touchy"
threshold = 1000
[[sink]]
stream = "verdicts"
connector = "file"
options = { path = "{}/verdicts.jsonl" }
[[sink]]
stream = "dead_letters"
connector = "file"
options = { path = "{}/dead.jsonl" }
"#;

const RECORDS: usize = 200;

/// A folder with four files of records, two of them poisoned, and the pipeline; and what must be said of the poisoned ones.
fn poisoned() -> (TempDir, String, Vec<(String, u64, String)>) {
    let (folder, path) = pipeline(PIPELINE);
    let mut poisoned = Vec::new();
    for part in 0..4 {
        let file = folder.path().join(format!("p{part}.csv")).display().to_string();
        let mut text = "t,host,load\n".to_owned();
        for record in 0..RECORDS {
            let (time, host) = (record - record % 3, format!("h{}", record % 7));
            let is_poisoned = (part, record) == (1, 100) || (part, record) == (2, 150);
            if is_poisoned {
                let said = format!(
                    "this happened at the record at offset {} of partition \"{file}\" of source \"loads\", key \"{host}/{file}\", event time 1970-01-01T00:0{}:{:02}Z\n",
                    text.len(), time / 60, time % 60
                );
                poisoned.push((file.clone(), text.len() as u64, said));
            }
            text += &format!("{time},{host},{}\n", if is_poisoned { 13 } else { record % 13 });
        }
        fs::write(file, text).expect("it can be written");
    }
    (folder, path, poisoned)
}

fn run(arguments: &[&str]) -> Ended {
    start(example("poisoned").args(arguments)).end(SOON)
}

/// The line that a message says to write.
fn line(ended: &Ended) -> &str {
    assert_ne!(Some(0), ended.code, "{ended:?}");
    let advice = "to have it a dead letter at the next start, write under the [[source]] \"loads\":\n";
    let (_, rest) = ended.err.split_once(advice).unwrap_or_else(|| panic!("{}", ended.err));
    rest.lines().next().expect("it follows")
}

/// Puts the line under the source, in place of the one that may be there.
fn paste(path: &str, line: &str) {
    let text = fs::read_to_string(path).expect("it is there");
    let is_old = |line: &&str| line.starts_with("quarantine");
    let text: String = text.lines().filter(|line| !is_old(line)).map(|line| format!("{line}\n")).collect();
    fs::write(path, text.replace("# here\n", &format!("# here\n{line}\n"))).expect("it can be written");
}

/// Checks what a run without the poisoned records has written.
fn check(folder: &TempDir, poisoned: &[(String, u64, String)]) {
    assert_eq!(4 * RECORDS - 2, read(folder, "verdicts.jsonl").lines().count());
    let dead = read(folder, "dead.jsonl");
    let letters: Vec<Value> =
        dead.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    assert_eq!(2, letters.len(), "{dead}");
    for (letter, (file, offset, _)) in letters.iter().zip(poisoned) {
        assert_eq!(
            (Some(file.as_str()), Some(*offset)),
            (letter["partition"].as_str(), letter["offset"].as_u64())
        );
        assert_eq!(Some("quarantined"), letter["reason"].as_str());
        assert!(letter["raw"].as_str().is_some_and(|raw| raw.ends_with(",13")), "{letter}");
        assert!(letter["line"].as_u64().is_some_and(|line| line > 100), "{letter}");
    }
}

#[test]
fn a_record_at_which_a_detector_panics_is_named_and_can_be_set_aside() {
    let clusters = [&["-w", "1"][..], &["-w", "2"], &["-n", "2"], &["-n", "2", "-w", "2"]];
    // With provisional verdicts, the detector panics as the record arrives.
    for (cluster, eager) in clusters.iter().flat_map(|cluster| [(*cluster, false), (*cluster, true)]) {
        let (folder, path, poisoned) = poisoned();
        if eager {
            let sink = "[[sink]]\nstream = \"provisional\"\nconnector = \"blackhole\"\n";
            fs::write(&path, fs::read_to_string(&path).expect("it is there") + sink)
                .expect("it can be written");
        }
        let run = || run(&[&["run", &path, "-q"], cluster].concat());
        // With several workers, whichever record comes first.
        for _ in &poisoned {
            let ended = run();
            assert!(poisoned.iter().any(|(.., said)| ended.err.contains(said)), "{cluster:?}: {}", ended.err);
            assert!(ended.err.contains("13 brings bad luck"), "{}", ended.err);
            // One that ends by a signal has no code.
            assert_eq!(cluster.contains(&"-n").then_some(1), ended.code, "{cluster:?}");
            paste(&path, line(&ended));
        }
        let ended = run();
        assert_eq!((Some(0), ""), (ended.code, ended.err.as_str()), "{cluster:?}");
        check(&folder, &poisoned);
    }
}

#[test]
fn a_replay_names_such_a_record_too() {
    let (folder, path, poisoned) = poisoned();
    let recording = folder.path().join("all.tide").display().to_string();
    let recorded = run(&["record", &path, "-q", "-o", &recording]);
    assert_eq!(Some(0), recorded.code, "{recorded:?}");
    let out = folder.path().display().to_string();
    let replay =
        || run(&["replay", &recording, &path, "-q", "--out", &out, "-w", "2", "--stream", "dead_letters"]);
    for _ in 0..2 {
        let ended = replay();
        assert!(poisoned.iter().any(|(.., said)| ended.err.contains(said.as_str())), "{}", ended.err);
        paste(&path, line(&ended));
    }
    let ended = replay();
    assert_eq!((Some(0), ""), (ended.code, ended.err.as_str()));
    let dead = read(&folder, "dead_letters.jsonl");
    assert_eq!(0, run(&["run", &path, "-q"]).code.unwrap_or(1));
    assert_eq!(read(&folder, "dead.jsonl"), dead);
    check(&folder, &poisoned);
}

#[test]
fn a_payload_at_which_a_format_panics_is_named_and_can_be_set_aside() {
    for cluster in [&["-w", "1"][..], &["-w", "2"], &["-n", "2"]] {
        let ended = run(cluster);
        assert_ne!(Some(0), ended.code);
        let says = |partition: &str| {
            ended.err.contains(&format!(
                "this happened in decoding the record at offset 13 of partition \"{partition}\" of source \"numbers\"\nto have it a dead letter at the next start, add to the input \"numbers\": .quarantine([(\"{partition}\", 13)])\n"
            ))
        };
        assert!(says("p0") || says("p1"), "{cluster:?}: {}", ended.err);
        let ended = start(example("poisoned").args(cluster).env("AVOID", "1")).end(SOON);
        assert_eq!((Some(0), 2), (ended.code, ended.err.lines().count()), "{cluster:?}: {}", ended.err);
        assert!(ended.err.lines().all(|line| line.contains("\"quarantined\"")), "{}", ended.err);
    }
}

#[test]
fn a_quarantine_of_no_partition_is_warned_of_once() {
    let (_folder, path, _) = poisoned();
    let text = fs::read_to_string(&path).expect("it is there").replace("touchy", "ewma-z");
    fs::write(&path, text).expect("it can be written");
    paste(&path, "quarantine = [{ partition = \"p1.csv\", offset = 40 }]");
    for cluster in [&["-w", "2"][..], &["-n", "2"]] {
        let ended = run(&[&["run", &path, "--json"], cluster].concat());
        assert_eq!((Some(0), 1), (ended.code, ended.err.lines().count()), "{ended:?}");
        assert!(ended.err.contains("quarantine is of a partition that is not there"), "{ended:?}");
        assert!(ended.err.contains("p1.csv"), "{ended:?}");
    }
}
