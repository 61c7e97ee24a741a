//! What is read: the same as from files, with keys, headers and places.

use serde_json::Value;

use super::{over, record, records, run, sent, values, written};
use crate::broker::{shared, Sent};
use crate::harness::program::{pipeline, read, tidewatch, PROGRAM};

const FILES: &str = r#"
name = "requests"
[[source]]
name = "requests"
connector = "file"
options = { path = "{}/*.in" }
format = "json"
time = { field = "t", unit = "ms" }
key = ["k"]
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
"#;

/// Partitions have the names that the files have in the order of their names, so that ties are broken alike.
#[test]
fn a_topic_gives_what_files_give_at_any_number_of_workers_and_processes() {
    let Some(broker) = shared() else { return };
    let parts = [records(0, 3000), records(1, 3000)];
    broker.topic("same", 2, &[]);
    for (partition, texts) in (0..).zip(&parts) {
        broker.send("same", sent(partition, texts));
    }
    let (files, of_files) = pipeline(FILES);
    for (name, texts) in ["0.in", "1.in"].into_iter().zip(&parts) {
        std::fs::write(files.path().join(name), texts.join("\n") + "\n").expect("it can be written");
    }
    run(&of_files, &["-q"]);
    let expected = read(&files, "out.jsonl");
    assert!(expected.lines().count() > 5000);
    let mut first = None;
    for cluster in ["-w1", "-w2", "-n2"] {
        let (folder, path) = over(broker, "same", "[\"k\"]", "");
        let said = run(&path, &[cluster, "--json"]);
        let summary: Value = serde_json::from_str(said.out.lines().last().expect("a summary")).expect("JSON");
        assert_eq!((6000, 0), (summary["records"].as_u64().unwrap(), summary["lost"].as_u64().unwrap()));
        assert_eq!(values(&expected), values(&read(&folder, "out.jsonl")), "{cluster}");
        let written = written(&folder);
        assert_eq!(first.get_or_insert_with(|| written.clone()), &written, "{cluster}");
    }
}

#[test]
fn rejected_records_say_topic_partition_and_offset() {
    let Some(broker) = shared() else { return };
    broker.topic("rejects", 3, &[]);
    let texts = [record(10_000, "a", 1), record(1, "a", 1), "{".to_owned()];
    broker.send("rejects", sent(1, &texts).chain([Sent { partition: 1, ..Sent::default() }]));
    let (folder, path) = over(broker, "rejects", "[\"k\"]", "");
    run(&path, &["-q"]);
    let rows = |name| {
        let lines: Vec<Value> =
            read(&folder, name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let row = |line: &Value| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("partition"), line["offset"].as_u64().unwrap(), text("reason"), text("raw"))
        };
        lines.iter().map(row).collect::<Vec<_>>()
    };
    let late = rows("late.jsonl");
    assert_eq!(("rejects/1", 1, texts[1].as_str()), (&*late[0].0, late[0].1, &*late[0].3));
    let dead = rows("dead.jsonl");
    assert_eq!(("rejects/1", 2, "{"), (&*dead[0].0, dead[0].1, &*dead[0].3));
    let last =
        ("rejects/1".to_owned(), 3, "message has no payload: it deletes a key".to_owned(), String::new());
    assert_eq!(last, dead[1]);
}

