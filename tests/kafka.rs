//! The Kafka source, against a real broker.

mod ends;
mod group;
mod growing;
mod lost;
mod outage;
mod records;
mod starts;
#[cfg(feature = "kafka-tls")]
mod tls;

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::broker::{Broker, Sent, PATIENCE};
use crate::harness::program::{pipeline, read, tidewatch_in, Said};

/// A pipeline over a topic, with every verdict in `out.jsonl`; `SOURCE` is for options of the source.
const PIPELINE: &str = r#"
name = "requests"
[[source]]
name = "requests"
connector = "kafka"
options = { brokers = "BROKERS", topics = "TOPIC", stop_at = "end" OPTIONS}
format = "json"
time = { field = "t", unit = "ms" }
key = KEY
value = "v"
lateness = "50ms"
[[detect]]
name = "high"
detector = "static"
params = { max = 90 }
threshold = 1
[[sink]]
stream = "verdicts"
connector = "file"
options = { path = "{}/out.jsonl" }
[[sink]]
stream = "dead_letters"
connector = "file"
options = { path = "{}/dead.jsonl" }
[[sink]]
stream = "late"
connector = "file"
options = { path = "{}/late.jsonl" }
"#;

/// The pipeline over `topic` of a broker, with further `options` of the source.
fn over(broker: &Broker, topic: &str, key: &str, options: &str) -> (TempDir, String) {
    let text = PIPELINE.replace("BROKERS", &broker.address).replace("TOPIC", topic).replace("KEY", key);
    let options = if options.is_empty() { String::new() } else { format!(", {options} ") };
    pipeline(&text.replace("OPTIONS", &options))
}

/// A job of this name over `topic` that has no end, and goes on where it stood.
fn job(broker: &Broker, topic: &str, name: &str, options: &str) -> (TempDir, String) {
    let (folder, path) = over(broker, topic, "[\"k\"]", options);
    let text = fs::read_to_string(&path).expect("it is there");
    let text = text.replace("stop_at = \"end\"", "stop_at = \"never\"");
    let text = text.replacen("name = \"requests\"", &format!("name = \"{name}\""), 1);
    let store = folder.path().join("state").display().to_string();
    let checkpoint = format!("[checkpoint]\nstore = {store:?}\nevery = \"100ms\"\ncommit = \"20ms\"\n");
    fs::write(&path, text + &checkpoint).expect("it can be written");
    (folder, path)
}

/// Waits for something that a broker and a pipeline do in seconds on a machine without other work; `told` says how it stands.
fn eventually(what: &str, told: impl Fn() -> String, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}: {}", told());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a pipeline to its end.
fn run(path: &str, arguments: &[&str]) -> Said {
    let said = tidewatch_in(Path::new("."), ["run", path].iter().chain(arguments));
    assert_eq!(Some(0), said.code, "{}", said.err);
    said
}

/// A record of machine `key`.
fn record(millis: u64, key: &str, value: u64) -> String {
    format!(r#"{{"t":{millis},"k":"{key}","v":{value}}}"#)
}

/// Records of two partitions: late ones, malformed ones, and such as a threshold calls anomalies.
fn records(partition: u64, many: u64) -> Vec<String> {
    let one = |n: u64| match n % 97 {
        50 => format!("{{\"t\":{n}"),
        51 => record(n.saturating_sub(500), "old", n % 100),
        _ => record(n * 2 + partition, &format!("m{}", n % 7), n * 31 % 100),
    };
    (0..many).map(one).collect()
}

fn sent(partition: i32, texts: &[String]) -> impl Iterator<Item = Sent<'_>> {
    texts.iter().map(move |text| Sent { partition, payload: Some(text.as_bytes()), ..Sent::default() })
}

/// All that a run has written.
fn written(folder: &TempDir) -> String {
    ["out.jsonl", "dead.jsonl", "late.jsonl"].map(|name| read(folder, name)).concat()
}

/// The lines of a text without fields that tell where a record came from.
fn values(text: &str) -> String {
    let mut values = String::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let _ = writeln!(values, "{} {} {}", line["time"], line["key"], line["value"]);
    }
    values
}
