//! Records that are gone before they were read.

use std::time::Duration;

use super::{over, record, sent};
use crate::broker::{shared, Broker};
use crate::cluster::processes::{start, Observed};
use crate::harness::program::{read, tidewatch, PROGRAM};

const LIMIT: Duration = Duration::from_secs(60);

fn fill(broker: &Broker, topic: &str, from: u64, to: u64) {
    let texts: Vec<_> = (from..to).map(|n| record(100 * n, "k", n)).collect();
    // So that less than all can be fetched, and removed.
    broker.send_as(topic, &[("batch.num.messages", "10")], sent(0, &texts));
}

#[test]
fn offsets_that_are_gone_stop_the_run_or_are_counted() {
    let Some(broker) = shared() else { return };
    broker.topic("gone", 1, &[]);
    fill(broker, "gone", 0, 10);
    broker.delete_records("gone", 0, 4);
    let (_folder, path) = over(broker, "gone", "[\"k\"]", "offsets = { \"gone/0\" = 1 }");
    let said = tidewatch(["run", &path, "-q"]);
    assert_eq!(Some(1), said.code);
    assert_eq!(
        "gone/0: the records at offsets 1 to 3 are lost: topic \"gone\" no longer has them, and begins at 4; to go on \
         without them, set on_lost = \"continue\"\n",
        said.err
    );
    let (folder, path) =
        over(broker, "gone", "[\"k\"]", "offsets = { \"gone/0\" = 1 }, on_lost = \"continue\"");
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    assert!(said.err.contains("3 records were lost"), "{}", said.err);
    assert!(said.err.contains("records are lost") && said.err.contains("gone/0"), "{}", said.err);
    assert_eq!(6, read(&folder, "out.jsonl").lines().count());
}

/// A worker that does not get on because its process is stopped loses what retention takes meanwhile.
fn overtaken(topic: &str, options: &str) -> Option<(tempfile::TempDir, Observed)> {
    let broker = shared()?;
    // Small fetches, so that little of it is with the client already.
    broker.topic(topic, 1, &[]);
    fill(broker, topic, 0, 10);
    let small = "librdkafka = { \"queued.min.messages\" = 1, \"fetch.message.max.bytes\" = 200 }";
    let options = format!("{small}{options}");
    let (folder, path) = over(broker, topic, "[\"k\"]", &options);
    let text = std::fs::read_to_string(&path)
        .expect("it is there")
        .replace("stop_at = \"end\"", "stop_at = \"never\"");
    std::fs::write(&path, text).expect("it can be written");
    let mut command = std::process::Command::new(PROGRAM);
    let running = start(command.args(["run", &path, "-w1"]));
    crate::cluster::processes::until("the first records are final", || {
        read(&folder, "out.jsonl").lines().count() >= 5
    });
    crate::cluster::processes::signal(running.child.id(), "STOP");
    fill(broker, topic, 10, 2000);
    broker.delete_records(topic, 0, 1900);
    crate::cluster::processes::signal(running.child.id(), "CONT");
    Some((folder, running))
}

#[test]
fn a_run_that_retention_overtakes_stops_or_goes_on() {
    let Some((_folder, mut running)) = overtaken("overtaken-stop", "") else { return };
    let ended = running.end(LIMIT);
    assert_eq!(Some(1), ended.code, "{}", ended.err);
    assert!(ended.err.contains("overtaken-stop/0: the records at offsets "), "{}", ended.err);
    assert!(ended.err.contains(" to 1899 are lost: "), "{}", ended.err);
    let Some((folder, mut running)) = overtaken("overtaken-on", ", on_lost = \"continue\"") else { return };
    crate::cluster::processes::until("what is left is read", || {
        read(&folder, "out.jsonl").contains("\"value\":1940.0")
    });
    crate::cluster::processes::signal(running.child.id(), "INT");
    let ended = running.end(LIMIT);
    assert_eq!(Some(130), ended.code, "{}", ended.err);
    assert!(ended.err.contains("records are lost") && ended.err.contains("to=1899"), "{}", ended.err);
}
