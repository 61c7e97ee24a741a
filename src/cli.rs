//! The command line: `tidewatch run | record | replay | check | generate | detectors`.

mod check;
mod detectors;
mod generate;
mod record;
mod replay;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::registry::Registry;
use crate::Error;

/// Finds what is anomalous in streams of measurements: finally, exactly once, when event time has passed it.
#[derive(Parser)]
#[command(name = "tidewatch", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Say more on standard error; twice for even more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    verbose: u8,
    /// Say nothing but errors on standard error.
    #[arg(short, long, global = true, display_order = 901)]
    quiet: bool,
    /// Write what the command says on standard output as JSON, one object per line.
    #[arg(long, global = true, display_order = 902)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  tidewatch run examples/nab.toml -w 2        run a pipeline on two workers
  tidewatch run live.toml --record live.tide  run it and record its sources
  tidewatch replay live.tide live.toml        run it again on what was recorded
  tidewatch check examples/nab.toml           validate a pipeline file without running it
  tidewatch detectors                         list the detectors
  tidewatch detectors ewma-z                  what a detector takes and gives
  tidewatch generate --records 10000          synthetic records with labelled anomalies

Exit codes: 0 done, 1 the run failed, 2 usage or configuration, 130 interrupted.";
const EXIT_CODES: &str = "Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

#[derive(Subcommand)]
enum Command {
    /// Runs a pipeline until its sources end, or Ctrl-C.
    #[command(after_help = EXIT_CODES)]
    Run(run::Run),
    /// Records the sources of a pipeline, for replays.
    #[command(after_help = record::AFTER_HELP)]
    Record(record::Record),
    /// Runs a pipeline on a recording of its sources, with the same results.
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::Replay),
    /// Validates a pipeline file without running it.
    #[command(after_help = EXIT_CODES)]
    Check(check::Check),
    /// Writes synthetic records, with labelled anomalies.
    #[command(after_help = EXIT_CODES)]
    Generate(generate::Generate),
    /// Lists the detectors, or describes one.
    #[command(after_help = EXIT_CODES)]
    Detectors(detectors::Detectors),
}

/// How much a command says, and to whom.
#[derive(Clone, Copy)]
struct Voice {
    quiet: bool,
    json: bool,
}

/// The whole command line, with the sources, sinks, detectors and operators of `registry`.
///
/// For a program of one's own: `fn main() -> ExitCode { tidewatch::cli::main(registry) }`.
pub fn main(registry: Registry) -> ExitCode {
    main_with(registry, std::env::args_os())
}

/// As [`main`], with arguments of the caller's, of which the first names the program.
pub fn main_with(registry: Registry, arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let voice = Voice { quiet: arguments.quiet, json: arguments.json };
    let result = match arguments.command {
        Command::Run(run) => run.execute(&registry, voice),
        Command::Record(record) => record.execute(&registry, voice),
        Command::Replay(replay) => replay.execute(&registry, voice),
        Command::Check(check) => check.execute(&registry, voice),
        Command::Generate(generate) => generate.execute(voice),
        Command::Detectors(detectors) => detectors.execute(&registry, voice),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(130),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code() as u8)
        }
    }
}

/// Writes a text to standard output.
fn say(text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|source| Error::Io { what: "standard output".to_owned(), source })
}
