//! Records what sources give, and gives it again: the same records at the same offsets, with the same decisions.
//!
//! A [`Recorder`] stands between an input and its source. A [`Recording`] stands for the source later. Both know
//! partitions by the names of source and partition, so what is computed from a recording is what was computed from
//! its source: verdicts, late records, dead letters.
#![doc = ""]
#![doc = include_str!("recording/FORMAT.md")]

use std::sync::Arc;

use crate::{Error, Input};
use parts::Parts;
use source::Recorded as RecordedSource;

mod bytes;
mod codec;
mod columns;
mod connector;
mod contents;
mod editions;
mod frame;
mod holes;
mod parts;
mod play;
mod recorder;
mod source;
mod tap;
#[cfg(test)]
mod tests;
mod writer;

pub use connector::RecordingSource;
pub use contents::Damage;
pub use parts::Part;
pub use play::Play;
pub use recorder::{Recorded, Recorder};

/// The most records of a block.
const MAX_RECORDS: usize = 1 << 16;
/// The most bytes of a column of a block, decompressed.
const MAX_SECTION: usize = 64 << 20;

/// A fingerprint of a format, by all that its rows depend on; never zero.
pub fn fingerprint(description: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(description.as_bytes()).max(1)
}

/// A recording that can be read.
#[derive(Clone)]
pub struct Recording(Arc<Parts>);

impl Recording {
    /// Opens the file at `path` or, if there is none, the parts `path.0`, `path.1` and so on that the processes of a
    /// cluster have written; a file that is damaged is open up to the damage.
    ///
    /// # Errors
    ///
    /// [`Error`] if a file cannot be read, is not a recording of this version, or is missing, or if the files do not
    /// belong together.
    pub fn open(path: &str) -> Result<Self, Error> {
        Parts::open(path).map(|parts| Self(Arc::new(parts)))
    }

    /// What tells one recording from another: a hash of its partitions and of how each begins. A copy that is cut
    /// off has the same, unless a partition is missing.
    pub fn identity(&self) -> u64 {
        self.0.hash()
    }

    /// The names of the sources that were recorded, sorted.
    pub fn sources(&self) -> Vec<Arc<str>> {
        editions::sources(self.0.all().map(|(_, track)| track))
    }

    /// The files that it consists of.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.0.files()
    }

    /// What is known to be damaged: what was found when the files were opened, and since then by reading. How much of
    /// the latter there is, [`Counts::damages`](crate::control::Counts::damages) counts too.
    pub fn damages(&self) -> Vec<Damage> {
        self.0.damages()
    }

    /// The same input from the recording of the source with its name, with the recorded decisions and no others.
    ///
    /// Payloads are decoded anew by the input's format, unless `fingerprint` is the one that they were recorded with.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if no such source was recorded, or its records are not what the input takes.
    pub fn replay(&self, input: Input, play: &Play, fingerprint: u64) -> Result<Input, Error> {
        let mut source = self.source(input.name())?;
        let name = source.name.clone();
        for (contents, track) in source.tracks() {
            let described = &track.described;
            let path = &contents.path;
            if described.rows != input.format().is_none() {
                let (has, wants) = match described.rows {
                    true => ("rows", "payloads for a format to decode"),
                    false => ("payloads", "rows"),
                };
                let message = format!("{path}: source \"{name}\" has {has}, and the pipeline wants {wants}");
                return Err(Error::Configuration(message));
            }
            if described.rows && described.schema != *input.schema() {
                let names = described.schema.key.iter().chain(&described.schema.values).cloned();
                let names = names.collect::<Vec<_>>().join(", ");
                let message =
                    format!("{path}: source \"{name}\" has the key parts and values {names}, and no others");
                return Err(Error::Configuration(message));
            }
        }
        (source.format, source.fingerprint, source.play) =
            (input.format().cloned(), fingerprint, play.clone());
        source.values = Some(input.schema().values.len());
        source.quarantine = input.quarantined().clone();
        if play.is_paced() {
            source.first_time().into_iter().for_each(|time| play.starts_with(time));
        }
        Ok(input.replaying(Arc::new(source)))
    }

    /// The source of this name, as one that gives payloads to be decoded, or rows.
    fn source(&self, name: &str) -> Result<RecordedSource, Error> {
        let names = self.sources();
        let Some(name) = names.iter().find(|known| &***known == name) else {
            let names = match &*names {
                [] => "none that can be read".to_owned(),
                names => names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", "),
            };
            let message = format!("{} has no source \"{name}\"; it has {names}", self.0.path);
            return Err(Error::Configuration(message));
        };
        Ok(RecordedSource {
            parts: self.0.clone(),
            name: name.clone(),
            format: None,
            fingerprint: 0,
            values: None,
            quarantine: Default::default(),
            play: Play::all(),
        })
    }
}
