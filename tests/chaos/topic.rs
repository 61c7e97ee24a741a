//! A topic whose partitions are out of order, late, malformed, and silent now and then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::feed::LAST;
use crate::broker::{Broker, Sender, Sent};
use crate::recovery::Random;

/// How many partitions there are in the beginning.
const PARTITIONS: usize = 4;
/// How much event time passes in ten milliseconds, in milliseconds.
const TICK: u64 = 50;
/// How far records may be behind the latest one of their partition, in milliseconds.
pub(super) const LATENESS: u64 = 100;

/// Records that come until nobody needs more.
pub(super) struct Feeding {
    topic: String,
    partitions: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

/// A partition as it is written.
#[derive(Clone, Copy, Default)]
struct Part {
    /// Until which tick it is silent.
    silent_until: u64,
    /// How many ticks it is behind all others: its records are late if its silence was noticed.
    behind: u64,
    newest: u64,
}

impl Part {
    /// Takes a pause now and then, after which it goes on where it stood or where the others are.
    fn falls_silent(&mut self, tick: u64, random: &mut Random) -> bool {
        if tick >= self.silent_until && random.below(40) == 0 {
            let pause = 8 + random.below(40);
            self.silent_until = tick + pause;
            self.behind = if random.below(2) == 0 { pause } else { 0 };
        } else if random.below(30) == 0 {
            self.behind = 0;
        }
        tick < self.silent_until
    }
}

impl Feeding {
    /// Begins to write to a topic.
    pub(super) fn start(broker: &Broker, topic: &str, seed: u64) -> Self {
        broker.topic(topic, PARTITIONS as i32, &[]);
        let (partitions, is_over) =
            (Arc::new(AtomicUsize::new(PARTITIONS)), Arc::new(AtomicBool::new(false)));
        let feed = Feed {
            // Whatever happens to the broker, none is given up.
            sender: broker
                .sender(&[("message.timeout.ms", "0"), ("topic.metadata.refresh.interval.ms", "100")]),
            topic: topic.to_owned(),
            random: Random(seed),
            parts: vec![Part::default(); PARTITIONS],
            tick: 0,
            late: 0,
        };
        let (count, ends, topic) = (partitions.clone(), is_over.clone(), topic.to_owned());
        let thread = thread::spawn(move || feed.run(&count, &ends));
        Self { topic, partitions, is_over, thread }
    }

    /// Adds a partition, which whoever reads the topic finds when it starts again.
    pub(super) fn add(&self, broker: &Broker) {
        let count = self.partitions.load(Ordering::Relaxed) + 1;
        broker.grow(&self.topic, count);
        self.partitions.store(count, Ordering::Relaxed);
    }

    /// Ends with records so far ahead that all before them becomes final; returns how many are late whatever anybody decides.
    pub(super) fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it can be written to")
    }
}

/// What writes.
struct Feed {
    sender: Sender,
    topic: String,
    random: Random,
    parts: Vec<Part>,
    tick: u64,
    /// How many records are late by those before them alone.
    late: u64,
}

impl Feed {
    fn run(mut self, partitions: &AtomicUsize, is_over: &AtomicBool) -> u64 {
        while !is_over.load(Ordering::Relaxed) {
            self.tick += 1;
            self.parts.resize(partitions.load(Ordering::Relaxed), Part::default());
            (0..self.parts.len()).for_each(|partition| self.write(partition));
            thread::sleep(Duration::from_millis(10));
        }
        for hours in [1, 2] {
            for partition in 0..self.parts.len() {
                let time = self.tick * TICK + hours * 3_600_000;
                self.send(partition, &format!(r#"{{"t":{time},"k":"{LAST}","v":1}}"#));
            }
        }
        self.sender.finish();
        self.late
    }

    /// Writes some records of the tick.
    fn write(&mut self, partition: usize) {
        if self.parts[partition].falls_silent(self.tick, &mut self.random) {
            return;
        }
        for _ in 0..self.random.below(6) {
            let part = &mut self.parts[partition];
            let (text, time) = record(self.tick.saturating_sub(part.behind), &mut self.random);
            self.late += u64::from(time.is_some_and(|time| time + LATENESS < part.newest));
            part.newest = part.newest.max(time.unwrap_or(0));
            self.send(partition, &text);
        }
    }

    fn send(&self, partition: usize, text: &str) {
        let payload = Some(text.as_bytes());
        self.sender.send(&self.topic, Sent { partition: partition as i32, payload, ..Sent::default() });
    }
}

/// A record of a tick, and its time in milliseconds, if it is one.
fn record(tick: u64, random: &mut Random) -> (String, Option<u64>) {
    if random.below(100) == 0 {
        return (format!("{{\"t\":{tick}"), None);
    }
    let back = if random.below(50) == 0 { 400 } else { 0 };
    let time = (tick * TICK + 500 + random.below(TICK + LATENESS / 2)) - back;
    let far = if random.below(200) == 0 { 500 } else { 0 };
    let (key, value) = (random.below(12), 100 + random.below(20) + far);
    (format!(r#"{{"t":{time},"k":"key-{key}","v":{value}}}"#), Some(time))
}
