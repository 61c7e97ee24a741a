//! Why something could not be written, and what to do about it.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

use crate::Error;

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    pub(super) topic: String,
    /// The bytes of key and payload.
    pub(super) bytes: usize,
    pub(super) code: RDKafkaErrorCode,
}

impl Undelivered {
    /// Whether another try, from the last checkpoint, may have more luck.
    pub(super) fn may_pass(&self) -> bool {
        use RDKafkaErrorCode::{
            ClusterAuthorizationFailed, InvalidMessage, InvalidMessageSize, InvalidRecord,
            MessageSizeTooLarge, TopicAuthorizationFailed, UnknownPartition, UnknownTopic,
            UnknownTopicOrPartition,
        };
        !matches!(
            self.code,
            MessageSizeTooLarge
                | InvalidMessageSize
                | InvalidMessage
                | InvalidRecord
                | TopicAuthorizationFailed
                | ClusterAuthorizationFailed
                | UnknownTopic
                | UnknownPartition
                | UnknownTopicOrPartition
        )
    }

    fn remedy(&self) -> &'static str {
        use RDKafkaErrorCode as Code;
        match self.code {
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
                ": raise `max.message.bytes` of the topic, and `message.max.bytes` in the sink's `librdkafka` options"
            }
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                ": let the sink's user write to the topic"
            }
            Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
                ": the topic has been deleted or changed; make it again"
            }
            _ => "",
        }
    }
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, bytes, code } = self;
        write!(
            f,
            "topic \"{topic}\" does not take a message of {bytes} bytes: {}{}",
            said(*code),
            self.remedy()
        )
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Self {
        Self::Broker(undelivered.to_string())
    }
}

/// What a code means, in words.
pub(super) fn said(code: RDKafkaErrorCode) -> String {
    let said = code.to_string();
    // As in "MessageSizeTooLarge (Broker: Message size too large)".
    let said =
        said.split_once(" (").map_or(said.as_str(), |(_, said)| said.strip_suffix(')').unwrap_or(said));
    said.trim_start_matches("Broker: ").trim_start_matches("Local: ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_too_large_is_named_with_its_size_and_the_remedy() {
        let code = RDKafkaErrorCode::MessageSizeTooLarge;
        let undelivered = Undelivered { topic: "out".to_owned(), bytes: 12, code };
        assert_eq!(
            "topic \"out\" does not take a message of 12 bytes: message size too large: raise `max.message.bytes` of the \
             topic, and `message.max.bytes` in the sink's `librdkafka` options",
            undelivered.to_string()
        );
        assert!(!undelivered.may_pass());
        assert!(Undelivered { code: RDKafkaErrorCode::MessageTimedOut, ..undelivered }.may_pass());
    }
}
