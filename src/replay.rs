//! A pipeline run again, on a recording of its sources.
//!
//! A replay opens neither the pipeline's sources nor its sinks: results go where its caller says.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use tidewatch_connectors::file::{pattern, FileSink};
use tidewatch_connectors::recording::{Play, Recording};

use crate::config::{SinkFormat, Stream};
use crate::job::{Job, Outputs};
use crate::Error;

/// How fast a recording is played.
///
/// # Examples
///
/// ```
/// use tidewatch::replay::Speed;
///
/// assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
/// assert_eq!("max".parse(), Ok(Speed::Max));
/// assert!("0x".parse::<Speed>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the pipeline takes it.
    Max,
    /// So many seconds of event time per second.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.strip_suffix('x').unwrap_or(text).parse() {
            Ok(factor) if factor > 0.0 && f64::is_finite(factor) => Ok(Self::Times(factor)),
            _ => Err("as in 1, 10x, 0.5x or max".to_owned()),
        }
    }
}

/// A pipeline with a recording of its sources.
pub struct Replay {
    job: Job,
    recording: Recording,
}

impl Replay {
    /// Opens the recording at `path`, of the sources of `job`.
    ///
    /// # Errors
    ///
    /// If it cannot be read at all, or does not have the sources of the job.
    pub fn open(path: &str, job: &Job, play: Play, speed: Speed) -> Result<Self, Error> {
        let recording = Recording::open(path)?;
        let play = match speed {
            Speed::Max => play,
            Speed::Times(factor) => play.speed(factor),
        };
        let job = job.replayed(&recording, &play)?;
        let names: Vec<_> = job.file().sources.iter().map(|source| source.name.as_str()).collect();
        for name in recording.sources().iter().filter(|name| !names.contains(&&***name)) {
            tracing::warn!("{path} has a source \"{name}\" that the pipeline lacks; it is not played");
        }
        Ok(Self { job, recording })
    }

    /// The pipeline, with the recording as its source.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Files in `folder`, one for each stream: `late.jsonl`, for example. The folder is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if such a file belongs to a sink of the pipeline; [`Error::Io`] if the folder cannot be made.
    pub fn outputs_in(&self, folder: &Path, streams: &[(Stream, SinkFormat)]) -> Result<Arc<Outputs>, Error> {
        let io = |source| Error::Io { what: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut files = Vec::new();
        for (stream, format) in streams {
            let path = folder.join(format!("{}.{}", stream.name(), extension(*format)));
            if let Some(sink) = self.sink_of(&path) {
                let path = path.display();
                return Err(Error::Usage(format!(
                    "{path} belongs to the pipeline: it is the \"path\" of a sink, {sink:?}, and a replay opens none"
                )));
            }
            let path = path.to_str().ok_or_else(|| Error::Usage("the path is not UTF-8".to_owned()))?;
            files.push((*stream, *format, path.to_owned()));
        }
        let job = self.job.clone();
        Ok(Arc::new(move || {
            let output = |(stream, format, path): &(Stream, SinkFormat, String)| {
                let path = path.clone();
                (*stream, job.encoded(move || Ok(Box::new(FileSink::create(path)?)), *format))
            };
            files.iter().map(output).collect()
        }))
    }

    /// The sink of the pipeline that writes to the file at `path`, by its own name for it.
    fn sink_of(&self, path: &Path) -> Option<&str> {
        let sinks = self.job.file().sinks.iter().filter_map(|sink| sink.options.given_text("path"));
        sinks.into_iter().find(|sink| pattern::identity(Path::new(sink)) == pattern::identity(path))
    }

    /// Says, after the run, what of the recording could not be played.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if there is such a thing.
    pub fn finish(&self) -> Result<(), Error> {
        let damages: Vec<_> = self.recording.damages().iter().map(ToString::to_string).collect();
        match damages.is_empty() {
            true => Ok(()),
            false => Err(Error::Damaged(damages.join("\n"))),
        }
    }
}

fn extension(format: SinkFormat) -> &'static str {
    match format {
        SinkFormat::Json => "jsonl",
        SinkFormat::Csv => "csv",
        SinkFormat::Table => "txt",
    }
}
