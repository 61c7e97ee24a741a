//! A topic whose partitions are out of order, late, malformed, and silent now and then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::feed::LAST;
use crate::broker::{Broker, Sender, Sent};
use crate::recovery::Random;

pub(super) const PARTITIONS: i32 = 4;
/// How much event time passes in ten milliseconds, in milliseconds.
const TICK: u64 = 50;
/// How far records may be behind the latest one of their partition, in milliseconds.
pub(super) const LATENESS: u64 = 100;

/// Records that come until nobody needs more.
pub(super) struct Feeding {
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
        broker.topic(topic, PARTITIONS, &[]);
        // Whatever happens to the broker, none is given up.
        let (sender, topic) = (broker.sender(&[("message.timeout.ms", "0")]), topic.to_owned());
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = is_over.clone();
        let thread = thread::spawn(move || feed(sender, &topic, seed, &ends));
        Self { is_over, thread }
    }

    /// Ends with records so far ahead that all before them becomes final; returns how many are late whatever anybody decides.
    pub(super) fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it can be written to")
    }
}

fn feed(sender: Sender, topic: &str, seed: u64, is_over: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let mut parts = [Part::default(); PARTITIONS as usize];
    let (mut tick, mut late) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        tick += 1;
        for (partition, part) in (0..).zip(&mut parts) {
            if part.falls_silent(tick, &mut random) {
                continue;
            }
            for _ in 0..random.below(6) {
                let (text, time) = record(tick.saturating_sub(part.behind), &mut random);
                late += u64::from(time.is_some_and(|time| time + LATENESS < part.newest));
                part.newest = part.newest.max(time.unwrap_or(0));
                let payload = Some(text.as_bytes());
                sender.send(topic, Sent { partition, payload, ..Sent::default() });
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    for hours in [1, 2] {
        for partition in 0..PARTITIONS {
            let text = format!(r#"{{"t":{},"k":"{LAST}","v":1}}"#, tick * TICK + hours * 3_600_000);
            sender.send(topic, Sent { partition, payload: Some(text.as_bytes()), ..Sent::default() });
        }
    }
    sender.finish();
    late
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
