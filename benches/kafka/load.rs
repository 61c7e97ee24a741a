//! What is written to topics: made-up records, of which it is known which are anomalies.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use super::broker::{Acknowledged, Broker, PATIENCE};
use super::ewma::{Ewma, THRESHOLD};

/// The partitions of every topic.
pub(crate) const PARTITIONS: u32 = 4;

/// An anomaly: the number of the key, and the event time in microseconds.
pub(crate) type Anomaly = (u32, i64);

/// Microseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_micros() as i64
}

/// Records of 58 bytes of JSON, of which keys and partitions take turns; a key is always in the same partition, and the
/// times of a partition never fall.
pub(crate) struct Load {
    /// What is known of each key.
    keys: Vec<Ewma>,
    /// One of so many records has a value far from the others.
    one_in: u64,
    next: u64,
    last: i64,
    key: String,
    text: String,
}

impl Load {
    /// `keys`, a multiple of the partitions, of which one in `one_in` records is far off.
    pub(crate) fn new(keys: u32, one_in: u64) -> Self {
        assert!(keys.is_multiple_of(PARTITIONS));
        let keys = vec![Ewma::default(); keys as usize];
        Self { keys, one_in, next: 0, last: 0, key: String::new(), text: String::new() }
    }

    /// The next record, at a time in microseconds or a little later; far off in any case if `is_far`. Returns whether it is
    /// an anomaly.
    pub(crate) fn write(&mut self, producer: &Producer, time: i64, is_far: bool) -> Option<Anomaly> {
        let number = self.next;
        let random = mix(number);
        let key = (number * 7919 % self.keys.len() as u64) as u32;
        self.next += 1;
        // Each key has a time once.
        self.last = time.max(self.last + 1);
        let is_far = is_far || random.is_multiple_of(self.one_in);
        let value = 490_000 + (random >> 32) % 20_000 + if is_far { 300_000 } else { 0 };
        let (whole, rest) = (value / 10_000, value % 10_000);
        self.key.clear();
        self.text.clear();
        write!(self.key, "host-{key:05}").expect("there is room");
        write!(self.text, r#"{{"ts":{},"key":"{}","value":{whole}.{rest:04}}}"#, self.last, self.key)
            .expect("there is room");
        producer.send((key % PARTITIONS) as i32, &self.key, &self.text);
        let score = self.keys[key as usize].score(value as f64 / 1e4);
        score.is_some_and(|score| score >= THRESHOLD).then_some((key, self.last))
    }
}

/// A number that looks random.
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (bits >> 31)
}

/// Writes to a topic; its own thread waits for answers.
pub(crate) struct Producer {
    inner: ThreadedProducer<Acknowledged>,
    topic: String,
}

impl Producer {
    /// One that groups what comes within 5 ms, which is the client's default.
    pub(crate) fn new(broker: &Broker, topic: &str) -> Self {
        let mut config = broker.client();
        config.set("enable.idempotence", "true").set("linger.ms", "5");
        let inner = config.create_with_context(Acknowledged).expect("the settings are right");
        Self { inner, topic: topic.to_owned() }
    }

    fn send(&self, partition: i32, key: &str, text: &str) {
        let mut record = BaseRecord::to(&self.topic).partition(partition).key(key).payload(text);
        while let Err((error, back)) = self.inner.send(record) {
            let is_full = error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert!(is_full, "a record cannot be written: {error}");
            thread::sleep(Duration::from_millis(5));
            record = back;
        }
    }

    /// Waits until all is acknowledged.
    pub(crate) fn flush(&self) {
        self.inner.flush(PATIENCE).expect("the broker takes them");
    }
}

/// Writes so many records as fast as they can be, each 5 µs of event time after the one before; the last one of each
/// partition is far off. Returns the anomalies.
pub(crate) fn backlog(broker: &Broker, topic: &str, mut load: Load, records: u64) -> HashSet<Anomaly> {
    let producer = Producer::new(broker, topic);
    let start = now() - 5 * records as i64;
    let last = records - u64::from(PARTITIONS);
    let write = |number| load.write(&producer, start + 5 * number as i64, number >= last);
    let anomalies = (0..records).filter_map(write).collect();
    producer.flush();
    anomalies
}

/// Writes at a steady rate until it is time to stop; tells `note` the anomalies. It sleeps whole milliseconds between, and never
/// spins: a client that does starves a broker on the same cores.
pub(crate) fn paced(
    producer: &Producer,
    load: &mut Load,
    per_second: u64,
    mut note: impl FnMut(Anomaly),
    mut stop: impl FnMut() -> bool,
) {
    let (start, mut written) = (Instant::now(), 0);
    while !stop() {
        let due = start.elapsed().as_micros() as u64 * per_second / 1_000_000;
        while written < due {
            load.write(producer, now(), false).into_iter().for_each(&mut note);
            written += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    producer.flush();
}
