//! A pipeline run again, on a recording of its sources.
//!
//! A replay opens neither the pipeline's sources nor its sinks: results go where its caller says.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use tidewatch_connectors::file::{pattern, FileSink};
use tidewatch_connectors::recording::{Damage, Play, Recording};
use tidewatch_connectors::{Control, Error as ConnectorError};

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
    path: String,
    /// What was damaged when it was opened, which each process has seen.
    known: Vec<Damage>,
}

impl Replay {
    /// Opens the recording at `path`, of the sources of `job`.
    ///
    /// # Errors
    ///
    /// If it cannot be read at all, or does not have the sources of the job.
    pub fn open(path: &str, job: &Job, play: Play, speed: Speed) -> Result<Self, Error> {
        let recording = Recording::open(path).map_err(|error| match error {
            ConnectorError::Io { what, source } => Error::unreadable("recording", what)(source),
            error => error.into(),
        })?;
        let play = match speed {
            Speed::Max => play,
            Speed::Times(factor) => play.speed(factor),
        };
        let editions = recording.editions()?;
        let known = recording.damages();
        // What it lacks, it may lack because of the damages.
        let job = job.replayed(&recording, &play).map_err(|error| match known.is_empty() {
            true => error,
            false => Error::Several(vec![Error::Damaged(told(&known)), error]),
        })?;
        let job = job.referring(editions);
        Ok(Self { job, recording, path: path.to_owned(), known })
    }

    /// The pipeline, with the recording as its source.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What processes must have in common to replay together, beside how: the pipeline and the recording.
    pub fn identity(&self) -> String {
        format!("{}\nreplay of {:016x}", self.job.identity(), self.recording.identity())
    }

    /// Notes, before the run, what is known of the recording; `tells` if it is on this process to say it.
    pub fn start(&self, control: &Control, tells: bool) {
        control.counts().damages.add(self.known.len() as u64);
        if !tells {
            return;
        }
        self.warn_of_unplayed();
        self.known.iter().for_each(|damage| tracing::warn!("{damage}"));
    }

    /// Warns of what was recorded and is not played, because the pipeline has no such source.
    pub fn warn_of_unplayed(&self) {
        let (path, file) = (&self.path, self.job.file());
        let names: Vec<_> = file.sources.iter().map(|source| source.name.as_str()).collect();
        for name in self.recording.sources().iter().filter(|name| !names.contains(&&***name)) {
            tracing::warn!("{path} has a source \"{name}\" that {} lacks; it is not played", file.path);
        }
    }

    /// Files in `folder`, one for each stream: `late.jsonl`, for example. The folder is made with the first of them.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if such a file belongs to the pipeline or to the recording.
    pub fn outputs_in(&self, folder: &Path, streams: &[(Stream, SinkFormat)]) -> Result<Arc<Outputs>, Error> {
        let mut files = Vec::new();
        for (stream, format) in streams {
            let path = folder.join(format!("{}.{}", stream.name(), extension(*format)));
            self.job.file().keep_clear_of(&path)?;
            if self
                .recording
                .files()
                .any(|file| pattern::identity(Path::new(file)) == pattern::identity(&path))
            {
                return Err(Error::Usage(format!(
                    "{} belongs to the recording that is replayed",
                    path.display()
                )));
            }
            let path = path.to_str().ok_or_else(|| Error::Usage("the path is not UTF-8".to_owned()))?;
            files.push((*stream, *format, path.to_owned()));
        }
        let (job, folder) = (self.job.clone(), folder.to_owned());
        Ok(Arc::new(move || {
            let output = |(stream, format, path): &(Stream, SinkFormat, String)| {
                let (path, folder) = (path.clone(), folder.clone());
                let open = move || {
                    let io = ConnectorError::io(folder.display().to_string());
                    std::fs::create_dir_all(&folder).map_err(io)?;
                    Ok(Box::new(FileSink::create(path)?) as _)
                };
                (*stream, job.encoded(*stream, open, *format))
            };
            files.iter().map(output).collect()
        }))
    }

    /// Says, after the run, what of the recording could not be played: what only this process has met or, if it
    /// `tells`, all that it knows.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if any process has met a damage; without text, if this one has nothing to say.
    pub fn finish(&self, control: &Control, tells: bool) -> Result<(), Error> {
        let damages = self.recording.damages();
        let is_told = |damage: &&Damage| tells || !self.known.contains(damage);
        match control.totals().damages {
            0 => Ok(()),
            _ => Err(Error::Damaged(told(damages.iter().filter(is_told)))),
        }
    }
}

/// A line for each.
fn told<'a>(damages: impl IntoIterator<Item = &'a Damage>) -> String {
    damages.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn extension(format: SinkFormat) -> &'static str {
    match format {
        SinkFormat::Json => "jsonl",
        SinkFormat::Csv => "csv",
        SinkFormat::Table => "txt",
    }
}
