//! Partitions and topics that appear while they are read.

use std::process::Command;

use serde_json::Value;

use super::*;
use crate::broker::shared;
use crate::cluster::processes::{hostfile, signal, start, Observed};
use crate::harness::program::PROGRAM;

const SOON: &str = "discover = \"200ms\"";

fn started(path: &str, cluster: &str) -> Observed {
    start(Command::new(PROGRAM).args(["run", path, cluster, "-v"]))
}

/// Writes records to a partition whose key is `key`, one a millisecond.
fn fill(broker: &Broker, topic: &str, partition: i32, key: &str, times: impl IntoIterator<Item = u64>) {
    let texts: Vec<_> = times.into_iter().map(|n| record(n, key, n)).collect();
    broker.send(topic, sent(partition, &texts));
}

/// The keys and values of what is final, or of what was rejected, in order.
fn found(folder: &TempDir) -> Vec<(String, u64)> {
    let out = read(folder, "out.jsonl");
    let one = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("it is JSON");
        let value = line["value"].as_f64().expect("it is a number");
        (line["key"]["k"].as_str().expect("it is text").to_owned(), value as u64)
    };
    // The last line may be on its way.
    let mut found: Vec<_> = out.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(one).collect();
    found.sort();
    found
}

fn of<'a>(
    key: &'a str,
    times: impl IntoIterator<Item = u64> + 'a,
) -> impl Iterator<Item = (String, u64)> + 'a {
    times.into_iter().map(move |time| (key.to_owned(), time))
}

fn await_found(folder: &TempDir, run: &Observed, expected: &[(String, u64)]) {
    let told = || format!("{:?} of {expected:?}: {}", found(folder), run.err());
    eventually("all is out", told, || found(folder) == expected);
}

/// Waits until a partition has joined. What is sent to others before that may be final by then, and what is earlier in this
/// one late.
fn await_joined(partition: &str, runs: &[&Observed]) {
    let opened = format!("opened partition partition=\"{partition}\"");
    let told = || runs.iter().map(|run| run.err()).collect::<Vec<_>>().join("\n");
    eventually("the partition is read", told, || told().contains(&opened));
}

fn interrupted(mut run: Observed) -> String {
    signal(run.child.id(), "INT");
    let ended = run.end(PATIENCE);
    assert_eq!(Some(130), ended.code, "{}", ended.err);
    ended.err
}

#[test]
fn a_job_reads_partitions_that_a_topic_gets_while_it_runs_each_record_once() {
    let Some(broker) = shared() else { return };
    for cluster in ["-w1", "-w3", "-n2"] {
        let topic = format!("growing{cluster}");
        broker.topic(&topic, 1, &[]);
        fill(broker, &topic, 0, "a", 0..200);
        let (folder, path) = job(broker, &topic, &topic, SOON);
        let run = started(&path, cluster);
        // The watermark is 50 ms behind the newest record.
        let mut expected: Vec<_> = of("a", 0..149).collect();
        await_found(&folder, &run, &expected);
        broker.grow(&topic, 3);
        // All before 149 ms is final, so what is earlier is late; nothing else is.
        fill(broker, &topic, 1, "b", [148, 149].into_iter().chain(1_000..1_100));
        fill(broker, &topic, 2, "c", 1_000..1_100);
        (1..3).for_each(|number| await_joined(&format!("{topic}/{number}"), &[&run]));
        fill(broker, &topic, 0, "a", 1_000..1_100);
        expected.extend(of("a", (149..200).chain(1_000..1_049)));
        expected.extend(of("b", [149].into_iter().chain(1_000..1_049)));
        expected.extend(of("c", 1_000..1_049));
        await_found(&folder, &run, &expected);
        let ends: Vec<_> = broker.ends(&topic).into_iter().map(Some).collect();
        let told = || broker.offsets_of(&topic, &topic);
        eventually("the group is at the ends", || format!("{:?}", told()), || told() == ends);
        let said = interrupted(run);
        assert_eq!(expected, found(&folder), "{cluster}: {said}");
        let late = read(&folder, "late.jsonl");
        assert_eq!(1, late.lines().count(), "{cluster}: {late}");
        let floor = "its event time is before the watermark, 1970-01-01T00:00:00.149Z";
        assert!(late.contains(floor) && late.contains(&format!("{topic}/1")), "{cluster}: {late}");
        assert!(said.contains("partitions have appeared: starts again to read them"), "{cluster}: {said}");
        assert!(!said.contains("starts all processes again in"), "it is no failure: {cluster}: {said}");
    }
}

