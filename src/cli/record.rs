//! `tidewatch record`.

use std::path::PathBuf;

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use tidewatch_connectors::recording::{Recorded, Recorder};
use tidewatch_connectors::Control;

use super::Voice;
use crate::cluster::{interrupt_on_signals, Outcome, Threads};
use crate::job::Job;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::{config, Error};

pub(super) const AFTER_HELP: &str = "\
The file holds every record as it was read, late and malformed ones too, with partition, offset and append
time, and the decisions about silent partitions. Ctrl-C ends it properly; if the program is killed, all but
the last seconds can be replayed. To run the pipeline at the same time: tidewatch run --record.

Example:
  tidewatch record live.toml --out live.tide

Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

/// Records the sources of a pipeline until they end, or Ctrl-C; computes nothing and opens no sink.
#[derive(clap::Args)]
pub(super) struct Record {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml")]
    file: PathBuf,
    /// The file to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    out: String,
    #[command(flatten)]
    threads: Threads,
}

impl Record {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let job = Job::new(config::read(&self.file, registry)?, registry)?;
        let recorder = Recorder::create(&self.out)?;
        let job = job.recorded(&recorder);
        let control = Control::default();
        let cluster = self.threads.cluster();
        interrupt_on_signals(&control, &cluster)?;
        let progress = Progress::new(&control, job.size(), voice.quiet || voice.json);
        let outcome = progress.during(|| job.read(cluster, &control));
        // If the recording failed, that is why the run did.
        let recorded = recorder.finish()?;
        let outcome = outcome?;
        if voice.json {
            let Recorded { partitions, records, decisions, bytes } = recorded;
            let interrupted = outcome == Outcome::Interrupted;
            let summary = json!({
                "file": self.out,
                "partitions": partitions,
                "records": records,
                "decisions": decisions,
                "bytes": bytes,
                "interrupted": interrupted,
            });
            super::say(&summary.to_string())?;
        } else if !voice.quiet {
            super::complain(&text(&recorded, &self.out));
        }
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Interrupted => Err(Error::Interrupted),
        }
    }
}

/// What was recorded, for people.
pub(super) fn text(recorded: &Recorded, path: &str) -> String {
    format!(
        "{path}: {} records of {} {} recorded, {}",
        HumanCount(recorded.records),
        HumanCount(recorded.partitions),
        if recorded.partitions == 1 { "partition" } else { "partitions" },
        HumanBytes(recorded.bytes)
    )
}
