//! How a run goes on where earlier ones stood.
//!
//! **Protocol.** The first process appends the run's epoch to the log of the job: from then on no earlier run decides, saves or
//! commits anything that counts. Every process then ends whoever writes to its shards of the sinks, and says in the log how far they are
//! committed. When all have, and no later run has begun, the first process chooses the newest intact checkpoint whose boundary
//! all shards have passed, decides about partitions that no run has read yet, and says so; and every process starts from there.

mod incarnation;
mod newcomers;
mod plan;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidewatch_connectors::control::Rule;
use tidewatch_connectors::egress::Shards;
use tidewatch_connectors::ingest::Resume;
use tidewatch_connectors::store::{Entry, Epoch, Lock, Log, Store};
use tidewatch_connectors::{Control, Error as ConnectorError, Input, Progress, TransactionalSink};
use tidewatch_dataflows::EventTime;
use tracing::{info, warn};

use crate::checkpoint::{Began, Body, Checkpoint, Keeper, KeyGroups, Manifest, Scribe, LOG};
use crate::Error;
pub(crate) use incarnation::Incarnation;
pub use incarnation::Terms;
pub(crate) use newcomers::Lookout;
pub(crate) use plan::{Plan, Reach};
pub use requests::ask;

/// How often a process looks whether another one has written into the log.
const LOOK: Duration = Duration::from_millis(10);

/// What a run needs to know of itself to go on.
pub(crate) struct Who<'a> {
    /// The store of the job, and where it is.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) url: &'a str,
    pub(crate) terms: Terms,
    /// What in the pipeline changes output.
    pub(crate) hash: u64,
    /// The index of this process, how many there are, and how many workers each has.
    pub(crate) process: usize,
    pub(crate) processes: usize,
    pub(crate) workers: usize,
    pub(crate) control: Control,
    /// How often state is saved.
    pub(crate) every: Duration,
}

/// From where a run goes on.
pub(crate) struct Recovered {
    /// Where its sources are read from.
    pub(crate) resume: Arc<Resume>,
    /// The boundary of the checkpoint; none if there was no checkpoint.
    pub(crate) boundary: Option<EventTime>,
    /// What was kept there of the keys of this process.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The shards of each sink.
    pub(crate) shards: Vec<Shards>,
    pub(crate) keeper: Keeper,
    /// How often state is saved.
    pub(crate) every: Duration,
    /// That no other run starts.
    _lock: Option<Lock>,
}

