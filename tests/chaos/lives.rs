//! A job whose processes are killed, put to sleep and woken, whose broker hangs and starts again, whose disk is full and whose
//! state is damaged, on another number of workers and processes each time.
//!
//! What it has decided by a clock about silent partitions, a run without disturbance is given, and must commit the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidewatch::checkpoint::Manifest;

use super::disk::Disk;
use super::sinks::{assert_same, Line, Sinks};
use super::topic::{Feeding, LATENESS};
use super::{folder, journal, number, seed};
use crate::broker::{Broker, PATIENCE};
use crate::cluster::processes::{signal, start, Observed};
use crate::examples::example;
use crate::harness::program::{interrupt, PROGRAM};
use crate::recovery::Random;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// All processes are killed.
    Killed,
    /// One process of several is killed.
    OneKilled,
    /// One process of several sleeps, which the others notice.
    OneSleeps,
    /// It sleeps, and wakes up when the next one has taken over.
    Zombie,
    /// It is interrupted.
    Interrupted,
    /// The broker hangs for a while.
    BrokerHangs,
    /// The broker is killed and started again.
    BrokerDies,
    /// There is no room for its state any more.
    DiskFull,
    /// It ends, and the newest of its state is damaged.
    Damaged,
    /// It is killed after its topic has got another partition.
    Joined,
}

/// Each twentieth life ends like one of these.
const FATES: [(Fate, usize); 10] = [
    (Fate::Killed, 2),
    (Fate::OneKilled, 3),
    (Fate::OneSleeps, 1),
    (Fate::Zombie, 4),
    (Fate::Interrupted, 2),
    (Fate::BrokerHangs, 1),
    (Fate::BrokerDies, 1),
    (Fate::DiskFull, 2),
    (Fate::Damaged, 3),
    (Fate::Joined, 1),
];

/// Where lives are lived: arguments, and how many processes those are.
type Cluster = (&'static [&'static str], usize);
const ALONE: [Cluster; 3] = [(&["-w", "1"], 1), (&["-w", "2"], 1), (&["-w", "3"], 1)];
const TOGETHER: [Cluster; 2] = [(&["-n", "2"], 2), (&["-n", "2", "-w", "2"], 2)];

/// A life: where, how long before its fate comes, and which.
#[derive(Clone, Copy, Debug)]
struct Life {
    cluster: Cluster,
    moment: Duration,
    fate: Fate,
}

/// What happens to a job of so many lives.
fn plan(lives: usize, random: &mut Random) -> Vec<Life> {
    let mut plan = Vec::new();
    while plan.len() < lives {
        let mut fates: Vec<_> = FATES.iter().flat_map(|(fate, times)| vec![*fate; *times]).collect();
        while !fates.is_empty() {
            let fate = fates.swap_remove(random.below(fates.len() as u64) as usize);
            let clusters: Vec<_> = match fate {
                Fate::OneKilled | Fate::OneSleeps => TOGETHER.iter().collect(),
                _ => ALONE.iter().chain(&TOGETHER).collect(),
            };
            let cluster = *random.one_of(&clusters);
            // Many do not live to see their first record.
            let longest = if random.below(2) == 0 { 500 } else { 1500 };
            plan.push(Life { cluster, moment: Duration::from_millis(random.below(longest)), fate });
        }
    }
    plan.truncate(lives);
    plan
}

/// A job and all that it depends on.
struct Job {
    file: String,
    program: PathBuf,
    disk: Disk,
    kept: TempDir,
    /// What sleeps while the next one takes over.
    zombie: Option<(Observed, Vec<u32>)>,
    feeding: Feeding,
    /// That the newest of its state was damaged, and whether the next run must find that.
    damaged: Option<bool>,
    tally: BTreeMap<String, usize>,
}

/// The file of a pipeline over the topic; silence is noticed so soon that a run which is behind, and waits for what it asked for,
/// would be taken to be silent if anything allowed that.
fn pipeline(broker: &Broker, to: &TempDir, topic: &str, name: &str, store: &str) -> String {
    let sinks = Sinks::Kafka(broker);
    sinks.prepare(name);
    let (address, tables) =
        (&broker.address, sinks.tables(to.path(), name) + &Sinks::Files.tables(to.path(), name));
    let text = format!(
        r#"
name = "{name}"
[checkpoint]
store = {store:?}
every = "120ms"
commit = "30ms"
restarts = 0
[[source]]
name = "requests"
connector = "kafka"
options = {{ brokers = "{address}", topics = "{topic}" }}
format = "json"
time = {{ field = "t", unit = "ms" }}
key = ["k"]
value = "v"
lateness = "{LATENESS}ms"
idle = "30ms"
[[step]]
operator = "window"
params = {{ every = "1s", aggregate = "mean" }}
[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.1 }}
threshold = 3
{tables}"#
    );
    let path = to.path().join(format!("{name}.toml"));
    fs::write(&path, text).expect("it can be written");
    path.display().to_string()
}

