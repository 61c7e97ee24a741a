//! What the operators of a run share beside data: counts, failure, interruption.
//!
//! A run may have several processes. Each then tells the others in a [`Bulletin`] how it stands, and hears theirs; what
//! concerns the whole run (whether it is interrupted, what is drained, the totals) is derived from all of them.

mod committed;
mod counts;
mod local;
mod reached;
mod rule;
mod saving;
mod scheduler;
mod stopping;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::flow::Tally;
use tidewatch_dataflows::{EventTime, PartitionId};
use xxhash_rust::xxh3::xxh3_64;

use crate::ingest::Quarantine;
use crate::{lock, Error, Partition, Progress, Shard};
pub use committed::Committed;
pub use counts::{Counts, Totals};
pub use reached::Reached;
pub(crate) use reached::Stand;
pub use rule::Rule;
pub use scheduler::{Entered, Meeting, Scheduler, Ticket};

/// Shared by all workers of a process for one run; clones are the same control.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    scheduler: Option<Arc<dyn Scheduler>>,
    /// A rule that a simulation has switched off.
    broken: Option<Rule>,
    start: OnceLock<Instant>,
    run: OnceLock<u64>,
    counts: Counts,
    tally: Arc<Tally>,
    stopping: stopping::Stopping,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    held: Mutex<BTreeMap<(usize, usize), EventTime>>,
    /// How many threads have been told that this is theirs.
    workers: AtomicUsize,
    /// Bytes of what waits in sinks and sources wait for: by the watermark, and all.
    kept: Mutex<BTreeMap<EventTime, u64>>,
    kept_bytes: AtomicU64,
    frozen: Mutex<usize>,
    listed: Mutex<BTreeMap<usize, (String, u64)>>,
    known: Mutex<BTreeMap<usize, Known>>,
    stands: Mutex<Vec<Arc<Stand>>>,
    opened: AtomicBool,
    saving: saving::Saving,
    /// How many shards each sink has whose output becomes visible in transactions, and how far those of this process are.
    shards: Mutex<Vec<u32>>,
    committed: Mutex<BTreeMap<(usize, Shard), Progress>>,
    others: Mutex<BTreeMap<usize, Bulletin>>,
    heard: Condvar,
    changes: Mutex<u64>,
    change: Condvar,
}

/// What is known of a source, whoever reads it.
#[derive(Debug)]
struct Known {
    source: Arc<str>,
    partitions: Vec<String>,
    quarantine: Quarantine,
}

/// How a process stands in a run: what the other processes must know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    /// Whether it stops without finalising what is not final.
    pub interrupted: bool,
    /// Whether it does so only to start again.
    pub starts_again: bool,
    /// Whether all its workers have opened what they read, and nothing has failed.
    pub opened: bool,
    /// How many of its workers have stopped reading for good.
    pub frozen: usize,
    /// The lowest watermark that its ingest operators hold; settled once all its workers are frozen.
    pub held: Option<EventTime>,
    /// A hash of the partitions that each of its ingest operators has found.
    pub listed: BTreeMap<usize, u64>,
    /// How far its shards of sinks are committed.
    pub committed: Committed,
    /// Whether it has saved all that an interrupted run has to save.
    pub saved: bool,
    /// What it has counted.
    pub totals: Totals,
    /// How far it has read the partitions that are furthest behind.
    pub reached: Vec<Reached>,
}

impl Control {
    /// Says what stands for the run, in all its processes and in no other run. Only the first call counts.
    pub fn begin(&self, run: u64) {
        // It is the same number.
        let _ = self.0.run.set(run);
    }

    /// What stands for the run, the same in all its processes; zero if nobody has said so, as if there is only one.
    pub fn run(&self) -> u64 {
        self.0.run.get().copied().unwrap_or_default()
    }

    /// Wall time since the first worker has started.
    pub fn elapsed(&self) -> Duration {
        self.0.start.get().map(|start| self.now().duration_since(*start)).unwrap_or_default()
    }