impl Who<'_> {
    /// Finds out where to go on, with all other processes of the run; `None` if all sources had ended, and everything is
    /// committed.
    ///
    /// # Errors
    ///
    /// If the store or a sink cannot be used, if the checkpoint is of another pipeline, or if a later run has begun.
    pub(crate) fn recover(
        &self,
        inputs: &[Input],
        sinks: impl FnOnce(&Incarnation) -> Result<Vec<Arc<dyn TransactionalSink>>, Error>,
    ) -> Result<Option<Recovered>, Error> {
        let (incarnation, lock) = match self.process {
            0 => Incarnation::enter(&self.store, self.url, self.terms, self.hash)?,
            _ => (Incarnation::follow(&self.store, &self.control)?, None),
        };
        let (store, sinks) = (&incarnation.store, sinks(&incarnation)?);
        let (mut log, entries) = Log::open(store.clone(), LOG)?;
        if !self.control.obeys(Rule::LogEndsEarlierRuns) {
            log = log.heedless();
        }
        let mut entries = Entries::of(entries)?;
        let epoch = match self.process {
            0 => log.begin(&Body::Began(Began::now(self.hash, self.control.run())).encode())?,
            _ => self.await_begin(&mut log, &mut entries)?,
        };
        info!(%epoch, "began");
        let peers = self.processes * self.workers;
        let own = self.process * self.workers..(self.process + 1) * self.workers;
        let open = |sink: &Arc<dyn TransactionalSink>| {
            Shards::open(&**sink, epoch, own.clone(), peers, &self.control)
        };
        let mut shards = sinks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        // Where a job has stopped for another pipeline, all its sinks are: what has committed nothing, is new, and begins there.
        if let Some((_, stopped)) =
            plan::manifests(&entries.0).next().filter(|(_, newest)| newest.is_savepoint)
        {
            shards.iter_mut().try_for_each(|shards| shards.begin_at(stopped.boundary, &self.control))?;
        }
        let reach = Reach::of(shards.iter().flat_map(|shards| shards.progress().values().copied()));
        entries.append(&mut log, epoch, Body::Fenced { process: self.process as u64, reach })?;
        let fenced: usize = shards.iter().map(|shards| shards.progress().len()).sum();
        info!(shards = fenced, "fenced");
        let plan = match self.process {
            0 => self.decide(&**store, &mut log, &mut entries, epoch, inputs)?,
            _ => self.await_plan(&mut log, &mut entries, epoch)?,
        };
        let manifest = plan.manifest.and_then(|number| entries.manifest(number));
        if plan.has_ended {
            warn!("all sources of the job had ended, and all is committed: nothing is left to do; start it anew with --fresh");
            return Ok(None);
        }
        let boundary = manifest.as_ref().map(|manifest| manifest.boundary);
        let groups = own.map(|worker| KeyGroups::of_worker(worker, peers));
        let groups = groups.flat_map(KeyGroups::iter).collect();
        let objects = manifest.as_ref().map(|manifest| manifest.objects.clone()).unwrap_or_default();
        let editions = plan::editions(manifest.as_ref(), &entries.0);
        let load = |manifest| Checkpoint::load(&**store, manifest, groups);
        let checkpoint = manifest.map(load).transpose();
        let checkpoint = checkpoint.map_err(|error| unless_over(&mut log, epoch, error))?;
        if checkpoint.is_some() {
            let bytes: u64 = objects.iter().map(|object| object.bytes).sum();
            info!(objects = objects.len(), bytes, "loaded");
        }
        let decisions = plan::decisions(&entries.0);
        let hash = self.hash;
        let scribe = Scribe { store: store.clone(), log, epoch, hash, objects, editions, workers: peers };
        let keeper = Keeper::start(scribe, decisions, &self.control)?;
        let resume = Resume {
            boundary: boundary.unwrap_or(EventTime::MIN),
            floor: plan.floor,
            positions: plan.positions,
        };
        info!(boundary = ?boundary, floor = %plan.floor, "goes on");
        if self.process == 0 {
            requests::answer(self.url, &self.control);
        }
        let (resume, every) = (Arc::new(resume), self.every);
        Ok(Some(Recovered { resume, boundary, checkpoint, shards, keeper, every, _lock: lock }))
    }

    /// Waits until the first process has begun the run.
    fn await_begin(&self, log: &mut Log, entries: &mut Entries) -> Result<Epoch, Error> {
        self.await_in(log, entries, |entries| {
            entries.iter().rev().find_map(|(entry, body)| match body {
                Body::Began(began) if began.run == self.control.run() => Some(entry.epoch),
                _ => None,
            })
        })
    }

    /// Waits until the first process has decided where the run goes on.
    fn await_plan(&self, log: &mut Log, entries: &mut Entries, epoch: Epoch) -> Result<Plan, Error> {
        self.await_in(log, entries, |entries| {
            entries.iter().rev().find_map(|(entry, body)| match body {
                Body::Resumed(plan) if entry.epoch == epoch => Some(plan.clone()),
                _ => None,
            })
        })
    }

    /// Reads the log until `find` finds something in it, no later run has begun, and nobody has failed.
    fn await_in<T>(
        &self,
        log: &mut Log,
        entries: &mut Entries,
        find: impl Fn(&[(Entry, Body)]) -> Option<T>,
    ) -> Result<T, Error> {
        loop {
            if let Some(found) = find(&entries.0) {
                return Ok(found);
            }
            if self.control.failed() || self.control.interrupted() {
                return Err(Error::Interrupted);
            }
            self.control.rest(LOOK, thread::sleep);
            entries.add(log.catch_up()?)?;
        }
    }
}