#[test]
fn keys_headers_and_topics_are_parts_of_the_key() {
    let Some(broker) = shared() else { return };
    for topic in ["parts-a", "parts-b"] {
        broker.topic(topic, 1, &[]);
    }
    let text = record(1, "x", 7);
    let payload = Some(text.as_bytes());
    let one: &[(&str, Option<&[u8]>)] = &[("zone", Some(b"no")), ("zone", Some(b"eu")), ("other", None)];
    let none: &[(&str, Option<&[u8]>)] = &[("zone", None)];
    let sent = |key: &'static [u8], headers| Sent { key: Some(key), payload, headers, ..Sent::default() };
    broker.send("parts-a", [sent(b"k1", one), sent(b"\xff", one), sent(b"k2", none)]);
    broker.send_as("parts-b", &[("compression.type", "lz4")], [sent(b"k3", one)]);
    let key = r#"["@topic", "@key", "@header.zone", "@partition"]"#;
    let (folder, path) = over(broker, "NAMES", key, "");
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, text.replace("topics = \"NAMES\"", "pattern = \"parts-[ab]\""))
        .expect("it can be written");
    run(&path, &["-q"]);
    assert_eq!(
        r#""1970-01-01T00:00:00.001Z" {"header.zone":"eu","key":"k1","partition":"parts-a/0","topic":"parts-a"} 7.0
"1970-01-01T00:00:00.001Z" {"header.zone":"eu","key":"k3","partition":"parts-b/0","topic":"parts-b"} 7.0
"#,
        values(&read(&folder, "out.jsonl"))
    );
    let dead = read(&folder, "dead.jsonl");
    assert!(dead.contains(r#""reason":"the message's key is not UTF-8: \"�\"""#), "{dead}");
    assert!(dead.contains(r#""reason":"header \"zone\" is missing""#), "{dead}");
    // A recording does not keep what came with a record, but what became of it.
    let recording = folder.path().join("r.tide").display().to_string();
    run(&path, &["-q", "--record", &recording]);
    let again = folder.path().join("again").display().to_string();
    let said = tidewatch(["replay", &recording, &path, "--out", &again, "-q"]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    for (name, stream) in [("out.jsonl", "verdicts"), ("dead.jsonl", "dead_letters")] {
        assert_eq!(read(&folder, name), read(&folder, &format!("again/{stream}.jsonl")), "{stream}");
    }
}

/// Only the broker's own time bounds what a record says of itself.
#[test]
fn records_of_the_future_are_dead_letters_where_the_broker_dates_them() {
    let Some(broker) = shared() else { return };
    broker.topic("dated", 1, &[("message.timestamp.type", "LogAppendTime")]);
    broker.topic("undated", 1, &[("message.timestamp.type", "CreateTime")]);
    for topic in ["dated", "undated"] {
        broker.send(topic, sent(0, &[record(1, "past", 1), record(4_102_444_800_000, "future", 1)]));
        let (folder, path) = over(broker, topic, "[\"k\"]", "");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let bounded = text.replace("value = \"v\"", "value = \"v\"\nmax_future = \"1h\"");
        std::fs::write(&path, bounded).expect("it can be written");
        run(&path, &["-q"]);
        let counts = ["out.jsonl", "dead.jsonl"].map(|name| read(&folder, name).lines().count());
        assert_eq!(if topic == "dated" { [1, 1] } else { [2, 0] }, counts, "{topic}");
        let reason = "in the future: 2100-01-01T00:00:00Z is more than 1h after it was appended";
        assert_eq!(topic == "dated", read(&folder, "dead.jsonl").contains(reason));
    }
}

/// The example, over a topic as it says, but for where the broker is.
#[test]
fn the_example_finds_the_slow_requests() {
    let Some(broker) = shared() else { return };
    broker.topic("requests", 2, &[]);
    let latency = |n: i64| if n == 150 { 900 } else { 20 + n * 7 % 10 };
    let text = |n: i64| {
        format!(r#"{{"ts":{},"method":"GET","latency_ms":{}}}"#, 1_700_000_000_000 + n * 100, latency(n))
    };
    let texts: Vec<_> = (0..300).map(text).collect();
    let headers: &[(&str, Option<&[u8]>)] = &[("zone", Some(b"eu"))];
    broker.send(
        "requests",
        texts.iter().map(|text| Sent {
            partition: 1,
            key: Some(b"host"),
            payload: Some(text.as_bytes()),
            headers,
            ..Sent::default()
        }),
    );
    let folder = tempfile::tempdir().expect("there is room for it");
    let out = folder.path().join("out.jsonl");
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["run", "examples/kafka.toml", "-q"]).env("KAFKA", &broker.address).env("OUT", &out);
    let output = command.env("STOP_AT", "end").output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        "\"2023-11-14T22:13:35Z\" {\"header.zone\":\"eu\",\"key\":\"host\",\"method\":\"GET\"} 900.0\n",
        values(&read(&folder, "out.jsonl"))
    );
}

/// Each codec that brokers know, of which none asks anything of the system.
#[test]
fn compressed_records_are_read_and_those_of_aborted_transactions_are_not() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

    let Some(broker) = shared() else { return };
    broker.topic("packed", 1, &[]);
    for (at, codec) in (1..).zip(["gzip", "snappy", "lz4", "zstd"]) {
        let texts: Vec<_> = (0..50).map(|n| record(at * 100 + n, codec, n)).collect();
        broker.send_as("packed", &[("compression.type", codec)], sent(0, &texts));
    }
    let producer: BaseProducer =
        broker.client().set("transactional.id", "packed").create().expect("the settings are right");
    let limit = crate::broker::PATIENCE;
    producer.init_transactions(limit).expect("the broker knows transactions");
    for (key, commits) in [("aborted", false), ("committed", true), ("aborted", false)] {
        producer.begin_transaction().expect("none is open");
        let text = record(1000, key, 5);
        let record = BaseRecord::<[u8], [u8]>::to("packed").payload(text.as_bytes());
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
        producer.flush(limit).expect("the broker takes it");
        match commits {
            true => producer.commit_transaction(limit).expect("it can be committed"),
            false => producer.abort_transaction(limit).expect("it can be aborted"),
        }
    }
    let (folder, path) = over(broker, "packed", "[\"k\"]", "");
    run(&path, &["-q"]);
    let out = read(&folder, "out.jsonl");
    for (key, count) in
        [("gzip", 50), ("snappy", 50), ("lz4", 50), ("zstd", 50), ("committed", 1), ("aborted", 0)]
    {
        assert_eq!(count, out.matches(&format!("{{\"k\":\"{key}\"}}")).count(), "{key}");
    }
}