    /// What ingest counts in this process.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What keyed state counts in this process.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.0.tally
    }

    /// What all processes have counted, as far as this one has heard.
    pub fn totals(&self) -> Totals {
        let own = Totals::of(&self.0.counts, &self.0.tally);
        lock(&self.0.others).values().fold(own, |sum, bulletin| sum.and(bulletin.totals))
    }

    /// Ends the run with an error; the first one counts.
    pub fn fail(&self, error: Error) {
        lock(&self.0.failure).get_or_insert(error);
        self.abandon();
    }

    /// Ends the run because of an error that another process has.
    pub fn abandon(&self) {
        self.0.failed.store(true, Ordering::Release);
        self.notify();
    }

    /// Whether the run has failed, here or elsewhere.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Looks at the error of this process that ends the run, if there is one.
    pub fn failure<T>(&self, look: impl FnOnce(&Error) -> T) -> Option<T> {
        lock(&self.0.failure).as_ref().map(look)
    }

    /// Takes the error of this process that ended the run.
    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.0.failure).take()
    }

    /// Notes that all workers of this process have opened what they read, or failed to.
    pub fn opened(&self) {
        self.0.opened.store(true, Ordering::Release);
        self.notify();
    }

    /// Whether all of so many processes have opened what they read, as far as this one has heard.
    pub fn is_open(&self, processes: usize) -> bool {
        let others = lock(&self.0.others).values().filter(|other| other.opened).count();
        self.0.opened.load(Ordering::Acquire) && others + 1 == processes
    }

    /// Waits until all of so many processes have opened what they read, or the run is failed or interrupted.
    pub fn await_opened(&self, processes: usize) {
        let mut others = lock(&self.0.others);
        let opened =
            |others: &BTreeMap<usize, Bulletin>| others.values().filter(|other| other.opened).count();
        while opened(&others) + 1 < processes && !self.failed() && !self.interrupted() {
            // A failure does not say that it was heard of.
            let waited = self.0.heard.wait_timeout(others, Duration::from_millis(50));
            others = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes which partitions of a source this process has found.
    pub(crate) fn list(&self, ingest: usize, source: &str, partitions: &[String]) {
        let hash = xxh3_64(partitions.join("\0").as_bytes());
        lock(&self.0.listed).insert(ingest, (source.to_owned(), hash));
        self.notify();
    }

    /// Notes what partitions a source has, whoever reads them, and which of its records are set aside.
    pub(crate) fn know(
        &self,
        ingest: usize,
        source: &Arc<str>,
        partitions: &[String],
        quarantine: &Quarantine,
    ) {
        lock(&self.0.known).entry(ingest).or_insert_with(|| Known {
            source: source.clone(),
            partitions: partitions.to_vec(),
            quarantine: quarantine.clone(),
        });
    }

    /// Those of the partitions of a source that the run does not know; none before it has begun to read.
    pub fn unknown(&self, source: &str, partitions: Vec<String>) -> Vec<String> {
        let known = lock(&self.0.known);
        match known.values().find(|known| &*known.source == source) {
            Some(known) => partitions.into_iter().filter(|name| !known.partitions.contains(name)).collect(),
            None => Vec::new(),
        }
    }

    /// How many partitions all known sources have.
    pub(crate) fn partitions(&self) -> usize {
        lock(&self.0.known).values().map(|known| known.partitions.len()).sum()
    }

    /// The partition with this identifier, with the records of its source that are set aside; `None` if no source of this
    /// process knows it, or right now nobody can look.
    pub fn partition(&self, id: PartitionId) -> Option<(Partition, Quarantine)> {
        let known = self.0.known.try_lock().ok()?;
        known.values().find_map(|Known { source, partitions, quarantine }| {
            let name = partitions.iter().find(|name| PartitionId::of(source, name) == id)?;
            Some((Partition::new(source, name), quarantine.clone()))
        })
    }

    /// Notes the time at which an ingest operator of a worker holds its least capability; `None` once it has ended.
    pub(crate) fn hold(&self, worker: usize, ingest: usize, watermark: Option<EventTime>) {
        let mut held = lock(&self.0.held);
        match watermark {
            Some(watermark) => held.insert((worker, ingest), watermark),
            None => held.remove(&(worker, ingest)),
        };
    }

    /// The lowest watermark that any ingest operator of the run holds, as far as this process has heard; `None` if all
    /// have ended.
    pub fn watermark(&self) -> Option<EventTime> {
        let own = lock(&self.0.held).values().min().copied();
        lock(&self.0.others).values().filter_map(|bulletin| bulletin.held).chain(own).min()
    }

    /// How many workers of this process have begun.
    pub(crate) fn workers(&self) -> usize {
        self.0.workers.load(Ordering::Relaxed)
    }

    /// Notes that this process has sent so many bytes to a sink that keeps them until the watermark has passed `time`.
    pub(crate) fn keep(&self, time: EventTime, bytes: u64) {
        let mut kept = lock(&self.0.kept);
        *kept.entry(time.floor_ms()).or_default() += bytes;
        self.0.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many bytes sinks keep of what this process has sent.
    pub(crate) fn kept(&self) -> u64 {
        self.0.kept_bytes.load(Ordering::Relaxed)
    }

    /// The same, now that the watermark has come to `frontier`.
    pub(crate) fn kept_from(&self, frontier: EventTime) -> u64 {
        let mut kept = lock(&self.0.kept);
        *kept = kept.split_off(&frontier);
        let bytes = kept.values().sum();
        self.0.kept_bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Notes that one more worker has stopped reading for good, because of an interruption or the end of its sources. It
    /// is called between two steps of the worker.
    pub fn freeze(&self) {
        *lock(&self.0.frozen) += 1;
        self.notify();
    }

    /// Whether this worker has nothing left to flush, once all `peers` workers of the run are frozen: every egress has
    /// passed the lowest held watermark.
    pub fn drained(&self, peers: usize) -> bool {
        let elsewhere: usize = lock(&self.0.others).values().map(|bulletin| bulletin.frozen).sum();
        if *lock(&self.0.frozen) + elsewhere < peers {
            return false;
        }
        Self::have_probes_passed(self.watermark())
    }

    /// How this process stands.
    pub fn bulletin(&self) -> Bulletin {
        // A worker's watermark no longer moves when it is counted as frozen: so count first.
        let frozen = *lock(&self.0.frozen);
        Bulletin {
            interrupted: self.interrupted(),
            // In this order: so nobody takes a new start for an interruption.
            starts_again: self.starts_again(),
            // Whoever hears this hears of no failure later that came before it.
            opened: self.0.opened.load(Ordering::Acquire) && !self.failed(),
            frozen,
            held: lock(&self.0.held).values().min().copied(),
            committed: self.committed_here(),
            saved: self.has_saved(),
            listed: lock(&self.0.listed).iter().map(|(ingest, (_, hash))| (*ingest, *hash)).collect(),
            totals: Totals::of(&self.0.counts, &self.0.tally),
            reached: self.own_reached(),
        }
    }

    /// Takes note of how another process stands. If it is interrupted, so is this one; if it has found other
    /// partitions, the run fails, because a partition would be read by nobody.
    pub fn hear(&self, process: usize, bulletin: Bulletin) {
        let differs = lock(&self.0.listed).iter().find_map(|(ingest, (source, hash))| {
            bulletin.listed.get(ingest).is_some_and(|other| other != hash).then(|| source.clone())
        });
        let Bulletin { interrupted, starts_again, .. } = bulletin;
        if bulletin.saved && !self.has_saved() {
            self.saved();
        }
        if let Some(source) = differs.filter(|_| !self.failed()) {
            let reason = format!(
                "process {process} finds other partitions of source \"{source}\" than this one: all must find the same"
            );
            self.fail(Error::Configuration(reason));
        }
        lock(&self.0.others).insert(process, bulletin);
        self.0.heard.notify_all();
        match (interrupted, starts_again) {
            (true, true) => self.start_again(),
            (true, false) => self.interrupt(),
            (false, _) => {}
        }
    }

    /// Wakes those who wait for something that other processes should know at once.
    pub fn notify(&self) {
        *lock(&self.0.changes) += 1;
        self.0.change.notify_all();
    }

    /// Waits until something has happened after `seen` that other processes should know at once, but no longer than
    /// `limit`; returns what to give as `seen` the next time, at first 0.
    pub fn changed(&self, seen: u64, limit: Duration) -> u64 {
        let changes = lock(&self.0.changes);
        let waited = self.0.change.wait_timeout_while(changes, limit, |changes| *changes == seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_drained_when_the_workers_of_all_processes_are_frozen() {
        let control = Control::default();
        control.freeze();
        assert!(!control.drained(2));
        control.hear(1, Bulletin { frozen: 1, ..control.bulletin() });
        assert!(control.drained(2) && !control.interrupted());
    }

    #[test]
    fn what_others_say_counts() {
        let (one, two) = (Control::default(), Control::default());
        let at = EventTime::from_micros;
        one.hold(0, 1, Some(at(5_000)));
        one.counts().records.add(3);
        one.counts().saw(at(1), at(2));
        two.hold(1, 1, Some(at(4_000)));
        two.counts().records.add(4);
        two.counts().saw(at(0), at(1));
        two.interrupt();
        one.hear(1, Bulletin::default());
        one.hear(1, two.bulletin());
        assert_eq!((Some(at(4_000)), true), (one.watermark(), one.interrupted()));
        assert_eq!((7, Some((at(0), at(2)))), (one.totals().records, one.totals().span));
    }

    #[test]
    fn a_process_that_finds_other_partitions_ends_the_run() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (one, two) = (Control::default(), Control::default());
        one.list(1, "logs", &names(&["a", "b"]));
        one.hear(1, two.bulletin());
        two.list(1, "logs", &names(&["a", "b"]));
        one.hear(1, two.bulletin());
        assert!(!one.failed());
        two.list(1, "logs", &names(&["a"]));
        one.hear(1, two.bulletin());
        assert!(one.take_failure().is_some_and(|error| error.to_string().contains("\"logs\"")));
    }

    #[test]
    fn every_process_knows_the_partitions_that_any_reads() {
        let control = Control::default();
        let (names, quarantine) = (["a", "b"].map(str::to_owned), Quarantine::from_iter([("b", 7)]));
        for (ingest, source) in [(1, "logs"), (2, "more")] {
            control.know(ingest, &source.into(), &names, &quarantine);
        }
        for (source, name) in [("logs", "b"), ("more", "a")] {
            let partition = Partition::new(source, name);
            assert_eq!(Some((partition.clone(), quarantine.clone())), control.partition(partition.id));
        }
        assert_eq!(None, control.partition(PartitionId::of("logs", "c")));
    }

    #[test]
    fn a_change_ends_the_wait_for_it() {
        let control = Control::default();
        let changer = control.clone();
        let thread = std::thread::spawn(move || changer.interrupt());
        let seen = control.changed(0, Duration::from_secs(30));
        assert_eq!(1, seen);
        assert_eq!(1, control.changed(seen, Duration::from_millis(1)));
        thread.join().expect("it does not panic");
    }
}
