//! A producer that is waited for without spinning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::failure::Undelivered;
use super::hearing::{self, Hearing};
use crate::kafka::settings::refused;
use crate::{lock, Error};

/// How long the thread that hears of deliveries listens at a time: the last millisecond of each is spun away, and a producer
/// that is dropped is gone after it.
const LISTEN: Duration = Duration::from_millis(500);
/// How long to wait for room among the messages that are out, before looking again.
const ROOM: Duration = Duration::from_millis(10);
/// How long to wait for librdkafka to put away a delivery that it has told already.
const PUT_AWAY: Duration = Duration::from_micros(50);

/// What becomes of the messages of a producer.
#[derive(Default)]
pub(super) struct Deliveries {
    out: Mutex<Out>,
    changed: Condvar,
    hearing: Hearing,
}

#[derive(Default)]
struct Out {
    /// How many messages are neither acknowledged nor given up.
    messages: usize,
    /// The first that was given up.
    failure: Option<Undelivered>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        hearing::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hearing.heard(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let mut out = lock(&self.out);
        out.messages -= 1;
        if let Err((error, message)) = result {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let bytes = message.payload_len() + message.key_len();
            out.failure.get_or_insert_with(|| Undelivered { topic: message.topic().to_owned(), bytes, code });
        }
        self.changed.notify_all();
    }
}

/// A producer, with a thread that hears of its deliveries.
pub(super) struct Producer {
    producer: Arc<BaseProducer<Deliveries>>,
    dropped: Arc<AtomicBool>,
}

impl Producer {
    /// Makes one; it connects by itself.
    pub(super) fn start(config: &ClientConfig) -> Result<Self, Error> {
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).map_err(refused)?;
        let (producer, dropped) = (Arc::new(producer), Arc::new(AtomicBool::new(false)));
        let (listening, ended) = (Arc::clone(&producer), Arc::clone(&dropped));
        thread::Builder::new()
            .name("tidewatch-kafka".to_owned())
            .spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    listening.poll(LISTEN);
                }
            })
            .map_err(Error::io("the thread of a Kafka producer"))?;
        Ok(Self { producer, dropped })
    }

    /// The producer itself.
    pub(super) fn inner(&self) -> &BaseProducer<Deliveries> {
        &self.producer
    }

    /// Gives it a message; while too many are out, that waits until some are acknowledged.
    pub(super) fn send(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<(), Undelivered> {
        self.out().messages += 1;
        while let Err((error, back)) = self.producer.send(record) {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            let mut out = self.out();
            if code != RDKafkaErrorCode::QueueFull {
                out.messages -= 1;
                let bytes = back.payload.map_or(0, <[u8]>::len) + back.key.map_or(0, <[u8]>::len);
                return Err(Undelivered { topic: back.topic.to_owned(), bytes, code });
            }
            out = self.wait(out, ROOM);
            if let Some(failure) = out.failure.clone() {
                out.messages -= 1;
                return Err(failure);
            }
            record = back;
        }
        Ok(())
    }

    /// Waits until each message is acknowledged, or some is given up, but not beyond `deadline`; says whether that is so.
    pub(super) fn settle(&self, deadline: Instant) -> Result<bool, Undelivered> {
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut out = self.out();
        while out.messages > 0 && out.failure.is_none() && !left().is_zero() {
            out = self.wait(out, left());
        }
        match (&out.failure, out.messages) {
            (Some(failure), _) => return Err(failure.clone()),
            (None, 0) => drop(out),
            (None, _) => return Ok(false),
        }
        // What is told is put away at once. Whoever asks librdkafka to wait for that waits a tenth of a second.
        while self.producer.in_flight_count() > 0 && !left().is_zero() {
            thread::sleep(PUT_AWAY);
        }
        Ok(true)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        lock(&self.producer.context().out)
    }

    fn wait<'a>(&'a self, out: MutexGuard<'a, Out>, longest: Duration) -> MutexGuard<'a, Out> {
        let waited = self.producer.context().changed.wait_timeout(out, longest);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}
