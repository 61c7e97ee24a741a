//! `tidewatch compare`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use tidewatch_connectors::recording::Play;
use tidewatch_connectors::Control;

use super::Voice;
use crate::cluster::{self, Cluster};
use crate::compare::{compare, Alert, Alike, Report};
use crate::config::{self, Stream};
use crate::job::Job;
use crate::registry::Registry;
use crate::replay::{Replay, Speed};
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
The recording is one that `tidewatch record` or `tidewatch run --record` has written, of sources that both pipelines \
have. Neither pipeline's sources, sinks or store are opened. To try another threshold, detector or step, change it in a \
copy of A.toml.

Two alerts are the same one if they are of the same key and detection and their times overlap; if each pipeline has one \
detection, its name does not matter. Of several that overlap one alert, the earliest is that one. A line for each \
difference, in order of time and key:

  + appeared   only B raises it
  - vanished   only A raises it
  ~ moved      both raise it: as it is in A, then how it differs in B

The last line has the counts. With --json, each line is an object; a difference has `difference`, `key`, the alert in \
`a` and in `b` (null where it is not), `start_later_s` and `end_later_s`: by how many seconds it starts and ends later in B.

The exit code is 0 whether or not they differ.

Examples:
  tidewatch record live.toml --out live.tide       what the sources give
  tidewatch compare live.toml tuned.toml live.tide
  tidewatch compare live.toml tuned.toml live.tide -w 4
  tidewatch compare live.toml tuned.toml live.tide --json

Exit codes: 0 done, 1 failed or damaged, 2 usage or configuration, 130 interrupted.";

/// Lists which alerts appear, vanish or move if another pipeline is run on the same recording.
#[derive(clap::Args)]
pub(super) struct Compare {
    /// The pipeline file whose alerts are known
    #[arg(value_name = "A.toml")]
    a: PathBuf,
    /// The pipeline file that may take its place
    #[arg(value_name = "B.toml")]
    b: PathBuf,
    /// The recording: its file, or what its parts are called without their numbers
    #[arg(value_name = "RECORDING", value_parser = NonEmptyStringValueParser::new())]
    recording: String,
    /// Workers that run each pipeline
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
}

impl Compare {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let job = |path: &PathBuf| Job::onlooker(config::read(path, registry)?, registry);
        let jobs = both([job(&self.a), job(&self.b)])?;
        let cluster = || Cluster::threads(self.workers);
        // Both before either runs: so that one which does not fit the recording is told at once, and who interrupts the
        // first run does not see the second.
        let [first, second] = &jobs;
        let open = |job| Run::open(&self.recording, job, &cluster());
        let runs = [open(first)?, open(second)?];
        let [a, b] = [runs[0].alerts(cluster(), voice)?, runs[1].alerts(cluster(), voice)?];

        let several = jobs.iter().any(|job| job.file().detects.len() > 1);
        let fates = compare(&a, &b, if several { Alike::OfKeyAndDetection } else { Alike::OfKey });
        let files = [&*first.file().path, &*second.file().path];
        let report = Report { files, fates: &fates };
        match voice.json {
            true => report.json().iter().try_for_each(|object| super::say(&object.to_string()))?,
            false => super::say(&report.text())?,
        }
        finish(&runs)
    }
}

/// A pipeline on the recording.
struct Run {
    replay: Replay,
    control: Control,
}

impl Run {
    fn open(recording: &str, job: &Job, cluster: &Cluster) -> Result<Self, Error> {
        let replay = Replay::open(recording, job, Play::all(), Speed::Max)?;
        Ok(Self { replay, control: cluster::control(cluster)? })
    }

    /// Runs it to the end, so that each alert is over.
    fn alerts(&self, cluster: Cluster, voice: Voice) -> Result<Vec<Alert>, Error> {
        let Self { replay, control } = self;
        // What is known to be damaged is told once, at the end.
        replay.start(control, false);
        replay.warn_of_unplayed();
        let said = super::hear(replay.job(), Stream::Alerts, cluster, control, voice)?;
        Alert::read(&replay.job().file().path, &said[..])
    }
}

/// Says what of the recording could not be played in either run: each damage once, though both have met it.
fn finish(runs: &[Run]) -> Result<(), Error> {
    let damages = runs.iter().filter_map(|run| run.replay.finish(&run.control, true).err());
    let lines: BTreeSet<_> =
        damages.flat_map(|error| error.to_string().lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Error::Damaged(Vec::from_iter(lines).join("\n"))),
    }
}

/// The two, or the mistakes of both.
fn both<T>(results: [Result<T, Error>; 2]) -> Result<[T; 2], Error> {
    match results {
        [Ok(a), Ok(b)] => Ok([a, b]),
        [Err(a), Err(b)] => Err(Error::Several(vec![a, b])),
        [Err(error), _] | [_, Err(error)] => Err(error),
    }
}
