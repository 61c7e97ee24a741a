//! Topics of a broker, and what is written to and read from them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::{Broker, PATIENCE};

/// How long it may take until all partitions of a transaction say that it has ended.
const MARKED: Duration = Duration::from_secs(5);

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// In milliseconds; now unless it is given.
    pub(crate) timestamp: Option<i64>,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Received {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.payload.as_deref().unwrap_or_default()).expect("it is text")
    }
}

/// Ends the program when a record was not written: nothing that a test claims would mean anything.
pub(crate) struct Acknowledged;

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            panic!("a record was not written: {error}");
        }
    }
}

/// Writes records.
pub(crate) struct Sender(BaseProducer<Acknowledged>);

impl Sender {
    /// Writes a record, soon.
    pub(crate) fn send(&self, topic: &str, sent: Sent<'_>) {
        let mut headers = OwnedHeaders::new();
        for (key, value) in sent.headers {
            headers = headers.insert(Header { key, value: *value });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(sent.partition).headers(headers);
        (record.key, record.payload, record.timestamp) = (sent.key, sent.payload, sent.timestamp);
        let start = Instant::now();
        while let Err((error, back)) = self.0.send(record) {
            // Of a partition that is new it hears soon.
            let code = error.rdkafka_error_code();
            let passes =
                [RDKafkaErrorCode::QueueFull, RDKafkaErrorCode::UnknownPartition].map(Some).contains(&code);
            assert!(passes && start.elapsed() < PATIENCE, "a record cannot be written: {error}");
            self.0.poll(Timeout::After(Duration::from_millis(10)));
            record = back;
        }
    }

    /// Returns when all are acknowledged.
    pub(crate) fn finish(self) {
        self.0.flush(PATIENCE).expect("the broker takes them");
    }
}

impl Broker {
    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("the settings are right")
    }

    /// Makes a topic with these settings, as `("retention.ms", "1000")`.
    pub(crate) fn topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let made = block_on(self.admin().create_topics([&topic], &options)).expect("the broker answers");
        made.into_iter().for_each(|made| drop(made.expect("nobody else has a topic of this name")));
    }

    /// Gives a topic more partitions, so that it has so many.
    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let grown =
            block_on(self.admin().create_partitions([&NewPartitions::new(topic, partitions)], &options));
        let grown = grown.expect("the broker answers").into_iter();
        grown.for_each(|grown| drop(grown.expect("it has fewer of them")));
        let start = Instant::now();
        while self.ends(topic).len() < partitions {
            assert!(start.elapsed() < PATIENCE, "the topic {topic} does not grow");
        }
    }

    /// The settings that a topic has now.
    pub(crate) fn settings_of(&self, topic: &str) -> BTreeMap<String, String> {
        let options = AdminOptions::new().request_timeout(Some(PATIENCE));
        let asked = self.admin();
        let described = block_on(asked.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
        let described = described.expect("the broker answers").remove(0).expect("there is the topic");
        let entries = described.entries.into_iter();
        entries.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect()
    }

    /// Removes the records of a partition before `offset`, as retention does.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("the offset is right");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        block_on(self.admin().delete_records(&before, &options)).expect("the broker answers");
    }

    /// Writes records in this order, and returns when all are acknowledged.
    pub(crate) fn send<'a>(&self, topic: &str, records: impl IntoIterator<Item = Sent<'a>>) {
        self.send_as(topic, &[], records);
    }

    /// The same by a producer with further settings, as `("compression.type", "zstd")`.
    pub(crate) fn send_as<'a>(
        &self,
        topic: &str,
        settings: &[(&str, &str)],
        records: impl IntoIterator<Item = Sent<'a>>,
    ) {
        let sender = self.sender(settings);
        records.into_iter().for_each(|sent| sender.send(topic, sent));
        sender.finish();
    }

    /// A producer with further settings, which outlives the broker and goes on with the next one at its address.
    pub(crate) fn sender(&self, settings: &[(&str, &str)]) -> Sender {
        let mut config = self.client();
        // One partition's records stay in order when some are sent again.
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        Sender(config.create_with_context(Acknowledged).expect("the settings are right"))
    }

    /// Where each partition of a topic ends; of transactions, behind the last that is decided.
    pub(crate) fn ends(&self, topic: &str) -> Vec<i64> {
        self.ends_of(topic, "read_committed")
    }

    fn ends_of(&self, topic: &str, isolation: &str) -> Vec<i64> {
        let mut config = self.client();
        let consumer: BaseConsumer =
            config.set("isolation.level", isolation).create().expect("the settings are right");
        let start = Instant::now();
        let partitions = loop {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
            match metadata.topics()[0].partitions().len() {
                // One that was made just now has none for a moment.
                0 => assert!(start.elapsed() < PATIENCE, "there is no topic {topic}"),
                partitions => break partitions,
            }
        };
        let end = |number| loop {
            match consumer.fetch_watermarks(topic, number, PATIENCE) {
                Ok((_, end)) => break end,
                // Nor a leader.
                Err(error) => assert!(start.elapsed() < PATIENCE, "{topic}/{number}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        (0..partitions as i32).map(end).collect()
    }

    /// A consumer that neither joins the group nor reads anything: what a tool for lag is.
    pub(crate) fn tool(&self, group: &str) -> BaseConsumer {
        self.client().set("group.id", group).create().expect("the settings are right")
    }

    /// The offsets that a group has of each partition of a topic.
    pub(crate) fn offsets_of(&self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let tool = self.tool(group);
        let mut asked = TopicPartitionList::new();
        for number in 0..self.ends(topic).len() as i32 {
            asked.add_partition(topic, number);
        }
        let start = Instant::now();
        let found = loop {
            match tool.committed_offsets(asked.clone(), PATIENCE) {
                Ok(found) => break found,
                // Whoever coordinates the group may have changed just now.
                Err(error) => {
                    assert!(start.elapsed() < PATIENCE, "the broker knows no group {group}: {error}")
                }
            }
        };
        let offset = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        found.elements().iter().map(|element| offset(element.offset())).collect()
    }

    /// A consumer of committed records, at the beginning of every partition of the topic.
    pub(crate) fn consumer(&self, topic: &str) -> BaseConsumer {
        let mut config = self.client();
        config
            .set("group.id", "tests")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "20");
        let consumer: BaseConsumer = config.create().expect("the settings are right");
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        let mut all = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let added = all.add_partition_offset(topic, partition.id(), Offset::Beginning);
            added.expect("the offset is right");
        }
        assert!(all.count() > 0, "there is no topic {topic}");
        consumer.assign(&all).expect("the partitions are right");
        consumer
    }

    /// Gives the broker a moment to mark in each partition that a transaction has ended: its producer does not wait for that.
    fn settle(&self, topic: &str) {
        let start = Instant::now();
        let is_open = || self.ends_of(topic, "read_committed") != self.ends_of(topic, "read_uncommitted");
        while is_open() && start.elapsed() < MARKED {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All committed records that the topic has now, by partition and offset.
    pub(crate) fn committed(&self, topic: &str) -> Vec<Received> {
        self.settle(topic);
        let consumer = self.consumer(topic);
        let mut left = consumer.assignment().expect("it is assigned").count();
        let (mut received, start) = (Vec::new(), Instant::now());
        while left > 0 {
            assert!(start.elapsed() < PATIENCE, "the topic {topic} cannot be read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => received.push(Received::of(&message)),
                Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
                Some(Err(error)) => panic!("the topic {topic} cannot be read: {error}"),
                None => {}
            }
        }
        received.sort_by_key(|received| (received.partition, received.offset));
        received
    }
}
