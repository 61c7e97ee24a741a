//! A broker that is away while it is read.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{over, record, sent};
use serde_json::{json, Value};

use crate::broker::{shared, Broker, PATIENCE};
use crate::cluster::processes::{signal, start, until};
use crate::harness::program::{read, PROGRAM};

fn await_lines(folder: &tempfile::TempDir, lines: usize, said: impl Fn() -> String) {
    let start = Instant::now();
    while read(folder, "out.jsonl").lines().count() < lines {
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {lines} lines: {}",
            read(folder, "out.jsonl").lines().count(),
            said()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_broker_that_hangs_or_is_started_again_costs_no_record_and_gives_none_twice() {
    let Some(mut broker) = Broker::start() else { return };
    broker.topic("away", 2, &[]);
    let mut next = 0;
    let mut fill = |broker: &Broker| {
        let texts: Vec<_> = (next..next + 500).map(|n| record(n, "k", n)).collect();
        next += 500;
        broker.send("away", sent(0, &texts));
        broker.send("away", sent(1, &texts));
        // What has the newest time waits for later ones: 50 ms of each partition, of which each has one.
        2 * (next as usize - 51)
    };
    // So that silence is noticed soon.
    let soon = "librdkafka = { \"socket.timeout.ms\" = 2000, \"api.version.request.timeout.ms\" = 2000 }";
    let (folder, path) = over(&broker, "away", "[\"k\"]", soon);
    let text = std::fs::read_to_string(&path)
        .expect("it is there")
        .replace("stop_at = \"end\"", "stop_at = \"never\"");
    std::fs::write(&path, text).expect("it can be written");
    let mut running = start(Command::new(PROGRAM).args(["run", &path, "-w2", "-v"]));
    let expected = fill(&broker);
    await_lines(&folder, expected, || running.err());
    broker.stop();
    running.await_err("no broker answers; reading goes on when one does");
    broker.resume();
    let expected = fill(&broker);
    await_lines(&folder, expected, || running.err());
    running.await_err("a broker answers again");
    broker.kill();
    until("the second outage is noticed", || running.err().matches("no broker answers").count() > 1);
    broker.restart();
    let expected = fill(&broker);
    await_lines(&folder, expected, || running.err());
    signal(running.child.id(), "INT");
    let ended = running.end(PATIENCE);
    assert_eq!(Some(130), ended.code, "{}", ended.err);
    let warnings = ended.err.matches("no broker answers").count();
    assert!((2..=6).contains(&warnings), "{warnings} warnings: {}", ended.err);
    let out = read(&folder, "out.jsonl");
    for n in 0..next - 51 {
        assert_eq!(2, out.matches(&format!("\"value\":{n}.0,")).count(), "record {n}");
    }
}

/// What a program reads of a run that goes on.
#[test]
fn progress_says_how_far_each_partition_is_and_which_holds_the_others_back() {
    let Some(broker) = shared() else { return };
    broker.topic("progress", 2, &[]);
    for (partition, from) in [(0, 1000), (1, 500)] {
        let texts: Vec<_> = (0..100).map(|n| record(from + n, "k", n)).collect();
        broker.send("progress", sent(partition, &texts));
    }
    for cluster in ["-w2", "-n2"] {
        let (folder, path) = over(broker, "progress", "[\"k\"]", "");
        let text = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, text.replace("stop_at = \"end\"", "stop_at = \"never\""))
            .expect("it can be written");
        let mut running = start(Command::new(PROGRAM).args(["run", &path, cluster, "-v", "--json"]));
        running.await_out("{\"progress\":");
        await_lines(&folder, 49, || running.err());
        signal(running.child.id(), "INT");
        let ended = running.end(PATIENCE);
        assert_eq!(Some(130), ended.code, "{}", ended.err);
        let lines: Vec<Value> =
            ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let summary = lines.last().expect("there is one");
        // Other processes say how far they are only now and then.
        assert_eq!(
            Some(2),
            lines[0]["progress"]["partitions"].as_array().map(Vec::len),
            "{cluster}: {summary}"
        );
        let expected = json!([
            { "source": "requests", "partition": "progress/1", "next": 100,
              "watermark": "1970-01-01T00:00:00.549Z", "lag": 0 },
            { "source": "requests", "partition": "progress/0", "next": 100,
              "watermark": "1970-01-01T00:00:01.049Z", "lag": 0 },
        ]);
        assert_eq!(expected, summary["partitions"], "{cluster}: {summary}");
        assert_eq!((&json!("requests progress/1"), &json!(0)), (&summary["held_back_by"], &summary["lag"]));
    }
}
