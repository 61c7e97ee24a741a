//! Each step at which a run can die, in the store and in the sinks, is one at which runs do die.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::feed::Feed;
use super::sinks::{assert_same, Line, Sinks, STREAMS};
use super::{folder, seed};
use crate::broker;
use crate::cluster::processes::{start, SOON};
use crate::examples::example;
use crate::harness::program::PROGRAM;
use crate::recovery::Random;

/// The clusters on which jobs die.
pub(super) const CLUSTERS: [&[&str]; 3] = [&["-w", "1"], &["-w", "2"], &["-n", "2"]];

/// Only the first runs do this, and in this order.
const FIRST: [&str; 3] = ["make an incarnation", "append what joins", "append an edition"];
/// Every run does this once, in each process or in the first one.
const ONCE: [&str; 3] = ["append the epoch", "append what is fenced", "append the plan"];
/// This goes on as long as it lives.
const AGAIN: [&str; 7] = [
    "append decisions",
    "write an object",
    "append a manifest",
    "write a merged object",
    "mark the start of the log",
    "delete from log",
    "delete from state",
];
/// What has been done when a run dies, whatever the sink.
const DONE: [&str; 3] = ["fenced", "written", "committed"];

/// Steps of a sink: those of a start and all others.
struct Steps {
    start: &'static [&'static str],
    again: &'static [&'static str],
    /// Before and after which it dies.
    around: &'static [&'static str],
}

const FILE: Steps = Steps {
    start: &[
        "create the next file",
        "begin",
        "sweep",
        "copy",
        "sync the next file",
        "take the place",
        "sync the directory",
    ],
    again: &["write", "flush", "sync", "commit", "drop old links"],
    around: &["append a link", "mark the start of a chain", "delete from sinks"],
};

const KAFKA: Steps = Steps {
    start: &["take over", "read progress"],
    again: &["begin a transaction", "produce", "add progress", "await deliveries", "commit the transaction"],
    around: &[],
};

fn steps(sinks: Sinks<'_>) -> &'static Steps {
    match sinks {
        Sinks::Files => &FILE,
        Sinks::Kafka(_) => &KAFKA,
    }
}

/// Where a run dies: at which step, and after how many times that it comes there.
type Death = (String, u64);

/// The deaths of a job, one life after another.
fn deaths(steps: &Steps, random: &mut Random) -> Vec<Death> {
    let around = |step: &&str| [format!("{step}, before"), format!("{step}, after")];
    let first = FIRST.iter().flat_map(around).map(|step| (step, 1));
    let (start, again) =
        (steps.start.iter().map(ToString::to_string), steps.again.iter().map(ToString::to_string));
    let mut rest: Vec<Death> = ONCE.iter().flat_map(around).chain(start).map(|step| (step, 1)).collect();
    let again = { AGAIN }.iter().chain(steps.around).flat_map(around).chain(again).collect::<Vec<_>>();
    rest.extend(again.into_iter().map(|step| (step, 1 + random.below(4))));
    rest.extend(DONE.iter().map(|step| (step.to_string(), 1)));
    for index in (1..rest.len()).rev() {
        rest.swap(index, random.below(index as u64 + 1) as usize);
    }
    first.chain(rest).collect()
}

/// A job in a folder of its own.
struct Job {
    folder: TempDir,
    file: String,
    name: String,
    cluster: &'static [&'static str],
    sinks: Sinks<'static>,
}

impl Job {
    fn new(feed: &Feed, cluster: &'static [&'static str], sinks: Sinks<'static>, name: &str) -> Self {
        let folder = folder();
        let (store, name) =
            (folder.path().join("store").display().to_string(), format!("{name}{}", cluster.concat()));
        let checkpoint =
            format!("[checkpoint]\nstore = {store:?}\nevery = \"50ms\"\ncommit = \"10ms\"\nrestarts = 0\n");
        sinks.prepare(&name);
        let further = checkpoint + &sinks.tables(folder.path(), &name);
        let file = feed.pipeline(folder.path(), &name, &further);
        Self { folder, file, name, cluster, sinks }
    }

    /// Lives one life after another; returns the steps to which it has come.
    fn live(&self, program: &Path, deaths: &[Death], told: &str) -> BTreeSet<String> {
        let mut come = BTreeSet::new();
        for (life, (step, times)) in deaths.iter().enumerate() {
            let mut command = Command::new(program);
            command.args(["run", &self.file, "--quiet"]).args(self.cluster);
            let mut run = start(command.env("CRASH", step).env("CRASH_AT", times.to_string()));
            let ended = run.end(3 * SOON);
            let so_far = || format!("{told}, {}, life {life}: {ended:?} in {deaths:?}", self.name);
            assert!(
                ended.err.contains(&format!("dies at {step}\n")),
                "it does not die at {step}: {}",
                so_far()
            );
            assert!(matches!(ended.code, None | Some(1)), "it survives: {}", so_far());
            come.extend(
                ended.err.lines().filter_map(|line| line.strip_prefix("comes to ").map(str::to_owned)),
            );
        }
        come
    }

    /// Runs until all is committed, and returns that.
    fn finish(&self) -> Vec<Vec<Line>> {
        let mut run = start(Command::new(PROGRAM).args(["run", &self.file, "--quiet"]).args(self.cluster));
        let ended = self.sinks.finish(&mut run, &self.folder, &self.name);
        assert_eq!(Some(130), ended.code, "{ended:?}");
        self.sinks.committed(&self.folder, &self.name)
    }
}

/// Jobs die at each step on each cluster, and are compared with one that does not.
fn jobs_die_everywhere(sinks: Sinks<'static>, name: &str) {
    let seed = seed().unwrap_or(1);
    let begun = Instant::now();
    let crashing = example("crashing");
    let program = Path::new(crashing.get_program());
    let mut feed = Feed::start(seed);
    let jobs = CLUSTERS.map(|cluster| Job::new(&feed, cluster, sinks, name));
    let mut random = Random(seed);
    let deaths = CLUSTERS.map(|_| deaths(steps(sinks), &mut random));
    let told = format!("seed {seed}");
    thread::scope(|scope| {
        for (job, deaths) in jobs.iter().zip(&deaths) {
            scope.spawn(|| {
                let come = job.live(program, deaths, &told);
                let all: BTreeSet<_> = deaths.iter().map(|(step, _)| step.clone()).collect();
                assert_eq!(all, come, "there are other steps at which it could die");
            });
        }
    });
    feed.end();
    let undisturbed = Job::new(&feed, &["-w", "1"], sinks, &format!("{name}-undisturbed"));
    let expected = undisturbed.finish();
    let counts: Vec<_> = expected.iter().map(Vec::len).collect();
    assert!(counts.iter().all(|count| *count > 20), "{STREAMS:?}: {counts:?}");
    for (job, deaths) in jobs.iter().zip(&deaths) {
        assert_same(&expected, &job.finish(), &format!("{told}, {}, after {deaths:?}", job.name));
    }
    let (lives, took) = (deaths[0].len(), begun.elapsed());
    eprintln!("{name}: {told}: {lives} deaths on each of {CLUSTERS:?} in {took:?}; {STREAMS:?}: {counts:?}");
}

#[test]
fn whatever_step_it_dies_at_a_job_commits_the_same_to_files() {
    jobs_die_everywhere(Sinks::Files, "dying");
}

#[test]
fn whatever_step_it_dies_at_a_job_commits_the_same_to_kafka() {
    let Some(broker) = broker::shared() else { return };
    jobs_die_everywhere(Sinks::Kafka(broker), "dying");
}
