//! Sinks of Kafka against a real broker.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use tidewatch::connectors::kafka::{Brokers, Create, KafkaSink, Topic, TransactionalKafka};
use tidewatch::connectors::store::Epoch;
use tidewatch::connectors::{Error, Header, Message, Progress, Shard, ShardWriter, Sink, TransactionalSink};
use tidewatch::prelude::*;

use crate::broker::{self, Broker, Received, PATIENCE};

mod crash;
pub(crate) mod pipeline;
mod refusals;

/// A topic of verdicts, which is there.
fn topic(name: &str) -> Topic {
    Topic { name: name.to_owned(), schema: Some("verdict.v1".to_owned()), create: None }
}

/// One that is made.
fn made(name: &str) -> Topic {
    Topic { create: Some(Create { partitions: Some(3), ..Create::default() }), ..topic(name) }
}

fn brokers(broker: &Broker) -> Brokers {
    // Whatever a loaded machine does to it, no transaction ends by its time.
    Brokers::new(&broker.address, [("transaction.timeout.ms", "60000")]).expect("the options are right")
}

/// A sink of one shard, whose streams go to topics that it makes.
fn sink(broker: &Broker, job: &str, topics: &[&str]) -> TransactionalKafka {
    TransactionalKafka::new(job, 1, brokers(broker), topics.iter().map(|name| made(name))).sharded(1)
}

fn open(sink: &TransactionalKafka, epoch: u64) -> (Box<dyn ShardWriter>, Progress) {
    let mut writer = sink.open(Shard(0)).expect("the broker is there");
    let progress = writer.fence(Epoch(epoch)).expect("nobody else has taken it over");
    (writer, progress)
}

fn below(millis: i64) -> Progress {
    Progress::Below(EventTime::from_micros(millis * 1000))
}

fn message<'a>(key: &'a str, payload: &'a str) -> Message<'a> {
    Message { key: Some(key.as_bytes()), ..Message::new(EventTime::MIN, payload.as_bytes()) }
}

/// Waits until so many messages are in a topic, committed or not, with the marks where transactions end.
fn landed(broker: &Broker, topic: &str, count: i64) {
    let mut config = broker.client();
    let consumer: BaseConsumer = config.set("isolation.level", "read_uncommitted").create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
    let partitions: Vec<_> = metadata.topics()[0].partitions().iter().map(|one| one.id()).collect();
    let start = Instant::now();
    loop {
        let end =
            |partition: &i32| consumer.fetch_watermarks(topic, *partition, PATIENCE).expect("it answers").1;
        let found: i64 = partitions.iter().map(end).sum();
        if found >= count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{topic} has {found} messages and marks");
        thread::sleep(Duration::from_millis(20));
    }
}

fn texts(received: &[Received]) -> Vec<&str> {
    received.iter().map(Received::text).collect()
}

#[test]
fn what_is_written_is_seen_once_it_is_committed_all_of_it_and_in_order_per_key() {
    let Some(broker) = broker::shared() else { return };
    let sink = sink(broker, "whole", &["whole", "whole-late"]);
    let (mut writer, progress) = open(&sink, 1);
    assert_eq!(Progress::START, progress);
    let payloads: Vec<(String, String)> =
        (0..300).map(|i| (format!("key-{}", i % 7), i.to_string())).collect();
    let messages: Vec<Message<'_>> = payloads.iter().map(|(key, payload)| message(key, payload)).collect();
    for some in messages.chunks(30) {
        writer.write(0, some).unwrap();
    }
    writer.write(1, &[message("k", "late")]).unwrap();
    assert!(broker.committed("whole").is_empty());
    writer.commit(below(1)).unwrap();
    let received = broker.committed("whole");
    assert_eq!(300, received.len());
    for key in (0..7).map(|key| format!("key-{key}")) {
        let of_key = |bytes: &Option<Vec<u8>>| bytes.as_deref() == Some(key.as_bytes());
        let received: Vec<_> = received.iter().filter(|one| of_key(&one.key)).cloned().collect();
        let partitions: Vec<_> = received.iter().map(|one| one.partition).collect();
        assert!(partitions.iter().all(|partition| *partition == partitions[0]), "{key}: {partitions:?}");
        let expected: Vec<_> =
            payloads.iter().filter(|(of, _)| *of == key).map(|(_, text)| text.as_str()).collect();
        assert_eq!(expected, texts(&received), "{key}");
    }
    assert_eq!(vec!["late"], texts(&broker.committed("whole-late")));
    writer.write(0, &[message("key-0", "more")]).unwrap();
    writer.commit(Progress::End).unwrap();
    assert_eq!(301, broker.committed("whole").len());
}

