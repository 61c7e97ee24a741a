//! The workers of a run: how many, how they are driven, and how they stop together.

use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidewatch_connectors::{Control, Error as ConnectorError};
use timely::worker::Worker;
use tracing::{debug, info};

use crate::Error;

/// How long a worker without work sleeps before it looks whether the run was interrupted or has failed.
const LOOK: Duration = Duration::from_millis(100);

/// The size of a cluster, as the command line gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Cluster {
    /// Worker threads; results are the same at any number.
    #[arg(short = 'w', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
}

/// The command line of a program that only runs a dataflow.
#[derive(Parser)]
#[command(about = "Runs a tidewatch dataflow")]
struct Arguments {
    #[command(flatten)]
    cluster: Cluster,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every source has ended and everything is final.
    Done,
    /// It was interrupted: what was final has been written, and nothing else was made final.
    Interrupted,
}

/// Runs the dataflows that `build` makes, on the workers that the command line asks for (`-w`), until every source has
/// ended, or Ctrl-C.
///
/// A wrong command line or `--help` ends the process, as programs do.
///
/// # Errors
///
/// What `build` returns, or the first error of a source or sink.
pub fn execute<F>(args: impl IntoIterator<Item = String>, build: F) -> Result<(), Error>
where
    F: Fn(&mut Worker) -> Result<(), Error> + Send + Sync + 'static,
{
    let arguments = Arguments::parse_from(args);
    let control = Control::default();
    interrupt_on_signals(&control)?;
    match run(arguments.cluster, &control, build)? {
        Outcome::Done => Ok(()),
        Outcome::Interrupted => Err(Error::Interrupted),
    }
}

/// Interrupts the run at the first Ctrl-C or SIGTERM; ends the process at the second.
///
/// # Errors
///
/// If the operating system does not let signals be handled.
pub fn interrupt_on_signals(control: &Control) -> Result<(), Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|source| Error::Io { what: "signal handlers".to_owned(), source })?;
    let control = control.clone();
    std::thread::spawn(move || {
        for _ in &mut signals {
            if control.interrupted() {
                std::process::exit(Error::Interrupted.exit_code());
            }
            info!("interrupted: writing what is final");
            control.interrupt();
        }
    });
    Ok(())
}

/// Runs the dataflows that `build` makes on each worker, until every source has ended or `control` is interrupted.
///
/// # Errors
///
/// What `build` returns, or the first error of a source or sink.
pub fn run<F>(cluster: Cluster, control: &Control, build: F) -> Result<Outcome, Error>
where
    F: Fn(&mut Worker) -> Result<(), Error> + Send + Sync + 'static,
{
    let shared = control.clone();
    let workers = timely::execute(timely::Config::process(cluster.workers.into()), move |worker| {
        shared.install();
        debug!(worker = worker.index(), "building dataflows");
        let built = build(worker);
        if built.is_err() {
            // The others must not wait for this one, whose frontiers will never move.
            shared.fail(ConnectorError::Configuration("a worker could not build its dataflows".to_owned()));
        }
        drive(worker, &shared);
        built
    })
    .map_err(Error::Internal)?;
    let built: Vec<_> = workers.join().into_iter().collect();
    for result in built {
        result.map_err(Error::Internal)??;
    }
    if let Some(error) = control.take_failure() {
        return Err(error.into());
    }
    Ok(if control.interrupted() { Outcome::Interrupted } else { Outcome::Done })
}

/// Steps a worker until its dataflows have ended, or the run is interrupted or has failed.
///
/// Dropping the dataflows of an interrupted run drops their capabilities too, but nobody steps any more to take
/// that for the end of event time.
fn drive(worker: &mut Worker, control: &Control) {
    while worker.has_dataflows() && !control.failed() && !control.interrupted() {
        worker.step_or_park(Some(LOOK));
    }
    // A worker that is done keeps nobody waiting who is interrupted.
    control.freeze();
    if control.interrupted() {
        while !control.failed() && !control.drained(worker.peers()) {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
