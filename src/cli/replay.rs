//! `tidewatch replay`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use tidewatch_connectors::recording::Play;
use tidewatch_connectors::stdio::Stdout;
use tidewatch_dataflows::EventTime;

use super::{time, Voice};
use crate::cluster;
use crate::config::{self, SinkFormat, Stream};
use crate::job::{Job, Outputs};
use crate::progress::{Progress, Summary};
use crate::registry::Registry;
use crate::replay::{Replay as Replayed, Speed};
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
The pipeline file may be the one that was recorded or another with the same sources: formats, steps and detectors apply \
anew. The results of the same file are the same bytes, at any speed and number of workers.

A range holds records with an event time from FROM on and before TO, and none of the others: the watermark begins with \
the first record in the range. What has no time goes with the record before it.

A damaged or unfinished recording is played up to the damage. Then the damage is told, and the exit code is 1.

A recording FILE of several processes is the files FILE.0, FILE.1 and so on, all in one folder; it is played with any \
-n and -w. With -n, each process opens the recording and reads the partitions of its workers, so every machine needs a \
copy at the same path. Process 0 writes the results.

Examples:
  tidewatch replay live.tide live.toml                 to standard output
  tidewatch replay live.tide live.toml --stream late   late records
  tidewatch replay live.tide live.toml --out again     a file for each sink
  tidewatch replay live.tide live.toml -n 2 -w 2       on two processes
  tidewatch replay live.tide live.toml --speed 10x     ten times as fast
  tidewatch replay live.tide live.toml --from 2024-01-01T08:00:00Z

Exit codes: 0 done, 1 failed or damaged, 2 usage or configuration, 130 interrupted.";

/// Runs a pipeline on a recording of its sources, with the same results; opens neither its sources nor its sinks.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// The recording: its file, or what its parts are called without their numbers
    #[arg(value_name = "RECORDING", required_unless_present = "hostfile", value_parser = NonEmptyStringValueParser::new())]
    recording: Option<String>,
    /// The pipeline file.
    #[arg(value_name = "PIPELINE.toml", required_unless_present = "hostfile")]
    file: Option<PathBuf>,
    /// How fast event time goes: 1 as it went, 10x ten times as fast, max without waiting
    #[arg(long, value_name = "FACTOR", default_value = "max")]
    speed: Speed,
    /// Only records with this event time or a later one, as in 2024-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<EventTime>,
    /// Only records with an earlier event time than this
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<EventTime>,
    /// Write a file for each stream into this folder; without it, to standard output
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Which streams, as JSON lines; default: those of the pipeline's sinks, or anomalies to standard output
    #[arg(long, value_name = "STREAM", value_parser = stream)]
    stream: Vec<Stream>,
    #[command(flatten)]
    cluster: cluster::Arguments,
}

fn stream(text: &str) -> Result<Stream, String> {
    Stream::ALL.into_iter().find(|stream| stream.name() == text).ok_or_else(|| {
        let names: Vec<_> = Stream::ALL.iter().map(|stream| stream.name()).collect();
        format!("one of {}", names.join(", "))
    })
}

impl Replay {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        if self.cluster.asks_for_help() {
            return super::help("replay");
        }
        let (Some(recording), Some(file)) = (&self.recording, &self.file) else {
            return Err(self.cluster.lack("replay", "a RECORDING and a PIPELINE.toml"));
        };
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(Error::Usage("--from must be before --to".to_owned()));
        }
        let job = Job::onlooker(config::read(file, registry)?, registry)?;
        let play = Play::all().between(self.from, self.to);
        let replay = Replayed::open(recording, &job, play, self.speed)?;
        let outputs = self.outputs(&replay)?;
        let Self { from, to, speed, stream, out, .. } = self;
        let how = format!("{from:?} {to:?} {speed:?} {stream:?} {}", out.is_some());
        let cluster = self.cluster.enter(&format!("{}\n{how}", replay.identity()))?;
        let control = cluster::control(&cluster)?;
        let (speaks, is_local) = (cluster.index() == 0, cluster.is_local());
        // Supervised processes have opened the same files, and all write to one standard error.
        let tells = speaks || !is_local;
        replay.start(&control, tells);

        let job = replay.job();
        let progress = Progress::new(&control, job.size(), voice.quiet || voice.json || !speaks);
        let outcome = progress.during(|| job.run(cluster, &control, outputs))?;
        let summary = Summary::new(&control, outcome);
        if speaks && voice.json {
            super::say(&summary.json())?;
        } else if speaks && !voice.quiet {
            crate::log::complain(&summary.text());
        }
        outcome.or_interrupted()?;
        match replay.finish(&control, tells) {
            Err(Error::Damaged(lines)) if lines.is_empty() && !is_local => Err(Error::Damaged(
                "another process has found the recording damaged, and says where".to_owned(),
            )),
            result => result,
        }
    }

    fn outputs(&self, replay: &Replayed) -> Result<Arc<Outputs>, Error> {
        let file = replay.job().file();
        let lacking = self.stream.iter().find_map(|stream| Some((stream.name(), file.lacks(*stream)?)));
        if let Some((stream, table)) = lacking {
            return Err(Error::Usage(format!("--stream {stream}: {} has no {table}", file.path)));
        }
        let mut streams: Vec<_> = self.stream.iter().map(|stream| (*stream, SinkFormat::Json)).collect();
        let Some(folder) = &self.out else {
            let stream = match *self.stream {
                [] => Stream::Anomalies,
                [stream] => stream,
                _ => return Err(Error::Usage("several streams need --out FOLDER".to_owned())),
            };
            let job = replay.job().clone();
            return Ok(Arc::new(move || {
                let open = || Ok(Box::new(Stdout::new()) as _);
                vec![(stream, job.encoded(stream, open, SinkFormat::Json))]
            }));
        };
        if streams.is_empty() {
            streams = replay.job().sinks().iter().map(|sink| (sink.stream, sink.format)).collect();
        }
        streams.sort_unstable();
        streams.dedup();
        replay.outputs_in(folder, &streams)
    }
}
