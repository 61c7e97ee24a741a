//! Runs that are killed and started again must have written the same as one that was not; with real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::processes::{signal, start, until, Observed, SOON};
use crate::harness::program::{interrupt, read, PROGRAM};

/// How many records there are: more than a run reads before it is killed.
const RECORDS: usize = 300_000;

/// More than a run reads while two commands ask it for something.
const MANY: usize = 3 * RECORDS;

/// What each run writes.
const STREAMS: [&str; 6] = ["anomalies", "verdicts", "late", "dead_letters", "alerts", "incidents"];

/// Incidents that are open for long.
const ALERTS: &str = "[alerts]\ngroup_by = \"key\"\ngap = \"10m\"\n";

/// A pipeline over partitions that are out of order and partly late, with windows in progress at any time.
fn pipeline(folder: &Path, records: usize, checkpoint: &str) -> String {
    let mut text = format!(
        r#"
name = "killed"
{checkpoint}

[[source]]
name = "synthetic"
connector = "generator"
lateness = "2s"
quarantine = [{{ partition = "1", offset = 5000 }}, {{ partition = "3", offset = 30000 }}]
options = {{ records = {records}, keys = 300, partitions = 5, rate = 2000, disorder = "2s", late = 0.01, anomalies = 0.002, magnitude = 30.0 }}

[[step]]
operator = "window"
params = {{ every = "1s", aggregate = "mean" }}

[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.1 }}
threshold = 4
{ALERTS}"#
    );
    for stream in STREAMS {
        let path = folder.join(stream).display().to_string();
        text += &format!(
            "[[sink]]\nstream = \"{stream}\"\nconnector = \"file\"\noptions = {{ path = {path:?} }}\n"
        );
    }
    let path = folder.join("p.toml");
    fs::write(&path, text).expect("it can be written");
    path.display().to_string()
}

/// Numbers that follow from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        xxh3_64(&self.0.to_le_bytes()) % limit
    }

    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What a run without interruption writes.
fn undisturbed(records: usize) -> Vec<String> {
    let folder = TempDir::new().expect("there is room for it");
    let file = pipeline(folder.path(), records, "");
    let status = Command::new(PROGRAM).args(["run", &file, "--quiet"]).stdin(Stdio::null()).status();
    assert!(status.expect("it runs").success());
    STREAMS.iter().map(|stream| read(&folder, stream)).collect()
}

/// A folder with a pipeline that goes on where it stood, and its file.
fn durable(records: usize) -> (TempDir, String) {
    let folder = TempDir::new().expect("there is room for it");
    let store = folder.path().join("state").display().to_string();
    let checkpoint = format!("[checkpoint]\nstore = {store:?}\nevery = \"100ms\"\ncommit = \"20ms\"\n");
    let file = pipeline(folder.path(), records, &checkpoint);
    (folder, file)
}

fn run(file: &str, arguments: &[&str]) -> Observed {
    start(Command::new(PROGRAM).args(["run", file]).args(arguments))
}

/// Waits until so many checkpoints of a job have been made.
fn await_checkpoints(folder: &TempDir, incarnation: u64, count: usize) {
    let log = folder.path().join(format!("state/{incarnation}/state"));
    let objects = || walk(&log);
    until("there are checkpoints", || objects().len() >= count);
}

/// The objects in a folder of a store, in the order of their paths.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => found.extend(walk(&entry.path())),
            // A name with this is of an object that is still being written.
            false if entry.file_name().to_string_lossy().contains('#') => {}
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

fn assert_same(expected: &[String], folder: &TempDir, told: &str) {
    for (stream, expected) in STREAMS.iter().zip(expected) {
        assert!(!expected.is_empty(), "{stream} is empty");
        assert!(*expected == read(folder, stream), "{stream} differs after {told}");
    }
}

