//! A run that is interrupted before it has read again what its state has.

use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidewatch::checkpoint::{Body, LOG};
use tidewatch::cluster::{Cluster, Outcome};
use tidewatch::config;
use tidewatch::job::Job;
use tidewatch::registry::{Registry, SourceInfo};
use tidewatch::Error;
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::memory::{Memory, MemoryRecord};
use tidewatch_connectors::store::{self, Log, Store};
use tidewatch_connectors::{Control, Error as ConnectorError};
use tidewatch_dataflows::EventTime;

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);

const PIPELINE: &str = r#"
name = "interrupted"
[checkpoint]
store = "memory:"
every = "20ms"
[[source]]
name = "lines"
connector = "lines"
format = { kind = "csv", header = false }
time = { field = "1", unit = "ms" }
key = ["2"]
values = ["3"]
lateness = "1s"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 3
[[sink]]
stream = "anomalies"
connector = "blackhole"
"#;

fn job(memory: &Memory, store: &Arc<dyn Store>) -> Job {
    let mut registry = Registry::default();
    let memory = Arc::new(memory.clone());
    registry.sources.add(SourceInfo {
        name: "lines",
        parameters: vec![],
        rows: false,
        envelopes: false,
        append_times: false,
        falls_silent: |_| true,
        construct: Arc::new(move |_, _| Ok(memory.clone())),
    });
    let file = config::parse("p.toml", PIPELINE, &|_| None, &registry).expect("it is right");
    let store = store.clone();
    registry.store = Arc::new(move |_| Ok(store.clone()));
    Job::new(file, &registry).expect("it fits together")
}

/// Runs a job in which `act` interferes, for which it waits.
fn run(
    memory: &Memory,
    store: &Arc<dyn Store>,
    act: impl FnOnce(&Control) + Send + 'static,
) -> Result<Outcome, Error> {
    let (job, control, (ended, end)) = (job(memory, store), Control::default(), channel());
    let own = control.clone();
    thread::spawn(move || ended.send(job.run(Cluster::threads(2), &own, Arc::new(Vec::new))));
    act(&control);
    match end.recv_timeout(SOON) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("it has no end"),
        Err(RecvTimeoutError::Disconnected) => panic!("it panicked"),
    }
}

/// Whether a partition is read again from after its beginning.
fn has_begun(positions: &[Position]) -> bool {
    positions.iter().all(|position| position.watermark > EventTime::MIN)
}

/// Waits until the log says what is `wanted`.
fn await_in_log(store: &Arc<dyn Store>, wanted: fn(&Body) -> bool) {
    let store = store::within(store.clone(), "1/".to_owned());
    let start = Instant::now();
    let bodies = || {
        let (_, entries) = Log::open(store.clone(), LOG).expect("it is whole");
        Body::decode_all(&entries).expect("they are whole")
    };
    while !bodies().iter().any(|(_, body)| wanted(body)) {
        assert!(start.elapsed() < SOON, "waited in vain: {:?}", bodies());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_ends_that_is_interrupted_before_it_comes_to_its_checkpoint() {
    let store = store::open("memory:").expect("memory is always there");
    let (memory, watched) = (Memory::new([("p", Vec::new())]).live(), store.clone());
    let pushed = memory.clone();
    let crash = move |control: &Control| {
        // One after the other, so that there is a place before the boundary from which they are read again.
        thread::spawn(move || {
            for index in 0..20_000 {
                pushed.push("p", MemoryRecord::raw(format!("{},k,{}", index * 10, index % 3)));
                thread::sleep(Duration::from_millis(1));
            }
        });
        await_in_log(
            &watched,
            |body| matches!(body, Body::Manifest(manifest) if has_begun(&manifest.partitions)),
        );
        control.fail(ConnectorError::Configuration("crashed".to_owned()));
    };
    assert_eq!("crashed", run(&memory, &store, crash).unwrap_err().to_string());
    // Its records do not come.
    let (silent, watched) = (Memory::new([("p", Vec::new())]).live(), store.clone());
    let interrupt = move |control: &Control| {
        await_in_log(&watched, |body| matches!(body, Body::Resumed(plan) if plan.manifest.is_some()));
        control.interrupt();
    };
    assert_eq!(Outcome::Interrupted, run(&silent, &store, interrupt).expect("nothing fails"));
}
