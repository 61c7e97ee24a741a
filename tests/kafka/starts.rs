//! Where reading starts.

use super::{over, record, run, sent};
use crate::broker::shared;
use crate::harness::program::{pipeline, read};

#[test]
fn partitions_start_where_the_pipeline_says() {
    let Some(broker) = shared() else { return };
    // Its records are years old: a broker that lives for five minutes would delete them.
    broker.topic("starts", 2, &[("retention.ms", "-1")]);
    for partition in [0, 1] {
        let texts: Vec<_> = (0..10).map(|n| record(n, &format!("p{partition}"), n)).collect();
        let dated = sent(partition, &texts).zip(0..);
        broker.send(
            "starts",
            dated.map(|(sent, n)| crate::broker::Sent { timestamp: Some(1_700_000_000_000 + n), ..sent }),
        );
    }
    for (options, expected) in [
        ("start = \"earliest\"", [10, 10]),
        ("start = \"latest\"", [0, 0]),
        ("offsets = { \"starts/1\" = 4 }", [10, 6]),
        ("start = \"latest\", offsets.starts/1 = 10", [0, 0]),
        ("start = \"2023-11-14T22:13:20.007Z\"", [3, 3]),
        ("start = \"2023-11-14T22:13:20.0071Z\", offsets = { \"starts/0\" = 9 }", [1, 2]),
        ("start = \"2030-01-01T00:00:00Z\"", [0, 0]),
    ] {
        let options = options.replace("offsets.starts/1", "offsets.\"starts/1\"");
        let (folder, path) = over(broker, "starts", "[\"k\"]", &options);
        run(&path, &["-q"]);
        let out = read(&folder, "out.jsonl");
        let counts = ["p0", "p1"].map(|key| out.matches(&format!("\"{key}\"")).count());
        assert_eq!(expected, counts, "{options}");
    }
}

/// Two sources, of which one has two topics.
#[test]
fn a_pipeline_has_several_topics_and_sources() {
    let Some(broker) = shared() else { return };
    for (topic, key) in [("many-a", "a"), ("many-b", "b"), ("many-c", "c")] {
        broker.topic(topic, 2, &[]);
        broker.send(topic, sent(1, &[record(5, key, 1)]));
    }
    let (old, path) = over(broker, "many-a\", \"many-b", "[\"k\"]", "");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let text = text.replace("topics = \"many-a\", \"many-b\"", "topics = [\"many-a\", \"many-b\"]");
    let (source, rest) = text.split_once("[[detect]]").expect("it has one");
    let (_, source) = source.split_once("[[source]]").expect("it has one");
    let other = source.replace("name = \"requests\"", "name = \"others\"");
    let other = other.replace("[\"many-a\", \"many-b\"]", "\"many-c\"");
    let text = format!("name = \"two\"\n[[source]]{source}[[source]]{other}[[detect]]{rest}");
    let (folder, path) = pipeline(&text.replace(&old.path().display().to_string(), "{}"));
    run(&path, &["-q", "-w2"]);
    let out = read(&folder, "out.jsonl");
    assert_eq!(
        [1, 1, 1],
        ["a", "b", "c"].map(|key| out.matches(&format!("\"k\":\"{key}\"")).count()),
        "{out}"
    );
}
