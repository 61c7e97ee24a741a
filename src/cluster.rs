//! The workers of a run: how many, where they are, how they are driven, and how they stop together.

mod arguments;
mod culprit;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::{CommandFactory, Parser};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidewatch_connectors::recording::Part;
use tidewatch_connectors::{Control, Error as ConnectorError};
use timely::communication::allocator::AllocatorBuilder;
use timely::communication::WorkerGuards;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};
use tracing::{debug, info};
use tracing_subscriber::filter::LevelFilter;

use crate::exit::exit;
use crate::mesh::{self, lock, End, Member, Mesh};
use crate::{log, Error};
pub use arguments::Arguments;
use culprit::Described;

/// How long a worker without work sleeps before it looks whether the run was interrupted or has failed.
const LOOK: Duration = Duration::from_millis(100);

/// The workers of a cluster, as this process sees them.
#[derive(Debug)]
pub struct Cluster {
    workers: u16,
    member: Option<Member>,
}

impl Cluster {
    /// This process alone, with so many worker threads.
    pub fn threads(workers: u16) -> Self {
        Self { workers, member: None }
    }

    /// A process of several, each with so many worker threads.
    pub fn process(workers: u16, member: Member) -> Self {
        Self { workers, member: Some(member) }
    }

    /// How many workers this process has.
    pub fn workers(&self) -> usize {
        self.workers.into()
    }

    /// The number of this process, from 0.
    pub fn index(&self) -> usize {
        self.member.as_ref().map_or(0, Member::index)
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.member.as_ref().map_or(1, Member::processes)
    }

    /// Which part this process has of what all write in this run, each its own.
    pub fn part(&self) -> Part {
        Part { index: self.index() as u32, of: self.processes() as u32 }
    }

    /// Whether all processes have the same terminal, standard output and standard error.
    pub fn is_local(&self) -> bool {
        self.member.as_ref().is_none_or(|member| member.supervisor.is_some())
    }

    /// The same cluster, for one run of several.
    pub(crate) fn enter(&mut self) -> Self {
        Self { workers: self.workers, member: self.member.as_mut().map(Member::enter) }
    }

    pub(crate) fn is_supervised(&self) -> bool {
        self.member.is_some() && self.is_local()
    }
}

/// The command line of a program that only runs a dataflow.
#[derive(Parser)]
#[command(about = "Runs a tidewatch dataflow", disable_help_flag = true)]
struct Program {
    #[command(flatten)]
    cluster: Arguments,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every source has ended and everything is final.
    Done,
    /// It was interrupted: what was final has been written, and nothing else was made final.
    Interrupted,
    /// It was interrupted in the same way, but only to start again at once where it stood.
    Again,
}

impl Outcome {
    /// Nothing more to do, or what the exit code of an interrupted run follows from.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`]; [`Error::Again`].
    pub fn or_interrupted(self) -> Result<(), Error> {
        match self {
            Self::Done => Ok(()),
            Self::Interrupted => Err(Error::Interrupted),
            Self::Again => Err(Error::Again),
        }
    }
}

/// Runs the dataflows that `build` makes, on the workers that the command line asks for (`-w`, `-n`, `-p`, `-h`), until
/// every source has ended, or Ctrl-C.
///
/// Every process of a cluster must build the same dataflows. With `-n` and without `-p` this process starts the others, as
/// copies of itself with the same arguments, and ends when they have ended, with their exit code. A wrong command line or `--help`
/// ends the process, as programs do; so does a panic, because the other workers would wait for ever.
///
/// # Errors
///
/// What `build` returns, or the first error of a source or sink.
pub fn execute<F>(args: impl IntoIterator<Item = String>, build: F) -> Result<(), Error>
where
    F: Fn(&mut Worker) -> Result<(), Error> + Send + Sync + 'static,
{
    let arguments = Program::parse_from(args).cluster;
    let mut command = Program::command();
    if arguments.asks_for_help() {
        // Without a reader there is nobody to help.
        let _ = command.print_help();
        std::process::exit(0);
    }
    log::start(LevelFilter::WARN);
    let program = std::env::current_exe().unwrap_or_default();
    let job = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let cluster = match arguments.enter(&job) {
        Err(Error::Usage(message)) => command.error(clap::error::ErrorKind::ValueValidation, message).exit(),
        entered => entered?,
    };
    let supervised = cluster.is_supervised();
    let control = Control::default();
    abort_on_panic(&cluster, Described::InCode);
    interrupt_on_signals(&control, &cluster)?;
    match run(cluster, &control, build) {
        Ok(Outcome::Interrupted) if supervised => exit(Error::Interrupted.exit_code()),
        Ok(outcome) => outcome.or_interrupted(),
        // As if it were returned from `main`.
        Err(error) if error.is_told() => exit(1),
        Err(error) => Err(error),
    }
}

