//! A sink that writes at least once.

use std::time::{Duration, Instant};

use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;
use tidewatch_dataflows::EventTime;

use super::failure::Undelivered;
use super::producer::Producer;
use super::topics::Topics;
use super::{headers, Brokers, Topic};
use crate::{Error, Message, Sink};

/// How long to wait at a time for messages to be acknowledged; librdkafka gives them up after its `message.timeout.ms`.
const WAIT: Duration = Duration::from_secs(60);

/// Writes each message to a topic, at least once: when a run is started again after a crash, the last ones may come again.
///
/// Nothing is transactional: readers see messages at once.
pub struct KafkaSink {
    topic: Topic,
    common: OwnedHeaders,
    producer: Producer,
}

impl KafkaSink {
    /// Opens a topic for the messages of a pipeline.
    ///
    /// # Errors
    ///
    /// [`Error`] within ten seconds if no broker can be reached, or there is no such topic.
    pub fn open(pipeline: &str, brokers: &Brokers, topic: Topic) -> Result<Self, Error> {
        Topics::of(brokers)?.require(&topic)?;
        let config = brokers.producer();
        Ok(Self { common: headers::common(pipeline, &topic), producer: Producer::start(&config)?, topic })
    }

    fn send(&self, messages: &[Message<'_>]) -> Result<(), Undelivered> {
        for message in messages {
            let headers = headers::with(&self.common, message.headers);
            let mut record = BaseRecord::to(&self.topic.name).payload(message.payload).headers(headers);
            record.key = message.key;
            self.producer.send(record)?;
        }
        while !self.producer.settle(Instant::now() + WAIT)? {}
        Ok(())
    }
}

impl Sink for KafkaSink {
    fn write(&mut self, messages: &[Message<'_>], _frontier: Option<EventTime>) -> Result<(), Error> {
        Ok(self.send(messages)?)
    }

    fn wants_keys(&self) -> bool {
        true
    }
}
