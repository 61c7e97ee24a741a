//! `tidewatch record`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use indicatif::HumanBytes;
use serde_json::json;
use tidewatch_connectors::recording::{Part, Recorded, Recorder};
use tidewatch_connectors::Control;

use super::Voice;
use crate::cluster::{self, Outcome};
use crate::config::{self, PipelineFile};
use crate::job::Job;
use crate::progress::{counted, Progress};
use crate::registry::Registry;
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
The file holds every record as it was read, late and malformed ones too, with partition, offset and append time, and \
the decisions about silent partitions. Ctrl-C ends it properly; if the program is killed, all but the last seconds can \
be replayed. To run the pipeline at the same time: tidewatch run --record.

With -n, each process records what it reads in a file of its own: FILE.0 for process 0, and so on. Together they are \
the recording FILE; a replay needs all of them in one folder. With --json, each says a line of its own file.

Examples:
  tidewatch record live.toml --out live.tide
  tidewatch record live.toml --out live.tide -n 2    live.tide.0 and live.tide.1

Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

/// Records the sources of a pipeline until they end, or Ctrl-C; computes nothing and opens no sink.
#[derive(clap::Args)]
pub(super) struct Record {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml", required_unless_present = "hostfile")]
    file: Option<PathBuf>,
    /// The file to write, or with -n the files FILE.0, FILE.1 and so on; they must not exist
    #[arg(short, long, value_name = "FILE", required_unless_present = "hostfile", value_parser = NonEmptyStringValueParser::new())]
    out: Option<String>,
    #[command(flatten)]
    cluster: cluster::Arguments,
}

impl Record {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        if self.cluster.asks_for_help() {
            return super::help("record");
        }
        let (Some(file), Some(out)) = (&self.file, &self.out) else {
            return Err(self.cluster.lack("record", "a PIPELINE.toml and --out"));
        };
        let job = Job::onlooker(config::read(file, registry)?, registry)?;
        check_new(out, &self.cluster, job.file())?;
        let cluster = self.cluster.enter(&format!("{}\nrecorded alone", job.identity()))?;
        let control = cluster::control(&cluster)?;
        let recorder = Recorder::create_part(out, cluster.part())?;
        let job = job.recorded(&recorder);
        let quiet = voice.quiet || voice.json || cluster.index() > 0;
        let progress = Progress::new(&control, job.size(), quiet);
        let outcome = progress.during(|| job.read(cluster, &control));
        let recorded = close(&recorder, &control, &outcome)?;
        let outcome = outcome?;
        if let (Some(recorded), true) = (&recorded, voice.json) {
            let Recorded { partitions, records, decisions, bytes } = recorded;
            let interrupted = outcome == Outcome::Interrupted;
            let summary = json!({
                "file": recorder.path(),
                "partitions": partitions,
                "records": records,
                "decisions": decisions,
                "bytes": bytes,
                "interrupted": interrupted,
            });
            super::say(&summary.to_string())?;
        } else if let (Some(recorded), false) = (&recorded, voice.quiet) {
            crate::log::complain(&text(recorded, recorder.path()));
        }
        outcome.or_interrupted()
    }
}

/// Checks, before there are other processes, that none of them will find its file there already, and that no such file
/// is one of the pipeline's: a sink would empty it, and a source would read what it gives.
pub(super) fn check_new(
    path: &str,
    cluster: &cluster::Arguments,
    pipeline: &PipelineFile,
) -> Result<(), Error> {
    let parts = u32::from(cluster.processes());
    for file in Part::files(path, parts) {
        pipeline.keep_clear_of(Path::new(&file))?;
    }
    if cluster.starts_processes() {
        Part::check_new(path, parts)?;
    }
    Ok(())
}

/// Closes the recording of a run that has ended. Nothing is left of it if the run failed, or was interrupted before it
/// began, and no process has read a record: an empty file would be in the way of the next try.
pub(super) fn close(
    recorder: &Recorder,
    control: &Control,
    outcome: &Result<Outcome, Error>,
) -> Result<Option<Recorded>, Error> {
    // If the recording failed, that is why the run did.
    let recorded = recorder.finish()?;
    let began = outcome.is_ok() && control.elapsed() > Duration::ZERO;
    if began || control.totals().records > 0 {
        return Ok(Some(recorded));
    }
    // If it cannot be removed, the next try names it.
    let _ = fs::remove_file(recorder.path());
    Ok(None)
}

/// What was recorded, for people.
pub(super) fn text(recorded: &Recorded, path: &str) -> String {
    format!(
        "{path}: {} of {} recorded, {}",
        counted(recorded.records, "record"),
        counted(recorded.partitions, "partition"),
        HumanBytes(recorded.bytes)
    )
}
