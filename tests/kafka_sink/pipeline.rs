//! Pipeline files that write to Kafka.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::*;

const PIPELINE: &str = r#"
[[source]]
name = "messy"
connector = "file"
options = { path = "examples/data/features/messy.csv" }
format = "csv"
time = "timestamp"
key = ["key"]
value = "value"
lateness = "5s"

[[detect]]
name = "jump"
detector = "rate-of-change"
threshold = 0.3
"#;

/// The headers of a message, as text.
fn headers(received: &Received) -> Vec<(&str, &str)> {
    fn text((name, value): &(String, Option<Vec<u8>>)) -> (&str, &str) {
        (name, std::str::from_utf8(value.as_deref().expect("it says something")).expect("it is text"))
    }
    received.headers.iter().map(text).collect()
}

const STREAMS: [&str; 4] = ["anomalies", "provisional", "late", "dead_letters"];

/// Runs the pipeline with each stream going to a topic whose name begins with the job's, and returns what is there then.
fn run(broker: &Broker, folder: &Path, job: &str, further: &str) -> [Vec<Received>; 4] {
    let path = folder.join("pipeline.toml");
    let address = &broker.address;
    let sinks = STREAMS.map(|stream| {
        format!(
            "[[sink]]\nstream = \"{stream}\"\nconnector = \"kafka\"\noptions = {{ brokers = \"{address}\", topic = \
             \"{job}-{stream}\", create = {{ partitions = 2 }} }}\n"
        )
    });
    let text = format!("name = \"{job}\"\n{PIPELINE}\n{}{further}", sinks.concat());
    std::fs::write(&path, text).expect("it can be written");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidewatch")).arg("run").arg(&path).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    STREAMS.map(|stream| broker.committed(&format!("{job}-{stream}")))
}

#[test]
fn every_stream_goes_to_its_topic_with_keys_and_headers() {
    let Some(broker) = broker::shared() else { return };
    let folder = tempfile::tempdir().expect("there is room for it");
    let [anomalies, provisional, late, dead] = run(broker, folder.path(), "to-kafka", "");
    assert_eq!(35, anomalies.len());
    for (received, schema) in [(&anomalies, "verdict.v1"), (&provisional, "provisional.v1")] {
        for one in received {
            assert_eq!(vec![("pipeline", "to-kafka"), ("schema", schema)], headers(one));
            assert_eq!(Some(&b"a"[..]), one.key.as_deref());
        }
        let partitions: BTreeSet<_> = received.iter().map(|one| one.partition).collect();
        assert_eq!(1, partitions.len(), "those of a key are in order");
    }
    assert!(provisional.len() > anomalies.len());
    let file = "examples/data/features/messy.csv";
    assert_eq!((2, 4), (late.len(), dead.len()));
    assert_eq!(Some(file.as_bytes()), dead[0].key.as_deref());
    let reason = "has 1 field where the header has 3";
    assert_eq!(
        vec![
            ("pipeline", "to-kafka"),
            ("schema", "rejected.v1"),
            ("source", "messy"),
            ("partition", file),
            ("offset", "590"),
            ("reason", reason)
        ],
        headers(&dead[0])
    );
}

/// What several partitions give may be mixed otherwise.
pub(crate) fn by_key(received: &[Received]) -> Vec<(Option<Vec<u8>>, String)> {
    let mut lines: Vec<_> = received.iter().map(|one| (one.key.clone(), one.text().to_owned())).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

#[test]
fn with_a_checkpoint_everything_final_is_committed_once_however_often_it_is_run() {
    let Some(broker) = broker::shared() else { return };
    let folder = tempfile::tempdir().expect("there is room for it");
    let store = folder.path().join("store").display().to_string();
    let [anomalies, _, late, dead] = run(broker, folder.path(), "uncommitted", "");
    for _ in 0..2 {
        let checkpoint = format!("\n[checkpoint]\nstore = \"{store}\"\n");
        let committed = run(broker, folder.path(), "exactly-once", &checkpoint);
        assert_eq!(by_key(&anomalies), by_key(&committed[0]));
        assert_eq!(by_key(&late), by_key(&committed[2]));
        assert_eq!(by_key(&dead), by_key(&committed[3]));
        assert!(committed[0].iter().all(|one| headers(one)[0] == ("pipeline", "exactly-once")));
    }
    assert!(!broker.committed("exactly-once-progress").is_empty());
}
