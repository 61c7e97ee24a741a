//! What tools for lag see of a run: the offsets of its consumer group.

use std::process::Command;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::broker::shared;
use crate::cluster::processes::{signal, start, Observed};
use crate::harness::program::PROGRAM;

const PARTITIONS: i32 = 3;

fn started(path: &str, cluster: &str) -> Observed {
    start(Command::new(PROGRAM).args(["run", path, cluster, "-v"]))
}

/// Writes records `from..to` to each partition, and ends the last one with what is no record: the mark of a transaction.
fn fill(broker: &Broker, topic: &str, from: u64, to: u64) {
    let number = PARTITIONS - 1;
    let end = || broker.ends(topic)[number as usize];
    let before = end();
    for partition in 0..PARTITIONS - 1 {
        let texts: Vec<_> = (from..to).map(|n| record(n, &format!("p{partition}"), n)).collect();
        broker.send(topic, sent(partition, &texts));
    }
    let mut config = broker.client();
    let producer: BaseProducer =
        config.set("transactional.id", topic).create().expect("the settings are right");
    producer.init_transactions(PATIENCE).expect("the broker knows transactions");
    producer.begin_transaction().expect("none is open");
    for n in from..to {
        let payload = record(n, &format!("p{number}"), n);
        let record = BaseRecord::<(), str>::to(topic).partition(number).payload(&payload);
        producer.send(record).expect("there is room for it");
    }
    producer.commit_transaction(PATIENCE).expect("it can be committed");
    // The mark may come a moment later.
    let after = before + (to - from) as i64 + 1;
    eventually("the mark is there", || format!("{} of {after}", end()), || end() == after);
}

/// Waits until the group knows that all is read.
fn await_ends(broker: &Broker, group: &str, topic: &str, run: &Observed) {
    let told = || broker.offsets_of(group, topic);
    let ends: Vec<_> = broker.ends(topic).into_iter().map(Some).collect();
    let stands = || format!("{:?} of {ends:?}: {}", told(), run.err());
    eventually("the group is at the ends", stands, || told() == ends);
}

/// How often each of the first records of every partition is in what was written.
fn counts(folder: &TempDir, many: u64) -> Vec<usize> {
    let out = read(folder, "out.jsonl");
    let count = |n: u64| out.matches(&format!("\"value\":{n}.0,")).count();
    (0..many).map(count).collect()
}

#[test]
fn the_group_of_a_job_is_where_reading_is_and_has_no_members() {
    let Some(broker) = shared() else { return };
    for cluster in ["-w1", "-w2", "-n2"] {
        let topic = format!("told{cluster}");
        broker.topic(&topic, PARTITIONS, &[]);
        fill(broker, &topic, 0, 100);
        let job_name = format!("job of {topic}");
        let (folder, path) = job(broker, &topic, &job_name, "");
        let mut first = started(&path, cluster);
        await_ends(broker, &job_name, &topic, &first);
        fill(broker, &topic, 100, 200);
        await_ends(broker, &job_name, &topic, &first);
        let groups = broker.tool(&job_name).fetch_group_list(Some(&job_name), PATIENCE).expect("it answers");
        let members: usize = groups.groups().iter().map(|group| group.members().len()).sum();
        assert_eq!((1, 0), (groups.groups().len(), members), "{cluster}");
        first.kill();
        fill(broker, &topic, 200, 300);
        let mut second = started(&path, cluster);
        await_ends(broker, &job_name, &topic, &second);
        // What is later waits for the newest record of each partition.
        eventually("all is out", || second.err(), || counts(&folder, 249) == vec![3; 249]);
        signal(second.child.id(), "INT");
        let ended = second.end(PATIENCE);
        assert_eq!(Some(130), ended.code, "{cluster}: {}", ended.err);
        assert_eq!(vec![3; 249], counts(&folder, 249), "{cluster}");
        assert!(!ended.err.contains("the group cannot be told"), "{cluster}: {}", ended.err);
    }
}

/// Tells a group offsets as a run does that does not know that its time is over.
fn tell(tool: &BaseConsumer, topic: &str, offset: i64) {
    let mut list = TopicPartitionList::new();
    for number in 0..PARTITIONS {
        list.add_partition_offset(topic, number, Offset::Offset(offset)).expect("the offset is right");
    }
    tool.commit(&list, CommitMode::Sync).expect("the broker takes them");
}

#[test]
fn a_job_goes_on_where_it_stood_whatever_others_tell_its_group() {
    let Some(broker) = shared() else { return };
    let topic = "retold";
    broker.topic(topic, PARTITIONS, &[]);
    fill(broker, topic, 0, 100);
    let (folder, path) = job(broker, topic, "retold job", "group = \"retold\"");
    let tool = broker.tool("retold");
    let mut next = 0;
    for offset in [0, 1_000_000] {
        let mut run = started(&path, "-w2");
        await_ends(broker, "retold", topic, &run);
        run.kill();
        tell(&tool, topic, offset);
        next += 100;
        fill(broker, topic, next, next + 100);
        let mut run = started(&path, "-w1");
        await_ends(broker, "retold", topic, &run);
        // What is later waits for the newest record of each partition.
        let final_ones = next + 100 - 51;
        let all = vec![PARTITIONS as usize; final_ones as usize];
        eventually("all is out", || run.err(), || counts(&folder, final_ones) == all);
        run.kill();
        assert_eq!(all, counts(&folder, final_ones));
    }
}

#[test]
fn the_group_is_told_a_last_time_and_only_if_there_is_one() {
    let Some(broker) = shared() else { return };
    let topic = "told-at-last";
    broker.topic(topic, PARTITIONS, &[]);
    fill(broker, topic, 0, 100);
    let ends: Vec<_> = broker.ends(topic).into_iter().map(Some).collect();
    // A pipeline without a store tells none that it was not given.
    for (given, cluster, expected) in
        [(None, "-w1", vec![None; 3]), (Some("last-w1"), "-w1", ends.clone()), (Some("last-n2"), "-n2", ends)]
    {
        let options = given.map(|group| format!("group = \"{group}\"")).unwrap_or_default();
        let (_folder, path) = over(broker, topic, "[\"k\"]", &options);
        run(&path, &[cluster, "-q"]);
        assert_eq!(expected, broker.offsets_of(given.unwrap_or("requests"), topic), "{options} {cluster}");
    }
}
