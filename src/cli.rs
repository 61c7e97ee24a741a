//! The command line: `tidewatch run | record | replay | savepoint | check | evaluate | compare | generate | detectors | state`.

mod check;
mod compare;
mod detectors;
mod evaluate;
mod generate;
mod record;
mod replay;
mod run;
mod savepoint;
mod state;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use tidewatch_connectors::format::TimeFormat;
use tidewatch_connectors::memory::MemorySink;
use tidewatch_connectors::stdio::STDOUT;
use tidewatch_connectors::Control;
use tidewatch_dataflows::EventTime;
use tracing_subscriber::filter::LevelFilter;

use crate::cluster::Cluster;
use crate::config::{SinkFormat, Stream};
use crate::job::{Job, Outputs};
use crate::progress::Progress;
use crate::registry::Registry;
use crate::{exit, log, Error};

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
  tidewatch run examples/nab.toml -n 2        on two processes of this machine
  tidewatch run live.toml --record live.tide  run it and record its sources
  tidewatch replay live.tide live.toml        run it again on what was recorded
  tidewatch check examples/nab.toml           validate a pipeline file
  tidewatch evaluate p.toml --labels l.csv    judge detections by labels
  tidewatch compare a.toml b.toml live.tide   which alerts differ
  tidewatch detectors                         list the detectors
  tidewatch detectors ewma-z                  what a detector takes and gives
  tidewatch generate --records 10000          synthetic records with anomalies
  tidewatch state stat --store state          what a store keeps

Exit codes: 0 done, 1 the run failed, 2 usage or configuration, 4 another run of the job took over, 130 interrupted.";
/// The end of a command's help: an example, and what its exit codes mean.
macro_rules! after_help {
    ($example:literal) => {
        concat!(
            "Example:\n  ",
            $example,
            "\n\nExit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted."
        )
    };
}

#[derive(Subcommand)]
enum Command {
    // What -h with a file lets be left out is needed all the same.
    #[command(
        override_usage = "tidewatch run [OPTIONS] <PIPELINE.toml>",
        after_help = after_help!("tidewatch run examples/nab.toml -w 2"),
        disable_help_flag = true
    )]
    Run(run::Run),
    #[command(
        override_usage = "tidewatch record [OPTIONS] --out <FILE> <PIPELINE.toml>",
        after_help = record::AFTER_HELP,
        disable_help_flag = true
    )]
    Record(record::Record),
    #[command(
        override_usage = "tidewatch replay [OPTIONS] <RECORDING> <PIPELINE.toml>",
        after_help = replay::AFTER_HELP,
        disable_help_flag = true
    )]
    Replay(replay::Replay),
    #[command(after_help = savepoint::AFTER_HELP)]
    Savepoint(savepoint::Savepoint),
    #[command(after_help = after_help!("tidewatch check examples/nab.toml examples/windows.toml"))]
    Check(check::Check),
    #[command(after_help = evaluate::AFTER_HELP)]
    Evaluate(evaluate::Evaluate),
    #[command(after_help = compare::AFTER_HELP)]
    Compare(compare::Compare),
    #[command(after_help = after_help!("tidewatch generate --records 100000 --labels --out series.csv"))]
    Generate(generate::Generate),
    #[command(after_help = after_help!("tidewatch detectors ewma-z"))]
    Detectors(detectors::Detectors),
    #[command(after_help = state::AFTER_HELP)]
    State(state::State),
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
    log::start(level);
    let voice = Voice { quiet: arguments.quiet, json: arguments.json };
    let result = match arguments.command {
        Command::Run(run) => run.execute(&registry, voice),
        Command::Record(record) => record.execute(&registry, voice),
        Command::Replay(replay) => replay.execute(&registry, voice),
        Command::Savepoint(savepoint) => savepoint.execute(&registry, voice),
        Command::Check(check) => check.execute(&registry, voice),
        Command::Evaluate(evaluate) => evaluate.execute(&registry, voice),
        Command::Compare(compare) => compare.execute(&registry, voice),
        Command::Generate(generate) => generate.execute(voice),
        Command::Detectors(detectors) => detectors.execute(&registry, voice),
        Command::State(state) => state.execute(&registry, voice),
    };
    let code = match result {
        Ok(()) => 0,
        Err(Error::Interrupted) => 130,
        Err(error) if error.is_broken_pipe() => 0,
        Err(error) => {
            if !error.is_told() {
                log::complain(&error);
            }
            error.exit_code()
        }
    };
    match exit::encrypts() {
        true => exit::exit(code),
        false => ExitCode::from(code as u8),
    }
}

/// Writes the help of a command to standard output.
fn help(command: &str) -> Result<(), Error> {
    let mut all = Arguments::command();
    all.build();
    let own = all.find_subcommand_mut(command).map(|own| own.render_help().to_string());
    say(own.unwrap_or_default().trim_end())
}

/// Reads an event time of the command line.
fn time(text: &str) -> Result<EventTime, String> {
    let format = TimeFormat::Rfc3339;
    format.parse(text).map_err(|refusal| format.explain(refusal))
}

/// Runs a job, without its sinks, for what it says on a stream, as JSON lines.
fn hear(
    job: &Job,
    stream: Stream,
    cluster: Cluster,
    control: &Control,
    voice: Voice,
) -> Result<Vec<u8>, Error> {
    let said = MemorySink::default();
    let outputs: Arc<Outputs> = {
        let (job, said) = (job.clone(), said.clone());
        Arc::new(move || {
            let said = said.clone();
            vec![(stream, job.encoded(stream, || Ok(Box::new(said) as _), SinkFormat::Json))]
        })
    };
    let progress = Progress::new(control, job.size(), voice.quiet || voice.json);
    progress.during(|| job.run(cluster, control, outputs))?.or_interrupted()?;
    Ok(said.contents())
}

/// Writes a text to standard output.
fn say(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|source| Error::Io { what: STDOUT.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_fits_a_narrow_terminal_and_its_prose_wraps_by_itself() {
        let program = Arguments::command();
        for command in program.get_subcommands().chain([&program]) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<_> = help.lines().collect();
            let is_example = |line: &str| line.starts_with("  ");
            for line in lines.iter().filter(|line| is_example(line)) {
                assert!(line.len() <= 80, "{name}: {line}");
            }
            for pair in lines.windows(2).filter(|pair| !is_example(pair[1])) {
                assert!(pair[0].is_empty() || pair[1].is_empty(), "{name}, wrapped by hand: {pair:?}");
            }
        }
    }
}