impl Who<'_> {
    /// Decides where the run goes on, once all processes have ended whoever wrote before, and says so.
    fn decide(
        &self,
        store: &dyn Store,
        log: &mut Log,
        entries: &mut Entries,
        epoch: Epoch,
        inputs: &[Input],
    ) -> Result<Plan, Error> {
        let reach = self.await_in(log, entries, |entries| {
            let fenced = entries.iter().filter(|(entry, _)| entry.epoch == epoch);
            let reaches: BTreeMap<_, _> = fenced
                .filter_map(|(_, body)| match body {
                    Body::Fenced { process, reach } => Some((*process, *reach)),
                    _ => None,
                })
                .collect();
            let all = reaches.len() == self.processes;
            all.then(|| reaches.into_values().reduce(Reach::and).expect("there is this process"))
        })?;
        // A later run that has begun meanwhile may have written what this one has fenced.
        entries.add(log.catch_up()?)?;
        if log.highest() > epoch && self.control.obeys(Rule::LogEndsEarlierRuns) {
            return Err(ConnectorError::Fenced { epoch: log.highest() }.into());
        }
        plan::of_this_pipeline(&entries.0, self.hash, reach)?;
        let obeys = |rule| self.control.obeys(rule);
        let allows = |manifest| reach.allows(manifest) || !obeys(Rule::CheckpointThatShardsHavePassed);
        let is_intact = |manifest| !obeys(Rule::CheckpointThatIsIntact) || is_intact(store, manifest);
        let manifests = plan::manifests(&entries.0).filter(|(_, manifest)| allows(manifest));
        let manifest = { manifests }.find(|(_, manifest)| is_intact(manifest));
        if manifest.is_none() && log.has_dropped()? {
            // From the beginning it could go on only with what was removed because checkpoints said it.
            let (object, reason) =
                (store.object("state/"), "no checkpoint is intact; start anew with --fresh".to_owned());
            return Err(unless_over(log, epoch, ConnectorError::Damaged { object, reason }).into());
        }
        let floor = plan::floor(reach, &entries.0, &self.control);
        let mut plan = Plan::from(self.hash, manifest, reach, floor, &entries.0);
        // Once a shard has committed the end, nothing can follow it.
        let newcomers = match reach.highest {
            Progress::End if obeys(Rule::NoJoinAfterEnd) => Vec::new(),
            _ => newcomers::newcomers(inputs, &plan, obeys(Rule::JoinsAtFloor))?,
        };
        if !newcomers.is_empty() {
            plan.positions.extend(newcomers.iter().cloned());
            if obeys(Rule::JoinsAreDurable) {
                entries.append(log, epoch, Body::Joined(newcomers))?;
            }
        }
        entries.append(log, epoch, Body::Resumed(plan.clone()))?;
        Ok(plan)
    }
}

/// Why a run cannot go on: what it has not found, a later run may have removed.
fn unless_over(log: &mut Log, epoch: Epoch, error: ConnectorError) -> ConnectorError {
    match log.catch_up() {
        Ok(_) if log.highest() > epoch => ConnectorError::Fenced { epoch: log.highest() },
        _ => error,
    }
}

/// Whether all objects of a checkpoint can be read; says so if not.
fn is_intact(store: &dyn Store, manifest: &Manifest) -> bool {
    match Checkpoint::load(store, manifest.clone(), KeyGroups::ALL) {
        Ok(_) => true,
        Err(error) => {
            let boundary = manifest.boundary;
            warn!(%boundary, "a checkpoint cannot be used, so an earlier one is: {error}");
            false
        }
    }
}

/// The log as far as it was read.
struct Entries(Vec<(Entry, Body)>);

impl Entries {
    fn of(entries: Vec<Entry>) -> Result<Self, Error> {
        let mut all = Self(Vec::new());
        all.add(entries)?;
        Ok(all)
    }

    fn add(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for entry in entries {
            let body = Body::decode(&entry)?;
            self.0.push((entry, body));
        }
        // What others wrote before an own entry may be read after it.
        self.0.sort_by_key(|(entry, _)| entry.number);
        Ok(())
    }

    /// Appends an entry, which nobody reads again to this process.
    fn append(&mut self, log: &mut Log, epoch: Epoch, body: Body) -> Result<(), Error> {
        let number = log.append(epoch, &body.encode())?;
        self.add(vec![Entry { number, epoch, body: body.encode() }])
    }

    /// The checkpoint in an entry.
    fn manifest(&self, number: u64) -> Option<Manifest> {
        plan::manifests(&self.0).find(|(found, _)| *found == number).map(|(_, manifest)| manifest.clone())
    }
}
