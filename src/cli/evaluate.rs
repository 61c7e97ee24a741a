//! `tidewatch evaluate`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch_connectors::egress::Output;
use tidewatch_connectors::Control;
use tidewatch_dataflows::params::ParamError;

use super::Voice;
use crate::cluster::{self, Cluster};
use crate::config::{self, DetectSpec, PipelineFile, Stream};
use crate::evaluate::{
    match_up, Configuration, Grid, Labels, Listener, Report, Terms, Tuned, Tuning, Varied, Verdicts,
};
use crate::job::{Job, Outputs};
use crate::progress::{self, Progress};
use crate::registry::Registry;
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
LABELS is a file of comma-separated values with the columns key, start and end: windows in which a key was anomalous, both \
ends included. A key is written as its parts with slashes between them, times as in 2024-01-01T00:00:00Z.

A pipeline file is run on its sources, without its sinks and store. A file of verdicts is what a sink of the stream \
`verdicts` has written as JSON lines.

With --vary, each combination of the values of some parameters is tried: of the detector, or dead_band, dead_band_fraction, calibrate, \
rebaseline_after and cool_down. For each split of the keys into two random halves, the configuration and the threshold that are \
best on one half are scored on the other. Their mean is what to expect of other keys; the best score on all keys is partly luck.

Examples:
  tidewatch evaluate examples/nab.toml --labels windows.csv
  tidewatch evaluate verdicts.jsonl --labels windows.csv --threshold 0.99
  tidewatch evaluate verdicts.jsonl --labels windows.csv --json
  tidewatch evaluate p.toml --labels l.csv --vary fade=5000,10000,20000

Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

/// Judges detections by labels: the score of the Numenta Anomaly Benchmark, precision, recall, delay, alarms per day.
#[derive(clap::Args)]
pub(super) struct Evaluate {
    /// A pipeline file, or verdicts as JSON lines
    #[arg(value_name = "PIPELINE.toml | VERDICTS.jsonl")]
    file: PathBuf,
    /// Windows in which keys were anomalous
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Call a record anomalous from this score on; default: as the verdicts say, and for the benchmark the best one
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f64>,
    /// Try each of these values of a parameter of the only detection, as in fade=5000,10000; with those of others if given again
    #[arg(long, value_name = "NAME=VALUE,VALUE", conflicts_with = "threshold")]
    vary: Vec<Varied>,
    /// Over how many random halves of the keys the benchmark is cross-validated
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    splits: usize,
    /// How often keys are drawn anew, for intervals that hold 95 % of the draws
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    samples: usize,
    /// What halves and draws follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Workers that run the pipeline
    #[arg(short, long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
}

impl Evaluate {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let Self { threshold, splits, samples, seed, .. } = *self;
        let labels = Labels::read(&self.labels)?;
        let path = self.file.display().to_string();
        let is_pipeline = self.file.extension().is_some_and(|extension| extension == "toml");
        if !self.vary.is_empty() {
            return match is_pipeline {
                true => self.tune(&labels, registry, voice),
                false => Err(Error::Usage(format!("{path}: --vary takes a pipeline file, not verdicts"))),
            };
        }
        let verdicts = match is_pipeline {
            true => run(&self.file, self.workers, registry, voice)?,
            false => {
                let file = File::open(&self.file).map_err(Error::unreadable("file of verdicts", &path))?;
                Verdicts::read(&path, BufReader::new(file))?
            }
        };
        if verdicts.is_empty() {
            return Err(Error::Usage(format!("{path}: there are no verdicts")));
        }
        match_up(verdicts, &labels)?.iter().try_for_each(|(detection, series)| {
            let report = Report::of(detection, series, Terms { threshold, splits, samples, seed });
            super::say(&if voice.json { report.json().to_string() } else { report.text() })
        })
    }

    /// Tries each configuration of a pipeline's detection.
    fn tune(&self, labels: &Labels, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let file = read(&self.file, registry)?;
        let detect = only_detection(&file)?;
        if labels.iter().next().is_none() {
            return Err(Error::Usage(format!("{}: no label to choose by", self.labels.display())));
        }
        let grid = Grid::new(self.vary.clone())?;
        let vary = |configuration: Configuration<'_>| {
            let detects = vec![configuration.of(detect, registry)?];
            Job::onlooker(PipelineFile { detects, ..file.clone() }, registry)
        };
        // A mistake in the last one should not show after hours.
        for configuration in grid.configurations() {
            vary(configuration).map_err(|error| refusal(configuration, &error))?;
        }
        let controls = cluster::controls(&Cluster::threads(self.workers))?;
        let bar = progress::counting(grid.count(), "configurations", voice.quiet || voice.json);
        let mut tuning = None;
        for configuration in grid.configurations() {
            let control = controls();
            let verdicts = hear(&vary(configuration)?, self.workers, &control)?;
            let series = match_up(verdicts, labels)?.remove(&detect.name).unwrap_or_default();
            tuning.get_or_insert_with(|| Tuning::new(&series, self.splits, self.seed)).offer(&series);
            bar.inc(1);
        }
        drop(bar);
        let tuning = tuning.expect("there is a configuration");
        let tuned = Tuned { detection: &detect.name, grid: &grid, tuning: &tuning };
        super::say(&if voice.json { tuned.json().to_string() } else { tuned.text() })
    }
}

/// What is varied of a pipeline that can be run many times.
fn only_detection(file: &PipelineFile) -> Result<&DetectSpec, Error> {
    let refuse = |reason: String| Err(Error::Usage(format!("{}: {reason}", file.path)));
    if file.sources.iter().any(|source| source.connector == "stdio") {
        let reason = "--vary reads the sources once for each configuration, and standard input is there once";
        return refuse(reason.to_owned());
    }
    match &file.detects[..] {
        [detect] => Ok(detect),
        all => refuse(format!("--vary takes a pipeline with one detection; this one has {}", all.len())),
    }
}

/// What is wrong with a configuration of which each value is possible.
fn refusal(configuration: Configuration<'_>, error: &Error) -> Error {
    match error {
        Error::Parameter(ParamError::Conflict { .. }) => {
            Error::Usage(format!("--vary: {configuration}: {error}"))
        }
        error => Error::Usage(format!("--vary: {error}")),
    }
}

/// A pipeline as if nothing of it had ever run: where it goes on is none of our business, nor who hears of alerts.
fn read(path: &Path, registry: &Registry) -> Result<PipelineFile, Error> {
    Ok(PipelineFile { checkpoint: None, mutes: None, ..config::read(path, registry)? })
}

/// What the detections of a pipeline say of its sources.
fn run(path: &Path, workers: u16, registry: &Registry, voice: Voice) -> Result<Verdicts, Error> {
    let job = Job::onlooker(read(path, registry)?, registry)?;
    let control = cluster::control(&Cluster::threads(workers))?;
    let progress = Progress::new(&control, job.size(), voice.quiet || voice.json);
    progress.during(|| hear(&job, workers, &control))
}

/// What a job says when it runs.
fn hear(job: &Job, workers: u16, control: &Control) -> Result<Verdicts, Error> {
    let listener = Listener::default();
    let outputs: Arc<Outputs> = {
        let listener = listener.clone();
        Arc::new(move || {
            let (encoder, sink) = (listener.clone(), listener.clone());
            vec![(Stream::Verdicts, Output::new(move || Ok(Box::new(sink) as _), encoder))]
        })
    };
    job.run(Cluster::threads(workers), control, outputs)?.or_interrupted()?;
    Ok(listener.heard())
}
