//! `tidewatch record`.

use std::path::{Path, PathBuf};

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use tidewatch_connectors::file::pattern;
use tidewatch_connectors::recording::{Part, Recorded, Recorder};
use tidewatch_connectors::Control;

use super::Voice;
use crate::cluster::{self, Outcome};
use crate::config::SinkSpec;
use crate::job::Job;
use crate::progress::Progress;
use crate::registry::Registry;
use crate::{config, Error};

pub(super) const AFTER_HELP: &str = "\
The file holds every record as it was read, late and malformed ones too, with partition, offset and append
time, and the decisions about silent partitions. Ctrl-C ends it properly; if the program is killed, all but
the last seconds can be replayed. To run the pipeline at the same time: tidewatch run --record.

With -n, each process records what it reads in a file of its own: FILE.0 for process 0, and so on. Together they
are the recording FILE; a replay needs all of them in one folder. With --json, each says a line of its own file.

Example:
  tidewatch record live.toml --out live.tide
  tidewatch record live.toml --out live.tide -n 2     live.tide.0 and live.tide.1

Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

/// Records the sources of a pipeline until they end, or Ctrl-C; computes nothing and opens no sink.
#[derive(clap::Args)]
pub(super) struct Record {
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml", required_unless_present = "hostfile")]
    file: Option<PathBuf>,
    /// The file to write, or with -n the files FILE.0, FILE.1 and so on; they must not exist
    #[arg(short, long, value_name = "FILE", required_unless_present = "hostfile")]
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
            return Err(Error::Usage("record needs a PIPELINE.toml and --out".to_owned()));
        };
        let job = Job::new(config::read(file, registry)?, registry)?;
        check_new(out, &self.cluster, &[])?;
        let cluster = self.cluster.enter(&format!("{}\nrecorded alone", job.identity()))?;
        let recorder = Recorder::create_part(out, cluster.part())?;
        let job = job.recorded(&recorder);
        let control = Control::default();
        cluster::abort_on_panic(&cluster);
        cluster::interrupt_on_signals(&control, &cluster)?;
        let quiet = voice.quiet || voice.json || cluster.index() > 0;
        let progress = Progress::new(&control, job.size(), quiet);
        let outcome = progress.during(|| job.read(cluster, &control));
        // If the recording failed, that is why the run did.
        let recorded = recorder.finish()?;
        let outcome = outcome?;
        if voice.json {
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
        } else if !voice.quiet {
            crate::log::complain(&text(&recorded, recorder.path()));
        }
        match outcome {
            Outcome::Done => Ok(()),
            Outcome::Interrupted => Err(Error::Interrupted),
        }
    }
}

/// Checks, before there are other processes, that none of them will find its file there already, and that no sink
/// writes to such a file.
pub(super) fn check_new(path: &str, cluster: &cluster::Arguments, sinks: &[SinkSpec]) -> Result<(), Error> {
    let parts = u32::from(cluster.processes());
    for file in Part::files(path, parts) {
        let identity = pattern::identity(Path::new(&file));
        let mut paths = sinks.iter().filter_map(SinkSpec::path);
        if paths.any(|path| pattern::identity(Path::new(path)) == identity) {
            return Err(Error::Usage(format!(
                "{file} is the \"path\" of a sink, which would empty the recording"
            )));
        }
    }
    if cluster.starts_processes() {
        Part::check_new(path, parts)?;
    }
    Ok(())
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