/// Interrupts the run at the first Ctrl-C or SIGTERM; ends the process at the second.
///
/// A supervised process gets them twice, from the terminal and from its supervisor, which sees to the second one.
///
/// # Errors
///
/// If the operating system does not let signals be handled.
pub fn interrupt_on_signals(control: &Control, cluster: &Cluster) -> Result<(), Error> {
    let control = control.clone();
    on_signals(cluster, move || control.interrupt())
}

fn on_signals(cluster: &Cluster, interrupt: impl Fn() + Send + 'static) -> Result<(), Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|source| Error::Io { what: "signal handlers".to_owned(), source })?;
    let supervised = cluster.is_supervised();
    let received = AtomicBool::new(false);
    std::thread::spawn(move || {
        for _ in &mut signals {
            if received.swap(true, Ordering::Relaxed) && !supervised {
                exit(Error::Interrupted.exit_code());
            }
            info!("interrupted: writing what is final");
            interrupt();
        }
    });
    Ok(())
}

/// What the run of a pipeline is controlled by in this process: signals interrupt it ([`interrupt_on_signals`]), and a
/// panic of any thread ends the process.
///
/// # Errors
///
/// If the operating system does not let signals be handled.
pub fn control(cluster: &Cluster) -> Result<Control, Error> {
    let control = Control::default();
    abort_on_panic(cluster, Described::InFile);
    interrupt_on_signals(&control, cluster)?;
    Ok(control)
}

/// As [`control`], of runs that follow one another: each call gives that of the next one. A signal interrupts the run that goes
/// on, and each that is to follow.
///
/// # Errors
///
/// As [`control`].
pub fn controls(cluster: &Cluster) -> Result<impl Fn() -> Control + use<>, Error> {
    let newest = Arc::new(Mutex::new(Control::default()));
    abort_on_panic(cluster, Described::InFile);
    let current = newest.clone();
    on_signals(cluster, move || lock(&current).interrupt())?;
    Ok(move || {
        let mut newest = lock(&newest);
        if !newest.interrupted() {
            *newest = Control::default();
        }
        newest.clone()
    })
}

/// Held by the thread whose panic ends the process.
static ENDING: Mutex<()> = Mutex::new(());

/// Has a panic of any thread end the process at once: a run whose worker is gone would wait for it for ever, and one
/// that goes on without it would be wrong. If user code panics at a record, the record is named, with what to write into the
/// pipeline file to go on without it.
fn abort_on_panic(cluster: &Cluster, described: Described) {
    // The supervisor of a process that has one names it.
    let member = cluster.member.as_ref().filter(|_| !cluster.is_supervised());
    let name = member.map(|member| mesh::name(member.index, &member.addresses));
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The first one to panic ends the process, once all is said.
        let _only = lock(&ENDING);
        print(panic);
        if let Some(accusation) = culprit::accuse(described) {
            crate::log::complain(&accusation);
        }
        if let Some(name) = &name {
            crate::log::complain(&format!("{name} has panicked, which ends the cluster"));
        }
        std::process::abort();
    }));
}

