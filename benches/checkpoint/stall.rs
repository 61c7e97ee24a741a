//! How long a worker is kept from everything else while it saves its state.
//!
//! Shape: a pipeline with a store of files and 1 million keys, all changed; then 100 thousand records/s, paced, and a
//! checkpoint. Reason: no record should wait for a checkpoint. Unit: milliseconds from when the source has been asked
//! until it is asked again, the longest during a second without a checkpoint and the longest until it is made, in
//! rounds. The source is content to be asked again after half a millisecond; all that is above it is a step of the
//! worker, or what else the cores do.

use std::fs;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewatch::cluster::Cluster;
use tidewatch::config;
use tidewatch::connectors::{Control, Error, Intake, Reader, Source, Status};
use tidewatch::dataflows::record::KeyText;
use tidewatch::dataflows::Offset;
use tidewatch::job::Job;
use tidewatch::prelude::*;
use tidewatch::registry::{Registry, SourceInfo};
use timely::scheduling::SyncActivator;

use crate::support::{is_test, scaled};

const GOAL: Duration = Duration::from_millis(50);

/// How many records there are in a millisecond.
fn pace() -> u64 {
    if is_test() {
        10
    } else {
        100
    }
}

/// What the source is told, and tells.
struct Shared {
    keys: Vec<KeyText>,
    start: SystemTime,
    /// How often it is to give a record of every key, and how often it has.
    asked: AtomicU64,
    given: AtomicU64,
    /// The longest time between two questions, in microseconds.
    longest: AtomicU64,
    is_over: AtomicBool,
}

/// Paced records, and now and then one of every key.
#[derive(Clone)]
struct Bursts(Arc<Shared>);

impl Source for Bursts {
    fn kind(&self) -> &'static str {
        "bursts"
    }
    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["0".to_owned()])
    }
    fn open(&self, _: &str, _: Option<Offset>, _: SyncActivator) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(Bursting { shared: self.0.clone(), next: 0, in_burst: 0, paced: 0, asked: None }))
    }
    fn patience(&self) -> Option<Duration> {
        Some(Duration::from_micros(500))
    }
}

struct Bursting {
    shared: Arc<Shared>,
    next: u64,
    /// The next key of the burst.
    in_burst: usize,
    paced: u64,
    /// When it was asked last.
    asked: Option<Instant>,
}

impl Bursting {
    fn give(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let shared = self.shared.clone();
        let elapsed = shared.start.elapsed().unwrap_or_default();
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = EventTime::from_micros(since_1970.as_micros() as i64);
        while shared.given.load(Ordering::Relaxed) < shared.asked.load(Ordering::Relaxed) {
            let Some(key) = shared.keys.get(self.in_burst) else {
                self.in_burst = 0;
                shared.given.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.in_burst += 1;
            if self.row(intake, time, key) == ControlFlow::Break(()) {
                return Ok(Status::More);
            }
        }
        if shared.is_over.load(Ordering::Relaxed) {
            return Ok(Status::Ended);
        }
        let due = elapsed.as_millis() as u64 * pace();
        while self.paced < due {
            let key = &shared.keys[(self.paced * 7919) as usize % shared.keys.len()];
            self.paced += 1;
            if self.row(intake, time, key) == ControlFlow::Break(()) {
                return Ok(Status::More);
            }
        }
        Ok(Status::Pending)
    }

    fn row(&mut self, intake: &mut dyn Intake, time: EventTime, key: &KeyText) -> ControlFlow<()> {
        self.next += 1;
        intake.row(Offset(self.next), time, key, &[(self.next % 17) as f64])
    }
}

impl Reader for Bursting {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        if let Some(asked) = self.asked {
            self.shared.longest.fetch_max(asked.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        let status = self.give(intake);
        self.asked = Some(Instant::now());
        status
    }
}

/// The pipeline, with a store in `folder`.
fn job(bursts: Bursts, folder: &std::path::Path) -> Job {
    let mut registry = Registry::default();
    registry.sources.add(SourceInfo {
        name: "bursts",
        parameters: vec![],
        rows: true,
        envelopes: false,
        append_times: false,
        falls_silent: |_| false,
        construct: Arc::new(move |_, _| Ok(Arc::new(bursts.clone()))),
    });
    let text = format!(
        r#"
name = "stall"

[checkpoint]
store = {:?}
every = "1h"

[limits]
keys = 2_000_000

[[source]]
name = "bursts"
connector = "bursts"

[[detect]]
name = "far"
detector = "ewma-z"
threshold = 6

[[sink]]
stream = "anomalies"
connector = "blackhole"
"#,
        folder.join("state")
    );
    let file = folder.join("stall.toml");
    fs::write(&file, text).expect("it can be written");
    Job::new(config::read(&file, &registry).expect("the pipeline is right"), &registry)
        .expect("it can be made")
}

/// Saves all keys, round by round, and prints the longest steps.
pub(crate) fn stall() {
    let keys = scaled(1_000_000);
    let texts = (0..keys).map(|key| Key::new(&format!("host-{key:07}")).into()).collect();
    let shared = Arc::new(Shared {
        keys: texts,
        start: SystemTime::now(),
        asked: AtomicU64::new(0),
        given: AtomicU64::new(0),
        longest: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
    });
    let folder = tempfile::tempdir().expect("there is room for it");
    let (job, control) = (job(Bursts(shared.clone()), folder.path()), Control::default());
    let run = {
        let control = control.clone();
        thread::spawn(move || {
            let sinks = job.clone();
            let outputs =
                move || sinks.plain_sinks().iter().map(|sink| (sink.stream, sinks.output(sink))).collect();
            job.run(Cluster::threads(1), &control, Arc::new(outputs))
        })
    };
    let mut worst = [Duration::ZERO; 2];
    for round in 0..if is_test() { 1 } else { 5 } {
        let found = measure(&shared, &control);
        println!(
            "checkpoint-stall, round {round}: longest step at rest {:.1} ms, while {keys} changed keys were saved in {:.0} ms: {:.1} ms",
            found.at_rest.as_secs_f64() * 1e3,
            found.took.as_secs_f64() * 1e3,
            found.saving.as_secs_f64() * 1e3
        );
        worst = [worst[0].max(found.at_rest), worst[1].max(found.saving)];
    }
    let [at_rest, saving] = worst.map(|longest| longest.as_secs_f64() * 1e3);
    println!("checkpoint-stall: saving {saving:.1} ms (goal {}), at rest {at_rest:.1} ms", GOAL.as_millis());
    shared.is_over.store(true, Ordering::Relaxed);
    run.join().expect("it does not panic").expect("it runs");
}

struct Found {
    at_rest: Duration,
    saving: Duration,
    took: Duration,
}

/// Changes all keys, waits until they are, and saves them.
fn measure(shared: &Shared, control: &Control) -> Found {
    let second = Duration::from_millis(if is_test() { 200 } else { 1000 });
    shared.asked.fetch_add(1, Ordering::Relaxed);
    while shared.given.load(Ordering::Relaxed) < shared.asked.load(Ordering::Relaxed) {
        assert!(!control.failed(), "the run has failed");
        thread::sleep(Duration::from_millis(1));
    }
    // What has been read is soon where it belongs.
    thread::sleep(second);
    let longest = || Duration::from_micros(shared.longest.swap(0, Ordering::Relaxed));
    longest();
    thread::sleep(second);
    let at_rest = longest();
    let start = Instant::now();
    control.checkpoint().expect("the run goes on");
    Found { at_rest, saving: longest(), took: start.elapsed() }
}
