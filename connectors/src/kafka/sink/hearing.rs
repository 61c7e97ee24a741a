//! What clients say beside what they were asked.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, warn};

use crate::kafka::counted::Counted;
use crate::kafka::refusal::{failure, refusal};
use crate::lock;

/// Keeps the last thing that went wrong, which says why nothing goes.
#[derive(Default)]
pub(super) struct Hearing {
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
    _counted: Counted,
}

impl Hearing {
    /// What went wrong last.
    pub(super) fn last(&self) -> Option<(RDKafkaErrorCode, String)> {
        lock(&self.last).clone()
    }

    pub(super) fn heard(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        match code {
            RDKafkaErrorCode::AllBrokersDown => warn!(reason, "no Kafka broker can be reached"),
            _ => {
                debug!(%code, reason, "a Kafka client has trouble");
                *lock(&self.last) = Some((code, reason.to_owned()));
            }
        }
    }
}

/// Logs what librdkafka logs.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    debug!(?level, facility, message, "librdkafka");
}

impl ClientContext for Hearing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
        let Some(reason) = failure(facility, message) else { return };
        let mut last = lock(&self.last);
        // What is no transient failure comes as an error, too.
        if last.as_ref().is_none_or(|(code, reason)| refusal(*code, reason).is_none()) {
            *last = Some((RDKafkaErrorCode::BrokerTransportFailure, reason.to_owned()));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard(&error, reason);
    }
}

impl ConsumerContext for Hearing {}