/// Kills runs of one job again and again, each at a random moment, until one comes to its end.
fn lives(seed: u64, records: usize, arguments: &[&[&str]]) {
    let start = Instant::now();
    let expected = undisturbed(records);
    // So that it takes several lives on a machine of any speed.
    let longest = start.elapsed().as_millis() as u64 / 5;
    let (folder, file) = durable(records);
    let mut random = Random(seed);
    let mut told = String::new();
    let mut killed = 0;
    for life in 0.. {
        assert!(life < 200, "seed {seed} has no end: {told}");
        let arguments = random.one_of(arguments);
        let mut run = run(&file, arguments);
        let moment = Duration::from_millis(50 + random.below(longest.max(1)));
        let is_last = life > 30;
        if !is_last {
            thread::sleep(moment);
        }
        let ended = match is_last || run.child.try_wait().expect("it is ours").is_some() {
            true => Some(run.end(3 * SOON)),
            false => {
                run.kill();
                killed += 1;
                None
            }
        };
        told += &format!("life {life}: {arguments:?} for {moment:?}: {ended:?}\n");
        if let Some(ended) = ended {
            assert_eq!(Some(0), ended.code, "seed {seed}: {told}");
            break;
        }
        // What readers see is always the beginning of what there will be.
        for (stream, expected) in STREAMS.iter().zip(&expected) {
            let so_far = read(&folder, stream);
            assert!(expected.starts_with(&so_far), "seed {seed}: {stream} after {told}");
        }
    }
    assert!(killed > 2, "seed {seed} killed only {killed}: {told}");
    assert_same(&expected, &folder, &format!("seed {seed}: {told}"));
}

#[test]
fn a_run_that_is_killed_again_and_again_writes_the_same() {
    lives(1, RECORDS, &[&["-w", "1"]]);
    lives(2, RECORDS, &[&["-w", "2"]]);
}

#[test]
fn it_goes_on_with_another_number_of_workers_and_processes() {
    lives(3, RECORDS, &[&["-w", "1"], &["-w", "3"], &["-n", "2"], &["-n", "2", "-w", "2"]]);
}

#[test]
fn processes_that_are_killed_are_started_again() {
    let expected = undisturbed(RECORDS);
    let (folder, file) = durable(RECORDS);
    let mut run = run(&file, &["-n", "2"]);
    await_checkpoints(&folder, 1, 2);
    run.members(2)[1].signal("KILL");
    let ended = run.end(3 * SOON);
    assert_eq!(Some(0), ended.code, "{ended:?}");
    assert!(ended.err.contains("starts all processes again in 1 s (1 of 10)"), "{ended:?}");
    assert_same(&expected, &folder, &format!("{ended:?}"));
}

#[test]
fn a_second_run_is_refused_and_one_that_takes_over_ends_the_first() {
    let expected = undisturbed(RECORDS);
    let (folder, file) = durable(RECORDS);
    let mut first = run(&file, &["--quiet"]);
    await_checkpoints(&folder, 1, 1);
    // It lives, and knows of nothing.
    signal(first.child.id(), "STOP");
    let refused = run(&file, &[]).end(SOON);
    assert_eq!(Some(1), refused.code, "{refused:?}");
    assert!(refused.err.contains("another run of the job lives (process "), "{refused:?}");
    let second = run(&file, &["--take-over"]).end(3 * SOON);
    assert_same(&expected, &folder, &format!("{second:?}"));
    signal(first.child.id(), "CONT");
    let first = first.end(SOON);
    assert_eq!((Some(4), Some(0)), (first.code, second.code), "{first:?} {second:?}");
    assert!(first.err.contains("another run of this job has started"), "{first:?}");
    assert_same(&expected, &folder, &format!("{first:?} {second:?}"));
}