#[test]
fn a_job_that_is_killed_while_partitions_appear_reads_each_record_once() {
    let Some(broker) = shared() else { return };
    let topic = "growing-killed";
    broker.topic(topic, 1, &[]);
    fill(broker, topic, 0, "a", 0..200);
    let (folder, path) = job(broker, topic, topic, SOON);
    let mut expected: Vec<_> = of("a", 0..149).collect();
    let clusters = ["-w1", "-n2", "-w3", "-w2", "-n2", "-w1", "-n2"];
    for (life, cluster) in (0..).zip(clusters) {
        let mut run = started(&path, cluster);
        await_joined(&format!("{topic}/0"), &[&run]);
        await_found(&folder, &run, &expected);
        let partitions = life as usize + 2;
        broker.grow(topic, partitions);
        fill(broker, topic, life + 1, "b", [1_000 + life as u64]);
        // Before it is noticed, while the run stops or starts, or later.
        thread::sleep(Duration::from_millis(80 * life as u64));
        run.kill();
    }
    let run = started(&path, "-w2");
    let last = clusters.len() as i32;
    (1..=last).for_each(|number| await_joined(&format!("{topic}/{number}"), &[&run]));
    (0..=last).for_each(|number| fill(broker, topic, number, "c", [2_000]));
    expected.extend(of("a", 149..200));
    expected.extend(of("b", 1_000..1_000 + last as u64));
    await_found(&folder, &run, &expected);
    let said = interrupted(run);
    assert_eq!((expected, ""), (found(&folder), &*read(&folder, "late.jsonl")), "{said}");
}

#[test]
fn an_interruption_ends_a_run_that_starts_again() {
    let Some(broker) = shared() else { return };
    for cluster in ["-w2", "-n2"] {
        let topic = format!("growing-interrupted{cluster}");
        broker.topic(&topic, 1, &[]);
        fill(broker, &topic, 0, "a", 0..200);
        let (folder, path) = job(broker, &topic, &topic, SOON);
        let expected: Vec<_> = of("a", 0..149).collect();
        for partitions in [2, 3, 4] {
            let mut run = started(&path, cluster);
            await_joined(&format!("{topic}/{}", partitions - 2), &[&run]);
            await_found(&folder, &run, &expected);
            broker.grow(&topic, partitions);
            let starts_again = || run.err().contains("starts again to read them");
            eventually("it starts again", || run.err(), starts_again);
            thread::sleep(Duration::from_millis(100 * (partitions as u64 - 2)));
            signal(run.child.id(), "INT");
            let ended = run.end(PATIENCE);
            assert_eq!((Some(130), &expected), (ended.code, &found(&folder)), "{cluster}: {}", ended.err);
        }
    }
}

/// Nobody supervises these: each starts again by itself, and they find each other.
#[test]
fn processes_of_a_hostfile_start_again_together() {
    let Some(broker) = shared() else { return };
    let topic = "growing-hosts";
    broker.topic(topic, 1, &[]);
    fill(broker, topic, 0, "a", 0..200);
    let (folder, path) = job(broker, topic, topic, SOON);
    let (_hosts, hosts, _) = hostfile(2);
    let process = |index: &str| {
        start(Command::new(PROGRAM).args(["run", &path, "-v", "-n2", "-p", index, "-h", &hosts]))
    };
    let (first, second) = (process("0"), process("1"));
    let mut expected: Vec<_> = of("a", 0..149).collect();
    await_found(&folder, &first, &expected);
    for (partitions, key) in [(2, "b"), (3, "c")] {
        broker.grow(topic, partitions);
        let from = 1_000 * partitions as u64;
        await_joined(&format!("{topic}/{}", partitions - 1), &[&first, &second]);
        for partition in 0..partitions as i32 {
            let key = ["a", "b", key][partition as usize];
            fill(broker, topic, partition, key, from..from + 100);
        }
    }
    expected.extend(of("a", (149..200).chain(2_000..2_100).chain(3_000..3_049)));
    expected.extend(of("b", (2_000..2_100).chain(3_000..3_049)));
    expected.extend(of("c", 3_000..3_049));
    await_found(&folder, &first, &expected);
    interrupted(second);
    let mut first = first;
    let ended = first.end(PATIENCE);
    assert_eq!((Some(130), expected), (ended.code, found(&folder)), "{}", ended.err);
    assert_eq!("", read(&folder, "late.jsonl"), "{}", ended.err);
}

