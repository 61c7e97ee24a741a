//! `tidewatch run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tidewatch_connectors::recording::Recorder;
use tidewatch_connectors::stdio::Stdout;
use tidewatch_connectors::Control;

use super::Voice;
use crate::cluster::{interrupt_on_signals, Cluster, Outcome};
use crate::config::{self, SinkFormat, Stream};
use crate::job::{Job, Outputs};
use crate::progress::{Progress, Summary};
use crate::registry::Registry;
use crate::Error;

/// Runs a pipeline until its sources end, or Ctrl-C.
///
/// Results go to the sinks of the pipeline; on a terminal, anomalies are also shown as a table. The summary goes to
/// standard error, or with --json to standard output.
#[derive(clap::Args)]
pub(super) struct Run {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml")]
    file: PathBuf,
    /// Also record the sources, for `tidewatch replay`, in a file that does not exist yet.
    #[arg(long, value_name = "FILE")]
    record: Option<String>,
    #[command(flatten)]
    cluster: Cluster,
}

impl Run {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let job = Job::new(config::read(&self.file, registry)?, registry)?;
        let recorder = self.record.as_deref().map(Recorder::create).transpose()?;
        let job = recorder.as_ref().map_or(job.clone(), |recorder| job.recorded(recorder));
        let control = Control::default();
        interrupt_on_signals(&control)?;

        let writes_stdout = job.sinks().iter().any(|sink| sink.connector == "stdout");
        let show = std::io::stdout().is_terminal() && !voice.quiet && !voice.json && !writes_stdout;
        let outputs: Arc<Outputs> = {
            let job = job.clone();
            Arc::new(move || {
                let mut outputs: Vec<_> =
                    job.sinks().iter().map(|sink| (sink.stream, job.output(sink))).collect();
                if show {
                    let open = || Ok(Box::new(Stdout::new()) as _);
                    outputs.push((Stream::Anomalies, job.encoded(open, SinkFormat::Table)));
                }
                outputs
            })
        };

        let start = Instant::now();
        let progress = Progress::new(&control, job.size(), voice.quiet || voice.json || show);
        let outcome = progress.during(|| job.run(self.cluster, &control, outputs));
        // If the recording failed, that is why the run did.
        let recorded = recorder.map(|recorder| recorder.finish()).transpose()?;
        let outcome = outcome?;
        let summary = Summary::new(&control, outcome, start.elapsed());
        if voice.json {
            super::say(&summary.json())?;
        } else if !voice.quiet {
            eprintln!("{}", summary.text());
            self.point_at_rejections(&job, &summary);
            if let (Some(recorded), Some(path)) = (recorded, &self.record) {
                eprintln!("{}", super::record::text(&recorded, path));
            }
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
                eprintln!("to see them, add to {}: [[sink]] stream = \"{name}\"", self.file.display());
            }
        }
    }
}