#[test]
fn what_has_ended_is_done_and_is_started_anew_only_when_that_is_meant() {
    let expected = undisturbed(RECORDS);
    let (folder, file) = durable(RECORDS);
    assert_eq!(Some(0), run(&file, &["-w", "2"]).end(3 * SOON).code);
    let again = run(&file, &[]).end(SOON);
    assert_eq!(Some(0), again.code, "{again:?}");
    assert!(again.err.contains("all sources of the job had ended"), "{again:?}");
    let unsure = run(&file, &["--fresh"]).end(SOON);
    assert_eq!(Some(2), unsure.code, "{unsure:?}");
    assert!(unsure.err.contains("say --yes if that is meant"), "{unsure:?}");
    let fresh = run(&file, &["--fresh", "--yes"]).end(3 * SOON);
    assert_eq!(Some(0), fresh.code, "{fresh:?}");
    assert!(fresh.err.contains("records: "), "{fresh:?}");
    assert_same(&expected, &folder, &format!("{fresh:?}"));
}

#[test]
fn a_pipeline_that_gives_other_output_is_refused() {
    let (folder, file) = durable(RECORDS);
    let mut first = run(&file, &["--quiet"]);
    await_checkpoints(&folder, 1, 1);
    first.kill();
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("threshold = 4", "threshold = 5")).expect("it can be written");
    let refused = run(&file, &[]).end(SOON);
    assert_eq!(Some(2), refused.code, "{refused:?}");
    assert!(refused.err.contains("the state of another pipeline"), "{refused:?}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_used() {
    let expected = undisturbed(RECORDS);
    let (folder, file) = durable(RECORDS);
    let mut first = run(&file, &["--quiet"]);
    await_checkpoints(&folder, 1, 3);
    first.kill();
    let newest = walk(&folder.path().join("state/1/state")).pop().expect("there are some");
    let mut bytes = fs::read(&newest).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).expect("it can be written");
    let second = run(&file, &[]).end(3 * SOON);
    assert_eq!(Some(0), second.code, "{second:?}");
    assert_same(&expected, &folder, &format!("{second:?}"));
}

#[test]
fn a_run_without_an_intact_checkpoint_does_not_begin_anew_by_itself() {
    let (folder, file) = durable(RECORDS);
    let mut first = run(&file, &["--quiet"]);
    // What was decided and joined before them is in the checkpoints alone.
    until("entries were dropped", || !walk(&folder.path().join("state/1/log/start")).is_empty());
    first.kill();
    let before = read(&folder, "verdicts");
    for object in walk(&folder.path().join("state/1/state")) {
        fs::remove_file(object).expect("it is there");
    }
    let second = run(&file, &[]).end(SOON);
    assert_eq!(Some(1), second.code, "{second:?}");
    assert!(second.err.contains("no checkpoint is intact; start anew with --fresh"), "{second:?}");
    // What was not committed is cut off, and nothing is written anew.
    assert!(before.starts_with(&read(&folder, "verdicts")), "{second:?}");
}

#[test]
fn the_example_goes_on_after_a_kill() {
    let folder = TempDir::new().expect("there is room for it");
    let run = |name: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "examples/durable.toml", "--quiet"]);
        command
            .env("OUT", folder.path().join(name))
            .env("STATE", folder.path().join(format!("{name}-state")));
        start(&mut command)
    };
    assert_eq!(Some(0), run("whole").end(3 * SOON).code);
    let mut first = run("killed");
    until("something is committed", || !read(&folder, "killed").is_empty());
    first.kill();
    let second = run("killed").end(3 * SOON);
    assert_eq!(Some(0), second.code, "{second:?}");
    assert!(read(&folder, "whole").lines().count() > 3);
    assert_eq!(read(&folder, "whole"), read(&folder, "killed"));
}

