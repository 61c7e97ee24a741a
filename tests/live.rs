//! The live arrangement of keyed state: at each boundary it is what the store keeps, however often the run is started again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use differential_dataflow::consolidation::consolidate_updates;
use serde_json::Value;
use tempfile::TempDir;
use tidewatch::checkpoint::{as_of, Checkpoint};
use tidewatch::cluster::{Cluster, Outcome};
use tidewatch::config;
use tidewatch::job::Job;
use tidewatch::registry::Registry;
use tidewatch::Error;
use tidewatch_connectors::store::{self, within};
use tidewatch_connectors::Control;
use tidewatch_dataflows::operators::CollectStates;
use tidewatch_dataflows::state::Version;
use tidewatch_dataflows::{EventTime, Key};

use crate::examples::example;
use crate::harness::program::interrupt;

/// What the collection said in one run.
type Said = Arc<Mutex<Vec<((Key, Version), EventTime, isize)>>>;

/// A pipeline whose keys fall silent and lose their state to a limit, too.
fn pipeline(folder: &TempDir) -> String {
    let path = |name| folder.path().join(name).display().to_string();
    format!(
        r#"
name = "observed"
checkpoint = {{ store = {:?}, every = "20ms" }}
limits = {{ keys = 400 }}
[[source]]
name = "synthetic"
connector = "generator"
lateness = "1s"
options = {{ records = 100000000, keys = 600, partitions = 3, rate = 2000, disorder = "1s" }}
[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.1 }}
threshold = 3
[[sink]]
stream = "anomalies"
connector = "file"
options = {{ path = {:?} }}
"#,
        path("state"),
        path("anomalies")
    )
}

/// A job that notes what the collection of its states says.
fn observed(folder: &TempDir, said: &Said) -> Job {
    let (said, mut registry) = (said.clone(), Registry::default());
    registry.observe(move |states| {
        let said = said.clone();
        states
            .collect_states()
            .inspect(move |update| said.lock().expect("nobody panics").push(update.clone()));
    });
    let file = config::parse("observed.toml", &pipeline(folder), &|_| None, &registry).expect("it is right");
    Job::new(file, &registry).expect("it fits together")
}

/// What the newest checkpoint keeps whose boundary is not after `limit`, and that boundary.
fn kept(folder: &TempDir, limit: EventTime) -> (EventTime, BTreeMap<Key, Version>) {
    let url = folder.path().join("state").display().to_string();
    let store = within(store::open(&url).expect("it is there"), "1/");
    let checkpoint = Checkpoint::newest(&store, Some(limit)).expect("it can be read").expect("there is one");
    let (boundary, mut kept) = (checkpoint.manifest().boundary, BTreeMap::new());
    let note = |key: &Key, version: &Version| -> Result<(), Error> {
        kept.insert(key.clone(), version.clone());
        Ok(())
    };
    as_of(&mut checkpoint.states().expect("it can be read"), boundary, note).expect("nothing fails");
    (boundary, kept)
}

#[test]
fn the_live_arrangement_is_what_the_store_keeps_across_restarts() {
    let folder = TempDir::new().expect("there is room for it");
    let mut outcomes = Vec::new();
    for workers in [1, 3, 2, 1] {
        let (said, control) = (Said::default(), Control::default());
        let job = observed(&folder, &said);
        let (stopper, heard) = (control.clone(), said.clone());
        let stop = thread::spawn(move || {
            // In the middle of it, once there was a checkpoint.
            while stopper.totals().records < 60_000 || heard.lock().expect("nobody panics").is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
            stopper.interrupt();
        });
        let outputs = Arc::new(Vec::new);
        outcomes.push(job.run(Cluster::threads(workers), &control, outputs).expect("it runs"));
        stop.join().expect("it does not panic");
        let mut said = std::mem::take(&mut *said.lock().expect("nobody panics"));
        // Event time has not passed the boundary at which the run was stopped, but those before it.
        let last = said.iter().map(|(_, time, _)| *time).max().expect("it said something");
        let (boundary, kept) = kept(&folder, last);
        assert_eq!(last, boundary, "-w{workers}: there is no checkpoint of what is live");
        said.iter_mut().for_each(|(_, time, _)| *time = boundary);
        consolidate_updates(&mut said);
        assert!(said.iter().all(|(_, _, count)| *count == 1), "-w{workers}: a key has two states");
        let live: BTreeMap<_, _> = said.into_iter().map(|(update, _, _)| update).collect();
        assert!(kept.len() > 300, "-w{workers}: {} keys are kept", kept.len());
        let differs = kept.iter().find(|(key, version)| live.get(*key) != Some(*version));
        let differs = differs.map(|(key, version)| (key, version, live.get(key)));
        assert_eq!((None, live.len()), (differs, kept.len()), "-w{workers} at {boundary}");
    }
    assert_eq!(vec![Outcome::Interrupted; 4], outcomes);
}

#[test]
fn state_is_observed_only_where_it_is_kept() {
    let mut registry = Registry::default();
    registry.observe(|_| {});
    let text = "name = \"p\"\n[[source]]\nname = \"s\"\nconnector = \"generator\"\n\
                [[detect]]\nname = \"d\"\ndetector = \"ewma-z\"\nthreshold = 3\n";
    let file = config::parse("p.toml", text, &|_| None, &registry).expect("it is right");
    let error = Job::new(file, &registry).err().expect("there is no checkpoint").to_string();
    assert!(error.contains("p.toml: ") && error.contains("add a [checkpoint]"), "{error}");
}

#[test]
fn the_example_counts_the_hosts_of_each_team_that_have_state() {
    let folder = TempDir::new().expect("there is room for it");
    // So many that it is stopped before it ends.
    let text = fs::read_to_string("examples/live_state.toml").expect("it is there");
    let file = folder.path().join("p.toml");
    fs::write(&file, text.replace("records = 1_000_000", "records = 1_000_000_000"))
        .expect("there is room for it");
    let expected =
        [("billing", "1"), ("search", "3")].map(|(team, hosts)| ((team.to_owned(), hosts.to_owned()), 1.0));
    for workers in ["1", "2"] {
        let mut command = example("live_state");
        command.arg("run").arg(&file).args(["--quiet", "-w", workers]).stdout(Stdio::piped());
        command.env("STATE", folder.path().join("state")).env("OUT", folder.path().join("out"));
        let mut child = command.spawn().expect("the program is there");
        let mut teams = BTreeMap::new();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let line: Value = serde_json::from_str(&line.expect("it is text")).expect("it is JSON");
            let text = |part: &str| line["key"][part].as_str().expect("it is text").to_owned();
            *teams.entry((text("team"), text("hosts"))).or_insert(0.0) +=
                line["value"].as_f64().expect("a number");
            teams.retain(|_, count| *count != 0.0);
            if teams == BTreeMap::from(expected.clone()) {
                interrupt(&child);
            }
        }
        assert_eq!(Some(130), child.wait().expect("it is ours").code(), "-w{workers}");
        assert_eq!(BTreeMap::from(expected.clone()), teams, "-w{workers}");
    }
}
