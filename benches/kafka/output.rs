//! What a system has committed, as a reader of committed records sees it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use serde_json::Value;

use super::broker::{Broker, PATIENCE};
use super::load::{now, Anomaly};

/// An anomaly that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) anomaly: Anomaly,
    /// When it was read, in microseconds since 1970.
    pub(crate) at: i64,
    /// When it was written, by the clock of its writer.
    pub(crate) written: i64,
}

impl Seen {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let at = now();
        let written = message.timestamp().to_millis().expect("it was written at some time") * 1000;
        let parsed: Value =
            serde_json::from_slice(message.payload().expect("it says something")).expect("it is JSON");
        // tidewatch names the parts of a key, and writes times as text.
        let key = parsed["key"].as_str().or_else(|| parsed["key"]["key"].as_str()).expect("it has a key");
        let key =
            key.strip_prefix("host-").and_then(|number| number.parse().ok()).expect("it is one of the keys");
        let time = parsed["ts"].as_i64().unwrap_or_else(|| {
            let text = parsed["time"].as_str().expect("it has a time");
            text.parse::<Timestamp>().expect("it is a time").as_microsecond()
        });
        Self { anomaly: (key, time), at, written }
    }
}

/// Reads a topic on a thread, from its beginning.
pub(crate) struct Output {
    topic: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    pub(crate) fn of(broker: &Broker, topic: &str) -> Self {
        let consumer = broker.consumer(topic);
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (shared, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = Some(thread::spawn(move || read(&consumer, &shared, &until)));
        Self { topic: topic.to_owned(), seen, stop, thread }
    }

    /// How many have been read.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("the thread lives").len()
    }

    /// The first one for which `is_it`, if it has been read.
    pub(crate) fn find(&self, is_it: impl Fn(&Seen) -> bool) -> Option<Seen> {
        self.seen.lock().expect("the thread lives").iter().copied().find(is_it)
    }

    /// How many keys have one at or after a time.
    pub(crate) fn keys_since(&self, time: i64) -> usize {
        let seen = self.seen.lock().expect("the thread lives");
        let late = seen.iter().filter(|seen| seen.anomaly.1 >= time);
        late.map(|seen| seen.anomaly.0).collect::<HashSet<_>>().len()
    }

    /// Waits until so many have been read, but not longer than `limit`.
    pub(crate) fn await_count(&self, count: usize, limit: Duration) {
        let start = Instant::now();
        while self.count() < count {
            assert!(start.elapsed() < limit, "only {} of {count} anomalies were committed", self.count());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until each of `expected` has been read, and returns them; none may come twice.
    pub(crate) fn await_all(&self, expected: &HashSet<Anomaly>) -> Vec<Seen> {
        let start = Instant::now();
        loop {
            let seen = self.seen.lock().expect("the thread lives").clone();
            let found: Vec<_> = seen.into_iter().filter(|seen| expected.contains(&seen.anomaly)).collect();
            let different: HashSet<_> = found.iter().map(|seen| seen.anomaly).collect();
            assert_eq!(different.len(), found.len(), "doubled in {}", self.topic);
            if found.len() == expected.len() {
                return found;
            }
            let (found, all) = (found.len(), expected.len());
            assert!(start.elapsed() < PATIENCE, "only {found} of {all} anomalies came to {}", self.topic);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Reads to the end, and returns all: each of `expected` once and nothing else, or the bench fails.
    pub(crate) fn exactly(mut self, broker: &Broker, expected: &HashSet<Anomaly>) -> Vec<Seen> {
        self.await_count(broker.committed(&self.topic).len(), PATIENCE);
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("it reads"));
        let seen = std::mem::take(&mut *self.seen.lock().expect("the thread has ended"));
        let found: HashSet<_> = seen.iter().map(|seen| seen.anomaly).collect();
        let (missing, wrong) = (expected.difference(&found).count(), found.difference(expected).count());
        let twice = seen.len() - found.len();
        assert_eq!((0, 0, 0), (missing, wrong, twice), "missing, wrong and doubled in {}", self.topic);
        seen
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn read(consumer: &BaseConsumer, seen: &Mutex<Vec<Seen>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => seen.lock().expect("nobody panics").push(Seen::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            // The broker may go before this hears that nobody reads any more.
            Some(Err(_)) if stop.load(Ordering::Relaxed) => {}
            Some(Err(error)) => panic!("what was committed cannot be read: {error}"),
        }
    }
}
