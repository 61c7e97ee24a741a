//! What a client hears beside records: errors, how far its partitions go, and whether anybody answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Statistics};
use tracing::{debug, info, warn};

use super::counted::Counted;
use super::group::Telling;
use super::refusal::{failure, refusal};
use super::Place;
use crate::lock;

/// How long something lasts until it is said again; then twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// When something that lasts is said again.
#[derive(Default)]
pub(super) struct Reminder {
    next: Option<Instant>,
    after: Duration,
}

impl Reminder {
    /// Whether it is to be said now: the first time, and then after longer and longer times.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.next.is_none_or(|next| now >= next);
        if is_due {
            self.after = (self.after * 2).clamp(AGAIN, AGAIN_AT_MOST);
            self.next = Some(now + self.after);
        }
        is_due
    }
}

/// What a client hears.
pub(super) struct News {
    brokers: String,
    is_committed: bool,
    /// Whether anybody has answered yet: until then, whoever asks says what is wrong.
    is_known: AtomicBool,
    /// Why nobody lets it in, or it trusts nobody.
    refused: Mutex<Option<String>>,
    /// Why it can never go on.
    fatal: OnceLock<String>,
    outage: Mutex<Outage>,
    /// Where each partition ends, by topic and number.
    ends: Mutex<HashMap<String, HashMap<i32, Arc<AtomicU64>>>>,
    /// Whom it tells how far reading is, if anybody.
    pub(super) telling: Option<Telling>,
    _counted: Counted,
}

/// A time in which no broker answers.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
    reason: String,
    reminder: Reminder,
}

impl News {
    pub(super) fn new(brokers: &str, is_committed: bool, telling: Option<Telling>) -> Self {
        let (brokers, ends) = (brokers.to_owned(), Mutex::default());
        let (refused, fatal, outage) = (Mutex::default(), OnceLock::new(), Mutex::default());
        Self {
            brokers,
            is_committed,
            is_known: AtomicBool::new(false),
            refused,
            fatal,
            outage,
            ends,
            telling,
            _counted: Counted::default(),
        }
    }

    /// A broker has answered.
    pub(super) fn know(&self) {
        self.is_known.store(true, Ordering::Relaxed);
        *lock(&self.refused) = None;
    }

    /// Why nobody lets the client in, or it trusts nobody, if that is so.
    pub(super) fn refused(&self) -> Option<String> {
        lock(&self.refused).clone()
    }

    /// What was last heard of brokers that cannot be reached.
    pub(super) fn reason(&self) -> String {
        lock(&self.outage).reason.clone()
    }

    /// Whether no broker answers.
    pub(super) fn is_away(&self) -> bool {
        lock(&self.outage).since.is_some()
    }

    /// Why the client can never go on, if that is so.
    pub(super) fn fatal(&self) -> Option<&str> {
        self.fatal.get().map(String::as_str)
    }

    pub(super) fn end_with(&self, reason: String) {
        // The first one counts.
        let _ = self.fatal.set(reason);
    }

    /// Where a partition ends, as far as the broker has said; at first at `end`.
    pub(super) fn watch(&self, place: &Place, end: u64) -> Arc<AtomicU64> {
        let end = Arc::new(AtomicU64::new(end));
        lock(&self.ends).entry(place.topic.clone()).or_default().insert(place.number, end.clone());
        end
    }

    /// Says an outage again when it is time.
    pub(super) fn remind(&self) {
        let mut outage = lock(&self.outage);
        let Some(since) = outage.since else { return };
        if outage.reminder.is_due() {
            let (brokers, seconds, reason) = (&*self.brokers, since.elapsed().as_secs(), &*outage.reason);
            warn!(brokers, seconds, reason, "no broker answers; reading goes on when one does");
        }
    }

    fn lose(&self, reason: &str) {
        let mut outage = lock(&self.outage);
        if outage.since.is_none() && self.is_known.load(Ordering::Relaxed) {
            let (brokers, reason) =
                (&*self.brokers, if outage.reason.is_empty() { reason } else { &outage.reason });
            warn!(brokers, reason, "no broker answers; reading goes on when one does");
            (outage.since, outage.reminder) = (Some(Instant::now()), Reminder::default());
            // It is said just now.
            outage.reminder.is_due();
        }
    }

    fn find(&self) {
        let mut outage = lock(&self.outage);
        if let Some(since) = outage.since {
            let (brokers, seconds) = (&*self.brokers, since.elapsed().as_secs());
            info!(brokers, seconds, "a broker answers again");
            *outage = Outage::default();
        }
    }
}

impl ClientContext for News {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What else matters comes as an error, too.
        if let Some(reason) = failure(facility, message) {
            reason.clone_into(&mut lock(&self.outage).reason);
        }
        debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if let Some(refusal) = refusal(code, reason) {
            *lock(&self.refused) = Some(refusal);
        }
        match code {
            // The reader of the partition is told.
            Code::PartitionEOF | Code::AutoOffsetReset => {}
            Code::AllBrokersDown => self.lose(reason),
            Code::Fatal => self.end_with(reason.to_owned()),
            _ => {
                debug!(%code, reason, "heard of a failure");
                reason.clone_into(&mut lock(&self.outage).reason);
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        // Those with a number are brokers; others are where to ask for them.
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.find();
        }
        let ends = lock(&self.ends);
        for (topic, partitions) in &*ends {
            let Some(topic) = statistics.topics.get(topic) else { continue };
            for (number, end) in partitions {
                let Some(partition) = topic.partitions.get(number) else { continue };
                let said = if self.is_committed { partition.ls_offset } else { partition.hi_offset };
                if let Ok(said) = u64::try_from(said) {
                    end.fetch_max(said, Ordering::Relaxed);
                }
            }
        }
    }
}

impl ConsumerContext for News {}
