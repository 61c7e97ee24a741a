//! One life of a job: a process that can die at any moment.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewatch::cluster::{Cluster, Outcome};
use tidewatch::config;
use tidewatch::job::Job;
use tidewatch::registry::{Registry, SinkInfo, SourceInfo, Transactional};
use tidewatch::Error;
use tidewatch_connectors::{Control, Error as ConnectorError, Store};
use tidewatch_dataflows::params::{Kind, Parameter};

use super::sink::Shards;
use super::source::Topic;
use super::store::Disk;
use super::turns::{Seat, Turns};
use super::world::{Mutes, World};

/// What the error says of a write that has failed, in a life that goes on.
pub(super) const FAILED: &str = "the connection is gone";

/// After how many turns a life has no end that nobody disturbs.
pub(super) const BOUND: u64 = 30_000;

/// What connects a life with its world: whatever it does there, goes through this.
pub(super) struct Wire {
    pub(super) turns: Arc<Turns>,
    pub(super) number: usize,
    is_dead: AtomicBool,
    /// Once in how many writes one fails.
    fails: Option<u64>,
}

impl Wire {
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Lets others have their turns, and then reads something of the world.
    pub(super) fn read<T>(&self, read: impl FnOnce() -> T) -> Result<T, ConnectorError> {
        self.turns.pause(Duration::ZERO);
        match self.is_dead() {
            true => Err(lost()),
            false => Ok(read()),
        }
    }

    /// Changes the world, before or after others have had their turns. If the life dies meanwhile, or the write fails, it may be
    /// done or not, and nobody is told.
    pub(super) fn write<T>(&self, world: &World, write: impl FnOnce() -> T) -> Result<T, ConnectorError> {
        let mut write = Some(write);
        let fails = Turns::takes_part()
            && self.fails.is_some_and(|times| self.turns.draw(|random| random.once_in(times)));
        let lands = self.turns.draw(|random| random.once_in(2));
        self.turns.pause(Duration::ZERO);
        if self.is_dead() || fails {
            world.tally.lost_writes.add(1);
            if lands {
                world.tally.lost_that_landed.add(1);
                write.take().map(|write| write());
            }
            return Err(lost());
        }
        let answer = write.take().map(|write| write()).expect("it is taken once");
        self.turns.pause(Duration::ZERO);
        if self.is_dead() {
            world.tally.unheard.add(1);
            return Err(lost());
        }
        Ok(answer)
    }
}

fn lost() -> ConnectorError {
    ConnectorError::io("simulation")(io::Error::other(FAILED))
}

/// How a life is set up.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) workers: u16,
    pub(super) pipeline: String,
    pub(super) pace: tidewatch_connectors::ingest::Pace,
    pub(super) fails: Option<u64>,
}

/// A life of the job.
pub(super) struct Life {
    pub(super) wire: Arc<Wire>,
    pub(super) control: Control,
    thread: Option<JoinHandle<Result<Outcome, Error>>>,
}

impl Life {
    /// Begins a life; it does nothing before the turns of its threads.
    pub(super) fn begin(world: &Arc<World>, number: usize, setting: &Setting) -> Self {
        let turns = world.turns.clone();
        let seat = Seat { turns: turns.clone(), life: number };
        let control = Control::simulated(Arc::new(seat), world.broken);
        let is_dead = AtomicBool::new(false);
        let wire = Arc::new(Wire { turns: turns.clone(), number, is_dead, fails: setting.fails });
        let mut registry = registry(world, &wire);
        let disk: Arc<dyn Store> = Arc::new(Disk::of(world, &wire));
        registry.store = Arc::new(move |_| Ok(disk.clone()));
        let file = config::parse("simulated.toml", &setting.pipeline, &|_| None, &registry);
        let job = Job::new(file.expect("it is right"), &registry).expect("it fits together");
        let job = match &world.mutes {
            Mutes::Written(_) => job,
            Mutes::Taken(editions) => job.referring(Some(editions.clone())),
        };
        let job = job.at_pace(setting.pace);
        let (cluster, own) = (Cluster::threads(setting.workers), control.clone());
        let run = move || job.run(cluster, &own, Arc::new(Vec::new));
        let thread = thread::Builder::new().name(format!("life {number}")).spawn(run);
        turns.await_workers(number, setting.workers.into());
        Self { wire, control, thread: Some(thread.expect("a thread can be started")) }
    }

    /// Cuts the life off from the world: nothing that it does from now on has any effect.
    pub(super) fn kill(&self) {
        self.wire.is_dead.store(true, Ordering::Relaxed);
        self.control.abandon();
    }

    /// Has all threads of the life end, whose workers have left or are to, and says how it ended; `None` if that was said already.
    pub(super) fn end(&mut self, world: &World) -> Option<Result<Outcome, Error>> {
        let (thread, number) = (self.thread.take()?, self.wire.number);
        if !world.turns.have_left(number, true) {
            self.kill();
            self.run_out(world, true);
        }
        let outcome = match world.turns.has_panicked(number) || !world.turns.have_left(number, true) {
            // Its threads wait for each other.
            true => Err(Error::Internal("it panicked, or does not even die".to_owned())),
            false => thread.join().unwrap_or_else(|_| Err(Error::Internal("it panicked".to_owned()))),
        };
        // With it go the threads that nobody waits for.
        self.kill();
        self.run_out(world, false);
        Some(outcome)
    }

    /// Gives turns until all workers, or all threads, of the life have left.
    fn run_out(&self, world: &World, only_workers: bool) {
        let limit = world.turns.taken() + BOUND;
        while !world.turns.have_left(self.wire.number, only_workers) && world.turns.taken() < limit {
            world.turns.run(limit);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_none()
    }
}

fn registry(world: &Arc<World>, wire: &Arc<Wire>) -> Registry {
    let mut registry = Registry::default();
    let topic = Arc::new(Topic::of(world));
    registry.sources.add(SourceInfo {
        name: "simulated",
        parameters: vec![],
        rows: false,
        envelopes: false,
        append_times: false,
        falls_silent: |_| true,
        construct: Arc::new(move |_, _| Ok(topic.clone())),
    });
    let (list, reader) = (world.clone(), wire.clone());
    registry.mutes = Arc::new(move |_| reader.read(|| list.mutes.at(list.turns.now())));
    let shards = Arc::new(Shards::of(world, wire));
    registry.sinks.add(SinkInfo {
        name: "simulated",
        parameters: vec![Parameter::required("to", Kind::Text, "what its streams share")],
        check: |_| Ok(()),
        construct: Arc::new(|_, _| unreachable!("it is transactional")),
        transactional: Some(Transactional {
            together_by: Some("to"),
            construct: Arc::new(move |_, _| Ok(shards.clone())),
        }),
    });
    registry
}