/// Waits until each process of a run has said that it goes on.
fn await_going_on(run: &mut Observed, processes: usize) {
    let start = Instant::now();
    while run.err().matches("goes on").count() < processes {
        let ended = run.child.try_wait().expect("it is ours");
        assert!(ended.is_none() && start.elapsed() < PATIENCE, "it does not go on: {ended:?} {}", run.err());
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(run: &mut Observed) -> bool {
    run.child.try_wait().expect("it is ours").is_none()
}

/// Interrupts a run, and waits for its end.
fn stop(mut run: Observed) {
    interrupt(&run.child);
    let ended = run.end(PATIENCE);
    assert_eq!(Some(130), ended.code, "{ended:?}");
}

impl Job {
    fn new(broker: &Broker, topic: &str, name: &str, feeding: Feeding) -> Self {
        let disk = Disk::new();
        let store = disk.store().display().to_string();
        let file = pipeline(broker, disk.folder(), topic, name, &store);
        let program = PathBuf::from(example("crashing").get_program());
        Self {
            file,
            program,
            disk,
            kept: folder(),
            zombie: None,
            feeding,
            damaged: None,
            tally: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += 1;
    }

    fn start(&self, (arguments, _): Cluster) -> Observed {
        let mut command = Command::new(&self.program);
        command.args(["run", &self.file, "-v"]).args(arguments);
        if self.zombie.is_some() {
            command.arg("--take-over");
        }
        start(command.env("KEEP", self.kept.path()).env("FULL", self.disk.ballast()))
    }

    /// Lives a life.
    fn live(&mut self, life: Life, broker: &mut Broker, random: &mut Random) {
        let Life { cluster, moment, fate } = life;
        let mut run = self.start(cluster);
        if let Some((mut zombie, pids)) = self.zombie.take() {
            await_going_on(&mut run, cluster.1);
            pids.iter().for_each(|pid| signal(*pid, "CONT"));
            let ended = zombie.end(PATIENCE);
            assert!(!matches!(ended.code, Some(0 | 130)), "a zombie lives on: {ended:?}");
            self.count("zombies that woke up");
        }
        if let Some(must_be_found) = self.damaged.take() {
            await_going_on(&mut run, cluster.1);
            let is_found = run.err().contains("a checkpoint cannot be used, so an earlier one is");
            assert!(is_found || !must_be_found, "damage is not found: {}", run.err());
            self.count(if is_found { "damages that were found" } else { "damages that nobody met" });
        }
        thread::sleep(moment);
        assert!(is_alive(&mut run), "it has ended by itself: {:?}", run.end(PATIENCE));
        self.end(run, life, broker, random);
        self.count(format!("{fate:?}"));
    }

    /// Brings the end of a life.
    fn end(&mut self, mut run: Observed, life: Life, broker: &mut Broker, random: &mut Random) {
        let Life { cluster, fate, .. } = life;
        let processes = cluster.1;
        match fate {
            Fate::Killed => run.kill(),
            Fate::OneKilled | Fate::OneSleeps => {
                let one = random.below(processes as u64) as usize;
                let signal = if fate == Fate::OneKilled { "KILL" } else { "STOP" };
                run.members(processes)[one].signal(signal);
                let ended = run.end(PATIENCE);
                assert_eq!(Some(1), ended.code, "{ended:?}");
            }
            Fate::Zombie => {
                await_going_on(&mut run, processes);
                thread::sleep(Duration::from_millis(random.below(500)));
                let members = if processes > 1 { run.members(processes) } else { Vec::new() };
                let pids: Vec<_> = members.iter().map(|member| member.pid).chain([run.child.id()]).collect();
                pids.iter().for_each(|pid| signal(*pid, "STOP"));
                self.zombie = Some((run, pids));
            }
            Fate::Interrupted => stop(run),
            Fate::BrokerHangs => {
                broker.stop();
                thread::sleep(Duration::from_millis(500 + random.below(2000)));
                broker.resume();
                self.outlive(run, random);
            }
            Fate::BrokerDies => {
                broker.kill();
                // The next one may begin while nobody answers.
                if random.below(2) == 0 {
                    run.kill();
                    run = self.start(cluster);
                    thread::sleep(Duration::from_millis(random.below(2000)));
                    self.count("runs that began without a broker");
                }
                broker.restart();
                self.outlive(run, random);
            }
            Fate::DiskFull => {
                self.disk.fill();
                let ended = run.end(PATIENCE);
                self.disk.clear();
                let told = ended.err.contains("No space left on device") || ended.err.contains("storage");
                assert!(ended.code == Some(1) && told, "{ended:?}");
            }
            Fate::Damaged => {
                self.await_checkpoints(&mut run, processes);
                // All sinks pass the last checkpoint of a run that is interrupted, but maybe not that of one that is killed.
                let is_passed = self.tally.get("Damaged").is_none_or(|times| times % 2 == 0);
                match is_passed {
                    true => stop(run),
                    false => run.kill(),
                }
                self.damage();
                self.damaged = Some(is_passed);
            }
            Fate::Joined => {
                self.feeding.add(broker);
                thread::sleep(Duration::from_millis(random.below(300)));
                run.kill();
            }
        }
    }

    /// Lets a run go on for a while whose broker was away, if it has not ended of that.
    fn outlive(&mut self, mut run: Observed, random: &mut Random) {
        thread::sleep(Duration::from_millis(random.below(1500)));
        match is_alive(&mut run) {
            true => {
                run.kill();
                self.count("runs that outlived their broker");
            }
            false => {
                let ended = run.end(PATIENCE);
                assert_eq!(Some(1), ended.code, "{ended:?}");
                self.count("runs that did not outlive their broker");
            }
        }
    }

    /// Waits until a run has made so many checkpoints that the newest is not the only one which can be used.
    fn await_checkpoints(&self, run: &mut Observed, processes: usize) {
        await_going_on(run, processes);
        let start = Instant::now();
        loop {
            // Those of an earlier run may be damaged.
            let (epoch, manifests) = journal::manifests(&self.disk.store());
            if manifests.iter().filter(|manifest| manifest.epoch == epoch).count() > 3 {
                return;
            }
            assert!(is_alive(run) && start.elapsed() < PATIENCE, "it makes no checkpoints: {}", run.err());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Flips a bit of what the newest checkpoint has and an earlier one has not.
    fn damage(&self) {
        let (_, manifests) = journal::manifests(&self.disk.store());
        let (newest, earlier) = manifests.split_last().expect("there are several");
        let has =
            |manifest: &Manifest, name: &String| manifest.objects.iter().any(|object| object.name == *name);
        let is_new = |name: &&String| earlier.iter().any(|manifest| !has(manifest, name));
        let mut names = newest.objects.iter().map(|object| &object.name).rev();
        let path = self.disk.store().join("1").join(names.find(is_new).expect("something has changed"));
        let mut bytes = fs::read(&path).expect("it is there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
    }
}

/// Runs a job until all is committed, and returns what is in its topics and in its files.
fn finish(broker: &Broker, mut run: Observed, name: &str, folder: &TempDir) -> [Vec<Vec<Line>>; 2] {
    let ended = Sinks::Kafka(broker).finish(&mut run, folder, name);
    assert_eq!(Some(130), ended.code, "{ended:?}");
    [Sinks::Kafka(broker), Sinks::Files].map(|sinks| sinks.committed(folder, name))
}

/// Lives so many lives, and compares what is committed with what a job commits that has the same journal and one life.
fn lives(seed: u64, count: usize, broker: &mut Broker) -> BTreeMap<String, usize> {
    let begun = Instant::now();
    let mut random = Random(seed << 32);
    let (topic, name) = (format!("requests-{seed}"), format!("lives-{seed}"));
    let feeding = Feeding::start(broker, &topic, seed);
    let mut job = Job::new(broker, &topic, &name, feeding);
    let plan = plan(count, &mut random);
    for (number, life) in plan.iter().enumerate() {
        eprintln!("{name}: life {number} of CHAOS_SEED={seed} CHAOS_LIVES={count}: {life:?}");
        job.live(*life, broker, &mut random);
    }
    let mut last = job.start(ALONE[1]);
    let late_anyway = job.feeding.end();
    if let Some((mut zombie, pids)) = job.zombie.take() {
        await_going_on(&mut last, 1);
        pids.iter().for_each(|pid| signal(*pid, "CONT"));
        zombie.end(PATIENCE);
    }
    let found = finish(broker, last, &name, job.disk.folder());

    let folder = folder();
    let (store, undisturbed) = (folder.path().join("store"), format!("undisturbed-{seed}"));
    let decisions = journal::copy(&job.disk.store(), job.kept.path(), &store);
    let file = pipeline(broker, &folder, &topic, &undisturbed, &store.display().to_string());
    let run = start(Command::new(PROGRAM).args(["run", &file, "--quiet"]));
    let expected = finish(broker, run, &undisturbed, &folder);
    for (expected, found) in expected.iter().zip(&found) {
        assert_same(expected, found, &format!("CHAOS_SEED={seed} CHAOS_LIVES={count}: {plan:?}"));
    }
    let (counts, tally) = (expected[0].iter().map(Vec::len).collect::<Vec<_>>(), job.tally);
    eprintln!(
        "{name}: {count} lives in {:?}: {tally:?}; {decisions} decisions; committed {counts:?}, of which late without any \
         decision {late_anyway}",
        begun.elapsed()
    );
    assert!(counts[2] as u64 > late_anyway && decisions > 20, "nobody's silence was noticed");
    tally
}

#[test]
fn a_job_of_many_lives_commits_what_one_of_one_life_does() {
    let Some(mut broker) = Broker::start() else { return };
    let count = number("CHAOS_LIVES").unwrap_or(20) as usize;
    let seeds = seed().map_or(vec![1, 2], |seed| vec![seed]);
    let mut tally = BTreeMap::<String, usize>::new();
    for seed in seeds {
        lives(seed, count, &mut broker)
            .into_iter()
            .for_each(|(what, times)| *tally.entry(what).or_default() += times);
    }
    eprintln!("what happened: {tally:?}");
    let fates =
        FATES.iter().map(|(fate, _)| format!("{fate:?}")).chain(["damages that were found".to_owned()]);
    for what in fates {
        assert!(count < 20 || tally.contains_key(&what), "{what} did not happen: {tally:?}");
    }
}
