//! Offsets of a consumer group, for tools that show how far reading is behind.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, warn};

use super::settings::{refused, Settings};
use crate::Error;

/// Commits offsets for a consumer group that has no members.
///
/// They are for lag tools alone: recovery never looks at them, and nothing waits for them. What cannot be committed is warned
/// of, and the next commit has newer ones.
pub struct GroupOffsets {
    consumer: BaseConsumer<Committed>,
}

/// Hears what became of a commit.
struct Committed {
    group: String,
}

impl ClientContext for Committed {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "a Kafka client has trouble");
    }
}

impl ConsumerContext for Committed {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            warn!(group = self.group, %error, "cannot commit the offsets of the consumer group");
        }
    }
}

impl GroupOffsets {
    /// Commits for `group`, with the settings of the source whose offsets they are; it connects by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if librdkafka cannot make a client.
    pub fn new(settings: &Settings, group: &str) -> Result<Self, Error> {
        let mut config = settings.config().clone();
        config.set("group.id", group).set("statistics.interval.ms", "0");
        let context = Committed { group: group.to_owned() };
        let consumer = config.create_with_context(context).map_err(refused)?;
        Ok(Self { consumer })
    }

    /// Commits, for each topic and partition, the offset of the record that is read next. Returns at once.
    pub fn commit<'a>(&self, offsets: impl IntoIterator<Item = (&'a str, i32, i64)>) {
        // What became of earlier commits is heard here.
        self.listen();
        let mut list = TopicPartitionList::new();
        let added = offsets.into_iter().try_for_each(|(topic, partition, offset)| {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))
        });
        match added.and_then(|()| self.consumer.commit(&list, CommitMode::Async)) {
            Ok(()) => {}
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::NoOffset) => {}
            Err(error) => {
                let group = self.consumer.context().group.as_str();
                warn!(group, %error, "cannot commit the offsets of the consumer group");
            }
        }
    }

    fn listen(&self) {
        while self.consumer.poll(Duration::ZERO).is_some() {}
    }
}

impl Drop for GroupOffsets {
    fn drop(&mut self) {
        self.listen();
    }
}
