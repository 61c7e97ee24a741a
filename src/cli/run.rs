//! `tidewatch run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use tidewatch_connectors::egress::Output;
use tidewatch_connectors::format::TableEncoder;
use tidewatch_connectors::recording::Recorder;
use tidewatch_connectors::stdio::Stdout;
use tidewatch_connectors::Control;
use tracing::info;

use super::Voice;
use crate::cluster::{self, Cluster, Outcome};
use crate::config::{self, PipelineFile, Stream};
use crate::job::{Job, Outputs};
use crate::progress::{Progress, Summary, Telling};
use crate::recovery::Terms;
use crate::registry::Registry;
use crate::{supervisor, Error};

/// Runs a pipeline until its sources end, or Ctrl-C.
///
/// Results go to the sinks of the pipeline: [[sink]] tables name files, standard output or standard error; without
/// any, anomalies go to standard output as JSON lines. On a terminal, anomalies are also shown as a table, unless a
/// sink writes there. The summary goes to standard error, or with --json to standard output.
#[derive(clap::Args)]
pub(super) struct Run {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml", required_unless_present = "hostfile")]
    file: Option<PathBuf>,
    /// Also record the sources, for `tidewatch replay`, in a file that does not exist yet; with -n, each process what
    /// it reads: FILE.0, FILE.1 and so on.
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    record: Option<String>,
    /// Forget what a run with a [checkpoint] has kept and committed, and start from the beginning.
    #[arg(long)]
    fresh: bool,
    /// Do not ask before --fresh forgets.
    #[arg(long, requires = "fresh")]
    yes: bool,
    /// Start though another run of the job lives, which ends then.
    #[arg(long)]
    take_over: bool,
    #[command(flatten)]
    cluster: cluster::Arguments,
}

impl Run {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        if self.cluster.asks_for_help() {
            return super::help("run");
        }
        let path = self.file.as_deref().ok_or_else(|| self.cluster.lack("run", "a PIPELINE.toml"))?;
        let job = Job::new(config::read(path, registry)?, registry)?;
        if let Some(record) = &self.record {
            super::record::check_new(record, &self.cluster, job.file())?;
        }
        let job = job.on(self.terms(job.file())?);
        // What is wrong so far is said once, before there are other processes.
        let recorded = if self.record.is_some() { "\nrecorded" } else { "" };
        let restarts = job.file().checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.restarts);
        let mut cluster = self.cluster.enter_again(&format!("{}{recorded}", job.identity()), restarts)?;
        let mut control = cluster::control(&cluster)?;
        let create = |path: &String| Recorder::create_part(path, cluster.part());
        let recorder = self.record.as_ref().map(create).transpose()?;
        let mut job = recorder.as_ref().map_or(job.clone(), |recorder| job.recorded(recorder));
        loop {
            let outcome = self.once(&job, cluster.enter(), &control, recorder.as_ref(), voice)?;
            if outcome != Outcome::Again || cluster.is_supervised() {
                return outcome.or_interrupted();
            }
            // In place of the run that has stopped for it.
            (control, job) = (control.successor(), job.on(Terms::default()));
        }
    }

    /// Runs the pipeline once.
    fn once(
        &self,
        job: &Job,
        cluster: Cluster,
        control: &Control,
        recorder: Option<&Recorder>,
        voice: Voice,
    ) -> Result<Outcome, Error> {
        let speaks = cluster.index() == 0;
        let writes_stdout = job.sinks().iter().any(|sink| sink.connector == "stdout");
        // All processes build the same dataflow: they see one terminal, or none is asked.
        let is_terminal = cluster.is_local() && std::io::stdout().is_terminal();
        let show = is_terminal && !voice.quiet && !voice.json && !writes_stdout;
        // Lines that the program does not see would go through the bar.
        let on_screen = |connector: &str| match connector {
            "stdout" => std::io::stdout().is_terminal(),
            connector => connector == "stderr",
        };
        let lines = job.sinks().iter().any(|sink| on_screen(&sink.connector));
        let quiet = voice.quiet || voice.json || lines || !speaks;
        let telling = match (speaks && tracing::enabled!(tracing::Level::INFO), voice.json) {
            (false, _) => Telling::Nothing,
            (true, false) => Telling::Events,
            (true, true) => Telling::Json,
        };
        let progress = Arc::new(Progress::new(control, job.size(), quiet).telling(telling));
        let outputs: Arc<Outputs> = {
            let (job, progress) = (job.clone(), progress.clone());
            Arc::new(move || {
                let mut outputs: Vec<_> =
                    job.plain_sinks().iter().map(|sink| (sink.stream, job.output(sink))).collect();
                if show {
                    let sink = progress.above(Stdout::new());
                    let table = TableEncoder::new(job.schema().clone()).fit(width());
                    outputs.push((Stream::Anomalies, Output::new(move || Ok(Box::new(sink) as _), table)));
                }
                outputs
            })
        };

        let outcome = progress.during(|| job.run(cluster, control, outputs));
        let close = |recorder| super::record::close(recorder, control, &outcome);
        let recorded = recorder.map(close).transpose()?.flatten();
        let outcome = outcome?;
        let summary = Summary::new(control, outcome);
        info!(?outcome, records = summary.totals.records, anomalies = summary.totals.anomalies, "run ended");
        if outcome == Outcome::Again {
            return Ok(outcome);
        }
        if speaks && voice.json {
            super::say(&summary.json())?;
        } else if speaks && !voice.quiet {
            crate::log::complain(&summary.text());
            point_at_rejections(job, &summary);
        }
        if let (Some(recorded), Some(recorder)) = (recorded, recorder) {
            if !voice.json && !voice.quiet {
                crate::log::complain(&super::record::text(&recorded, recorder.path()));
            }
        }
        Ok(outcome)
    }
}

impl Run {
    /// On which terms the run starts, once whoever starts it is sure of them.
    fn terms(&self, file: &PipelineFile) -> Result<Terms, Error> {
        let Self { fresh, yes, take_over, .. } = *self;
        let Some(checkpoint) = &file.checkpoint else {
            return match fresh || take_over {
                true => Err(Error::Usage(format!(
                    "--fresh and --take-over are for pipelines with a [checkpoint], which {} has not",
                    file.path
                ))),
                false => Ok(Terms::default()),
            };
        };
        // A process that is started again after a crash goes on.
        let again = supervisor::is_restarted();
        if fresh && !yes && !supervisor::is_supervised() {
            confirm(&format!("forget the state in \"{}\", and write all output anew?", checkpoint.store))?;
        }
        Ok(Terms { fresh: fresh && !again, take_over: take_over && !again })
    }
}

/// Asks on the terminal, and without one refuses.
fn confirm(question: &str) -> Result<(), Error> {
    let refuse = || Error::Usage("--fresh forgets for good: say --yes if that is meant".to_owned());
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refuse());
    }
    crate::log::complain(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|_| refuse())?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Interrupted),
    }
}

/// Says how to see records that nobody looks at.
fn point_at_rejections(job: &Job, summary: &Summary) {
    let has = |stream| job.sinks().iter().any(|sink| sink.stream == stream);
    for (count, stream, name) in [
        (summary.totals.late, Stream::Late, "late"),
        (summary.totals.malformed, Stream::DeadLetters, "dead_letters"),
        (summary.totals.evicted, Stream::Evictions, "evictions"),
    ] {
        if count > 0 && !has(stream) {
            crate::log::complain(&format!(
                "to see them, add to {}: [[sink]] stream = \"{name}\"",
                job.file().path
            ));
        }
    }
}

/// How many characters a line of the terminal has.
fn width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}