/// Runs the dataflows that `build` makes on each worker, until every source has ended or `control` is interrupted.
///
/// In a cluster of several processes, each runs this, with the same outcome.
///
/// # Errors
///
/// What `build` returns, or the first error of a source or sink, of this process or of another one.
pub fn run<F>(cluster: Cluster, control: &Control, build: F) -> Result<Outcome, Error>
where
    F: Fn(&mut Worker) -> Result<(), Error> + Send + Sync + 'static,
{
    let workers = usize::from(cluster.workers);
    let Some(member) = cluster.member else {
        let (builders, _) = CommunicationConfig::Process(workers).try_build().map_err(Error::Internal)?;
        return match work(builders, control, build)? {
            Some(error) => Err(error),
            None if control.starts_again() => Ok(Outcome::Again),
            None if control.interrupted() => Ok(Outcome::Interrupted),
            None => Ok(Outcome::Done),
        };
    };
    let mesh = match Mesh::bring_up(member, workers, control) {
        Err(Error::Interrupted) => return Ok(Outcome::Interrupted),
        mesh => mesh?,
    };
    let (builders, threads) = mesh.allocators(workers)?;
    let error = work(builders, control, build)?;
    match mesh.leave(error.as_ref(), threads) {
        End::Done => Ok(Outcome::Done),
        End::Interrupted => Ok(Outcome::Interrupted),
        End::Again => Ok(Outcome::Again),
        End::FailedElsewhere(error) => Err(error),
        End::Failed => {
            let error = error.or_else(|| control.take_failure().map(Error::from));
            Err(error.unwrap_or_else(|| Error::Internal("the run has failed without an error".to_owned())))
        }
    }
}

/// Runs the workers of this process until they have ended; returns the error that ended them, if this process has one.
fn work<F>(builders: Vec<AllocatorBuilder>, control: &Control, build: F) -> Result<Option<Error>, Error>
where
    F: Fn(&mut Worker) -> Result<(), Error> + Send + Sync + 'static,
{
    let shared = control.clone();
    let ticket = |worker| control.announce(&format!("worker {worker}"));
    let tickets: Vec<_> = (0..builders.len()).map(ticket).collect();
    let workers: WorkerGuards<_> =
        timely::execute::execute_from(builders, Box::new(()), WorkerConfig::default(), move |worker| {
            let _entered = tickets[worker.index() % tickets.len()].enter();
            shared.install();
            debug!(worker = worker.index(), "building dataflows");
            // The others must not wait for this one, whose frontiers will never move.
            let built = build(worker).or_else(|error| fail(&shared, error));
            drive(worker, &shared);
            built
        })
        .map_err(Error::Internal)?;
    let mut first = None;
    for result in workers.join() {
        if let Err(error) = result.map_err(Error::Internal).and_then(|built| built) {
            first.get_or_insert(error);
        }
    }
    Ok(first.or_else(|| control.take_failure().map(Error::from)))
}

/// Ends the run because a worker cannot build its dataflows; returns the error if it is not one of `control`'s.
///
/// What the other processes hear of it is with which exit code they end, and so whether a supervisor starts them again.
fn fail(control: &Control, error: Error) -> Result<(), Error> {
    let (kept, error) = match error {
        Error::Connector(error) => (error, Ok(())),
        Error::Io { what, source } => (ConnectorError::Io { what, source }, Ok(())),
        Error::Interrupted => (ConnectorError::Interrupted, Err(Error::Interrupted)),
        error => (ConnectorError::Configuration(error.to_string()), Err(error)),
    };
    control.fail(kept);
    error
}

/// Steps a worker until its dataflows have ended, or the run is interrupted or has failed.
///
/// Dropping the dataflows of an interrupted run drops their capabilities too, but nobody steps any more to take
/// that for the end of event time.
fn drive(worker: &mut Worker, control: &Control) {
    while worker.has_dataflows() && !control.failed() && !control.interrupted() {
        control.step(worker, LOOK);
    }
    // A worker that is done keeps nobody waiting who is interrupted.
    control.freeze();
    if control.interrupted() {
        let peers = worker.peers();
        let is_done = || control.failed() || (control.drained(peers) && control.is_saved());
        while !is_done() {
            control.step(worker, Duration::from_millis(1));
        }
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