#[test]
fn a_job_that_is_stopped_at_a_savepoint_goes_on_with_another_pipeline() {
    let (folder, file) = durable(MANY);
    let mut first = run(&file, &[]);
    await_checkpoints(&folder, 1, 1);
    let ask = |arguments: &[&str]| {
        start(Command::new(PROGRAM).arg("savepoint").arg(&file).args(arguments)).end(SOON)
    };
    let saved = ask(&[]);
    assert_eq!(Some(0), saved.code, "{saved:?}");
    assert!(saved.out.starts_with("saved up to 2024-01-01T00:"), "{saved:?}");
    let stopped = ask(&["--stop", "--json"]);
    assert!(stopped.out.contains("\"stopped\":true"), "{stopped:?}");
    assert_eq!(Some(130), first.end(SOON).code);
    let before = read(&folder, "verdicts");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("threshold = 4", "threshold = 1e9")).expect("it can be written");
    let second = run(&file, &["-w", "2"]).end(3 * SOON);
    assert_eq!(Some(0), second.code, "{second:?}");
    // Nothing is said again, and nothing is left out.
    let after = read(&folder, "verdicts");
    assert!(after.starts_with(&before) && after.len() > before.len());
    assert_eq!(undisturbed(MANY)[1].lines().count(), after.lines().count());
    assert_eq!(Some(2), ask(&[]).code);
}

/// Stops a job at a savepoint, changes its pipeline, and starts it again.
fn changed(change: impl Fn(&str) -> String) -> (TempDir, crate::cluster::processes::Ended) {
    let (folder, file) = durable(MANY);
    let mut first = run(&file, &[]);
    await_checkpoints(&folder, 1, 1);
    until("incidents are open", || read(&folder, "incidents").contains("opened"));
    let stopped = start(Command::new(PROGRAM).args(["savepoint", &file, "--stop"])).end(SOON);
    assert_eq!(Some(0), stopped.code, "{stopped:?}");
    assert_eq!(Some(130), first.end(SOON).code);
    let text = fs::read_to_string(&file).expect("it is there");
    let other = change(&text);
    assert_ne!(text, other);
    fs::write(&file, other).expect("it can be written");
    let second = run(&file, &["-w", "2"]).end(3 * SOON);
    (folder, second)
}

#[test]
fn a_pipeline_that_groups_alerts_no_longer_forgets_its_incidents() {
    let (folder, second) = changed(|text| {
        let (before, _) = text.split_once("[[sink]]\nstream = \"incidents\"").expect("it is the last one");
        before.replace(ALERTS, "")
    });
    assert_eq!(Some(0), second.code, "{second:?}");
    assert!(read(&folder, "alerts").contains("\"ended\""));
}

#[test]
fn incidents_that_are_over_with_a_shorter_gap_are_closed() {
    let (folder, second) = changed(|text| text.replace("\"10m\"", "\"1s\""));
    assert_eq!(Some(0), second.code, "{second:?}");
    let incidents = read(&folder, "incidents");
    let of = |event: &str| incidents.matches(&format!("\"event\":\"{event}\"")).count();
    assert_eq!(of("opened"), of("closed"));
}

#[test]
fn state_of_another_shape_is_refused() {
    let detect = "[[detect]]\nname = \"far\"";
    let other = "[[detect]]\nname = \"near\"\ndetector = \"hampel\"\n[[detect]]\nname = \"far\"";
    let (_folder, second) = changed(|text| text.replace(detect, other));
    assert_eq!(Some(2), second.code, "{second:?}");
    assert!(second.err.starts_with("state of hampel "), "{second:?}");
}

#[test]
fn an_interrupted_run_saves_its_state_and_goes_on() {
    let expected = undisturbed(RECORDS);
    let (folder, file) = durable(RECORDS);
    let mut first = run(&file, &["-n", "2"]);
    await_checkpoints(&folder, 1, 1);
    interrupt(&first.child);
    assert_eq!(Some(130), first.end(SOON).code);
    let second = run(&file, &["--json", "-v"]).end(3 * SOON);
    assert_eq!(Some(0), second.code, "{second:?}");
    assert_same(&expected, &folder, &format!("{second:?}"));
}
