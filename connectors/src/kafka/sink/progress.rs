//! How far the output of each shard is complete, in a compacted topic.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::hearing::Hearing;
use super::Brokers;
use crate::kafka::settings::refused;
use crate::store::Epoch;
use crate::{Error, Progress, Shard};

/// The version of [`Record`].
const VERSION: u32 = 1;
/// How many of the newest messages are read first; if a shard's is not among them, ten times as many are, and so on.
const NEWEST: i64 = 256;
/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// After how long to look again whether a transaction has ended.
const LOOK: Duration = Duration::from_millis(10);

/// What is said of a shard with each of its commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// How many shards the sink has; what is in which depends on it.
    shards: u32,
    /// The run that committed it.
    pub(super) epoch: Epoch,
    /// How far the shard's output is complete.
    pub(super) progress: Progress,
}

impl Record {
    pub(super) fn new(shards: u32, epoch: Epoch, progress: Progress) -> Self {
        Self { version: VERSION, shards, epoch, progress }
    }

    /// Refuses to go on with another number of shards.
    pub(super) fn agrees(&self, shards: u32) -> Result<(), Error> {
        if self.shards == shards {
            return Ok(());
        }
        Err(Error::Configuration(format!(
            "the job has committed its output with shards = {}, and cannot go on with {shards}: set it back, or start anew with \
             `--fresh`",
            self.shards
        )))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has nothing that JSON cannot say")
    }
}

#[derive(Serialize)]
struct Key<'a> {
    job: &'a str,
    incarnation: u64,
    shard: Shard,
}

/// Where the records of a shard are: a partition of its own, if the topic has as many as there are shards.
pub(super) struct Ledger {
    brokers: Brokers,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) key: Vec<u8>,
}

impl Ledger {
    pub(super) fn new(
        brokers: &Brokers,
        (topic, partitions): (&str, u32),
        (job, incarnation): (&str, u64),
        shard: Shard,
    ) -> Self {
        let key = serde_json::to_vec(&Key { job, incarnation, shard }).expect("JSON can say it");
        let partition = i32::try_from(shard.0 % partitions.max(1)).expect("Kafka counts partitions so");
        Self { brokers: brokers.clone(), topic: topic.to_owned(), partition, key }
    }

    /// The newest committed record of the shard. What others write in transactions to the same partition is waited for, but
    /// no longer than `patience`: behind it, what is committed cannot be read.
    pub(super) fn read(&self, patience: Duration) -> Result<Option<Record>, Error> {
        let deadline = Instant::now() + patience;
        let consumer = |isolation| {
            let fixed =
                [("isolation.level", isolation), ("enable.partition.eof", "true"), ("group.id", "tidewatch")];
            let mut config = self.brokers.client(&fixed);
            config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
            config.create_with_context::<_, BaseConsumer<Hearing>>(Hearing::default()).map_err(refused)
        };
        let (first, end) = self.bounds(&consumer("read_uncommitted")?, deadline)?;
        let reader = consumer("read_committed")?;
        while self.bounds(&reader, deadline)?.1 < end {
            if Instant::now() > deadline {
                return Err(self.unreadable("a transaction of somebody else does not end"));
            }
            thread::sleep(LOOK);
        }
        let mut newest = NEWEST;
        loop {
            let from = end.saturating_sub(newest).max(first);
            let found = self.read_from(&reader, from, deadline)?;
            if found.is_some() || from == first {
                return Ok(found);
            }
            newest = newest.saturating_mul(10);
        }
    }

    /// The first offset of the partition, and the one behind the last that the consumer may read.
    fn bounds(&self, consumer: &BaseConsumer<Hearing>, deadline: Instant) -> Result<(i64, i64), Error> {
        loop {
            match consumer.fetch_watermarks(&self.topic, self.partition, ANSWER) {
                Ok(bounds) => return Ok(bounds),
                Err(error) if Instant::now() > deadline => return Err(self.unreadable(&error.to_string())),
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn read_from(
        &self,
        reader: &BaseConsumer<Hearing>,
        from: i64,
        deadline: Instant,
    ) -> Result<Option<Record>, Error> {
        let mut assigned = TopicPartitionList::new();
        let unreadable = |error: KafkaError| self.unreadable(&error.to_string());
        assigned
            .add_partition_offset(&self.topic, self.partition, Offset::Offset(from))
            .map_err(unreadable)?;
        reader.assign(&assigned).map_err(unreadable)?;
        let mut newest = None;
        loop {
            match reader.poll(ANSWER) {
                Some(Ok(message)) if message.key() == Some(&self.key) => {
                    newest = Some(self.decode(&message)?)
                }
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
                Some(Err(error)) if Instant::now() > deadline => return Err(unreadable(error)),
                None if Instant::now() > deadline => return Err(self.unreadable("nothing comes")),
                Some(Err(_)) | None => {}
            }
        }
    }

    fn decode(&self, message: &BorrowedMessage<'_>) -> Result<Record, Error> {
        let record: Result<Record, _> = serde_json::from_slice(message.payload().unwrap_or_default());
        let damaged = |reason| Error::Damaged {
            object: format!(
                "topic \"{}\", partition {}, offset {}",
                self.topic,
                self.partition,
                message.offset()
            ),
            reason,
        };
        match record {
            Ok(record) if record.version == VERSION => Ok(record),
            Ok(record) => Err(damaged(format!("version {} is not known here", record.version))),
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    fn unreadable(&self, reason: &str) -> Error {
        let Self { brokers, topic, partition, .. } = self;
        Error::Broker(format!(
            "{brokers}: partition {partition} of topic \"{topic}\" cannot be read: {reason}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::EventTime;

    use super::*;

    #[test]
    fn keys_and_records_are_text_that_people_can_read() {
        let brokers = Brokers::new("a:1", [("client.id", "x")]).unwrap();
        let ledger = Ledger::new(&brokers, ("t", 3), ("api", 2), Shard(4));
        assert_eq!(r#"{"job":"api","incarnation":2,"shard":4}"#, String::from_utf8(ledger.key).unwrap());
        assert_eq!(1, ledger.partition);
        let text = |progress| String::from_utf8(Record::new(4, Epoch(7), progress).bytes()).unwrap();
        let below = Progress::Below(EventTime::from_micros(5));
        assert_eq!(r#"{"version":1,"shards":4,"epoch":7,"progress":{"below":5}}"#, text(below));
        assert_eq!(r#"{"version":1,"shards":4,"epoch":7,"progress":"end"}"#, text(Progress::End));
    }
}
