//! `tidewatch run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tidewatch_connectors::egress::Output;
use tidewatch_connectors::format::TableEncoder;
use tidewatch_connectors::stdio::Stdout;
use tidewatch_connectors::Control;
use tracing::info;

use super::Voice;
use crate::cluster::{interrupt_on_signals, Cluster, Outcome};
use crate::config::{self, Stream};
use crate::job::{Job, Outputs};
use crate::progress::{Progress, Summary};
use crate::registry::Registry;
use crate::Error;

/// Runs a pipeline until its sources end, or Ctrl-C.
///
/// Results go to the sinks of the pipeline: [[sink]] tables name files, standard output or standard error; without
/// any, anomalies go to standard output as JSON lines. On a terminal, anomalies are also shown as a table, unless a
/// sink writes there. The summary goes to standard error, or with --json to standard output.
#[derive(clap::Args)]
pub(super) struct Run {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml")]
    file: PathBuf,
    #[command(flatten)]
    cluster: Cluster,
}

impl Run {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let job = Job::new(config::read(&self.file, registry)?, registry)?;
        let control = Control::default();
        interrupt_on_signals(&control)?;

        let writes_stdout = job.sinks().iter().any(|sink| sink.connector == "stdout");
        let show = std::io::stdout().is_terminal() && !voice.quiet && !voice.json && !writes_stdout;
        // Lines that the program does not see would go through the bar.
        let on_screen = |connector: &str| match connector {
            "stdout" => std::io::stdout().is_terminal(),
            connector => connector == "stderr",
        };
        let lines = job.sinks().iter().any(|sink| on_screen(&sink.connector));
        let progress = Arc::new(Progress::new(&control, job.size(), voice.quiet || voice.json || lines));
        let outputs: Arc<Outputs> = {
            let (job, progress) = (job.clone(), progress.clone());
            Arc::new(move || {
                let mut outputs: Vec<_> =
                    job.sinks().iter().map(|sink| (sink.stream, job.output(sink))).collect();
                if show {
                    let sink = progress.above(Stdout::new());
                    let table = TableEncoder::new(job.schema().clone()).fit(width());
                    outputs.push((Stream::Anomalies, Output::new(move || Ok(Box::new(sink) as _), table)));
                }
                outputs
            })
        };

        let start = Instant::now();
        let outcome = progress.during(|| job.run(self.cluster, &control, outputs))?;
        let summary = Summary::new(&control, outcome, start.elapsed());
        info!(?outcome, records = summary.records, anomalies = summary.anomalies, "run ended");
        if voice.json {
            super::say(&summary.json())?;
        } else if !voice.quiet {
            super::complain(&summary.text());
            self.point_at_rejections(&job, &summary);
        }
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Interrupted => Err(Error::Interrupted),
        }
    }

    /// Says how to see records that nobody looks at.
    fn point_at_rejections(&self, job: &Job, summary: &Summary) {
        let has = |stream| job.sinks().iter().any(|sink| sink.stream == stream);
        for (count, stream, name) in [
            (summary.late, Stream::Late, "late"),
            (summary.malformed, Stream::DeadLetters, "dead_letters"),
            (summary.evicted, Stream::Evictions, "evictions"),
        ] {
            if count > 0 && !has(stream) {
                super::complain(&format!(
                    "to see them, add to {}: [[sink]] stream = \"{name}\"",
                    self.file.display()
                ));
            }
        }
    }
}

/// How many characters a line of the terminal has.
fn width() -> Option<usize> {
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0)
}
