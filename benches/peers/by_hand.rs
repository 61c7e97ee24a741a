//! The job as anybody would write it by hand: one thread that polls, parses, looks into a hash map, and writes
//! anomalies in transactions. What it knows of the keys is gone when it ends.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use crate::kafka::ewma::{Ewma, THRESHOLD};
use crate::kafka::load::PARTITIONS;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
const COMMIT: Duration = Duration::from_millis(100);
/// Nothing else is said before it reads.
pub(crate) const READY: &str = "ready";

#[derive(Deserialize)]
struct Measured<'a> {
    ts: i64,
    key: &'a str,
    value: f64,
}

/// Runs to the end of the topic `input`; `part` is where the brokers are, `input`, and where anomalies go.
pub(crate) fn run(part: &str) -> Result<(), KafkaError> {
    let words: Vec<_> = part.split(' ').collect();
    let [brokers, input, output] = words[..] else { panic!("{part:?} names no part") };
    let consumer = consumer(brokers, input)?;
    let producer = producer(brokers, output)?;
    eprintln!("{READY}");
    let (mut keys, mut left) = (HashMap::<String, Ewma>::new(), PARTITIONS);
    let (mut commit_at, mut has_written) = (Instant::now() + COMMIT, false);
    let mut polls = 0_u32;
    while left > 0 {
        match consumer.poll(COMMIT) {
            Some(Ok(message)) => {
                let payload = message.payload().unwrap_or_default();
                let Ok(measured) = serde_json::from_slice::<Measured<'_>>(payload) else { continue };
                // Only a new key is copied.
                let score = match keys.get_mut(measured.key) {
                    Some(ewma) => ewma.score(measured.value),
                    None => keys.entry(measured.key.to_owned()).or_default().score(measured.value),
                };
                if let Some(score) = score.filter(|score| *score >= THRESHOLD) {
                    let Measured { ts, key, value } = measured;
                    let text = format!(r#"{{"ts":{ts},"key":"{key}","value":{value},"score":{score}}}"#);
                    producer
                        .send(BaseRecord::to(output).key(key).payload(&text))
                        .map_err(|(error, _)| error)?;
                    has_written = true;
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => return Err(error),
            None => {}
        }
        // To look at the clock is not free either.
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(256) && has_written && Instant::now() >= commit_at {
            commit(&producer)?;
            producer.begin_transaction()?;
            (commit_at, has_written) = (Instant::now() + COMMIT, false);
        }
    }
    commit(&producer)
}

fn consumer(brokers: &str, topic: &str) -> Result<BaseConsumer, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "by-hand").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    // What makes it fast, as for tidewatch.
    config.set("fetch.queue.backoff.ms", "2").set("fetch.wait.max.ms", "100");
    let consumer: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS as i32 {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    Ok(consumer)
}

fn producer(brokers: &str, id: &str) -> Result<BaseProducer, KafkaError> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("transactional.id", id).set("linger.ms", "5");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    Ok(producer)
}

/// The client's own way to wait for what is on its way takes a tenth of a second at a time.
fn commit(producer: &BaseProducer) -> Result<(), KafkaError> {
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
        thread::sleep(Duration::from_millis(1));
    }
    producer.commit_transaction(PATIENCE)
}