#[test]
fn messages_carry_their_pipeline_schema_and_origin() {
    let Some(broker) = broker::shared() else { return };
    let (mut writer, _) = open(&sink(broker, "headers", &["headers"]), 1);
    let headers =
        [Header { name: "partition", value: b"requests/3" }, Header { name: "offset", value: b"17" }];
    writer.write(0, &[Message { headers: &headers, ..message("k", "v") }]).unwrap();
    writer.commit(below(1)).unwrap();
    let expected =
        [("pipeline", "headers"), ("schema", "verdict.v1"), ("partition", "requests/3"), ("offset", "17")];
    let expected = expected.map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())));
    assert_eq!(expected.to_vec(), broker.committed("headers")[0].headers);
}

/// The hashes are those of `UtilsTest.testMurmur2` of Apache Kafka; its `BuiltInPartitioner` takes `toPositive(hash) % partitions`.
#[test]
fn a_key_goes_where_the_partitioner_of_java_takes_it() {
    let Some(broker) = broker::shared() else { return };
    broker.topic("java", 7, &[]);
    let hashes = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    let messages: Vec<_> = hashes.iter().map(|(key, _)| message(key, key)).collect();
    let (mut writer, _) = open(&sink(broker, "java", &["java"]), 1);
    writer.write(0, &messages).unwrap();
    writer.commit(below(1)).unwrap();
    let mut received: Vec<_> =
        broker.committed("java").iter().map(|one| (one.text().to_owned(), one.partition)).collect();
    let mut expected: Vec<_> = hashes.map(|(key, hash)| (key.to_owned(), (hash & 0x7fff_ffff) % 7)).to_vec();
    received.sort();
    expected.sort();
    assert_eq!(expected, received);
}

#[test]
fn shards_are_committed_on_their_own_and_each_finds_its_progress() {
    let Some(broker) = broker::shared() else { return };
    // Fewer partitions than shards: two share one.
    broker.topic("shards-progress", 2, &[("cleanup.policy", "compact")]);
    let sink = || sink(broker, "shards", &["shards"]).sharded(3);
    let opened = |epoch: u64| {
        let sink = sink();
        (0..3).map(Shard).map(move |shard| {
            let mut writer = sink.open(shard).unwrap();
            let progress = writer.fence(Epoch(epoch)).unwrap();
            (writer, progress)
        })
    };
    for ((mut writer, progress), millis) in opened(1).zip([5, 7, 9]) {
        assert_eq!(Progress::START, progress);
        writer.write(0, &[message("k", &millis.to_string())]).unwrap();
        writer.commit(below(millis)).unwrap();
    }
    let found: Vec<_> = opened(2).map(|(_, progress)| progress).collect();
    assert_eq!([5, 7, 9].map(below).to_vec(), found);
    let (_, other) = open(&TransactionalKafka::new("shards", 2, brokers(broker), [topic("shards")]), 3);
    assert_eq!(Progress::START, other, "another incarnation has done nothing yet");
    assert_eq!(3, broker.committed("shards").len());
}

#[test]
fn progress_is_found_behind_ten_thousand_records_of_others() {
    let Some(broker) = broker::shared() else { return };
    let sink = sink(broker, "deep", &["deep"]);
    let (mut writer, _) = open(&sink, 1);
    writer.commit(below(4)).unwrap();
    let keys: Vec<String> = (0..10_000).map(|i| format!("somebody's {i}")).collect();
    let sent = |key: &'static str| broker::Sent { key: Some(key.as_bytes()), ..Default::default() };
    let keys = keys.into_iter().map(|key| sent(Box::leak(key.into_boxed_str())));
    broker.send("deep-progress", keys);
    let start = Instant::now();
    assert_eq!(below(4), open(&sink, 2).1);
    eprintln!("took over a shard behind 10,000 records in {:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(below(4), open(&sink, 3).1);
    eprintln!("and again in {:?}", start.elapsed());
}

#[test]
fn what_needs_no_transaction_is_there_when_the_call_returns() {
    let Some(broker) = broker::shared() else { return };
    let create = Some(Create { partitions: Some(1), ..Create::default() });
    let topic = Topic { create, ..topic("plain") };
    let mut sink = KafkaSink::open("plain", &brokers(broker), topic).unwrap();
    sink.write(&[message("a", "1"), message("b", "2")], Some(EventTime::MIN)).unwrap();
    assert_eq!(vec!["1", "2"], texts(&broker.committed("plain")));
    sink.write(&[], Some(EventTime::MIN)).unwrap();
    sink.write(&[message("a", "3")], None).unwrap();
    let received = broker.committed("plain");
    assert_eq!(vec!["1", "2", "3"], texts(&received));
    assert_eq!(("pipeline".to_owned(), Some(b"plain".to_vec())), received[0].headers[0]);
    assert_eq!(Some(b"b".to_vec()), received[1].key);
}