#[test]
fn a_pattern_finds_topics_that_are_made_while_it_is_read_and_reads_all_of_them() {
    let Some(broker) = shared() else { return };
    for cluster in ["-w2", "-n2"] {
        let topic = |name: &str| format!("pattern{cluster}-{name}");
        broker.topic(&topic("old"), 1, &[]);
        fill(broker, &topic("old"), 0, "before", 0..100);
        let (folder, path) =
            job(broker, &topic("old"), &topic("job"), &format!("start = \"latest\", {SOON}"));
        let text = fs::read_to_string(&path).expect("it is there");
        let (topics, pattern) =
            (format!("topics = \"{}\"", topic("old")), format!("pattern = \"{}\"", topic(".*")));
        fs::write(&path, text.replace(&topics, &pattern)).expect("it can be written");
        let run = started(&path, cluster);
        run.await_err("opened partition");
        fill(broker, &topic("old"), 0, "a", 100..300);
        let mut expected: Vec<_> = of("a", 100..249).collect();
        await_found(&folder, &run, &expected);
        // What is new was not there when the job began, so none of it is older than that.
        broker.topic(&topic("new"), 2, &[]);
        fill(broker, &topic("new"), 0, "b", 1_000..1_100);
        fill(broker, &topic("new"), 1, "c", 1_000..1_100);
        (0..2).for_each(|number| await_joined(&format!("{}/{number}", topic("new")), &[&run]));
        fill(broker, &topic("old"), 0, "a", 1_000..1_100);
        expected.extend(of("a", (249..300).chain(1_000..1_049)));
        expected.extend(["b", "c"].into_iter().flat_map(|key| of(key, 1_000..1_049)));
        await_found(&folder, &run, &expected);
        let said = interrupted(run);
        assert_eq!((expected, ""), (found(&folder), &*read(&folder, "late.jsonl")), "{cluster}: {said}");
    }
}

#[test]
fn a_run_without_a_store_says_once_what_it_does_not_read() {
    let Some(broker) = shared() else { return };
    broker.topic("said", 1, &[]);
    fill(broker, "said", 0, "a", 0..100);
    let (folder, path) = over(broker, "said", "[\"k\"]", SOON);
    let text = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, text.replace("stop_at = \"end\"", "stop_at = \"never\"")).expect("it can be written");
    let run = started(&path, "-w1");
    await_found(&folder, &run, &of("a", 0..49).collect::<Vec<_>>());
    broker.grow("said", 2);
    run.await_err("partitions=\"said/1\"");
    broker.grow("said", 3);
    run.await_err("partitions=\"said/2\"");
    fill(broker, "said", 1, "b", 0..100);
    fill(broker, "said", 0, "a", 100..200);
    await_found(&folder, &run, &of("a", 0..149).collect::<Vec<_>>());
    let said = interrupted(run);
    let warning = "which are read when the run is started the next time";
    assert_eq!(2, said.matches(warning).count(), "{said}");
    // From the next start on.
    let run = started(&path, "-w1");
    fill(broker, "said", 2, "c", 0..200);
    fill(broker, "said", 1, "b", 100..200);
    let all: Vec<_> = ["a", "b", "c"].into_iter().flat_map(|key| of(key, 0..149)).collect();
    await_found(&folder, &run, &all);
    interrupted(run);
}
