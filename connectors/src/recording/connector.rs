//! A recorded source in a pipeline file of its own.

use std::sync::{Arc, Mutex};

use tidewatch_dataflows::Offset;
use timely::scheduling::SyncActivator;

use super::parts::Parts;
use super::source::Recorded;
use super::Recording;
use crate::source::{Reader, Source};
use crate::{lock, Decision, Error};

/// Reads the payloads of one source of a recording, as fast as they are taken; they are decoded anew.
///
/// It is opened when it is read for the first time. What is damaged in it is logged, and what is behind a
/// damaged block is a dead letter.
pub struct RecordingSource {
    path: String,
    source: Option<String>,
    opened: Mutex<Option<Recorded>>,
}

impl RecordingSource {
    /// Reads the recording at `path`, or its parts beside it, of which `source` is to be read; of several sources one must be named.
    pub fn new(path: impl Into<String>, source: Option<String>) -> Self {
        Self { path: path.into(), source, opened: Mutex::default() }
    }

    fn opened(&self) -> Result<Recorded, Error> {
        let mut opened = lock(&self.opened);
        if let Some(recorded) = &*opened {
            return Ok(recorded.clone());
        }
        let recording = Recording(Arc::new(Parts::open(&self.path)?));
        recording.damages().iter().for_each(|damage| tracing::warn!("{damage}"));
        let names = recording.sources();
        let name = match (&self.source, &*names) {
            (Some(name), _) => name,
            (None, [name]) => &**name,
            (None, _) => {
                let message = format!("{} has {} sources: name one as \"source\"", self.path, names.len());
                return Err(Error::Configuration(message));
            }
        };
        let recorded = recording.source(name)?;
        if recorded.tracks().any(|(_, track)| track.described.rows) {
            let message = format!("{}: source \"{name}\" has rows, which only a replay plays", self.path);
            return Err(Error::Configuration(message));
        }
        Ok(opened.insert(recorded).clone())
    }
}

impl Source for RecordingSource {
    fn kind(&self) -> &'static str {
        "recording"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        self.opened()?.partitions()
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        self.opened()?.open(partition, from, waker)
    }

    fn decisions(&self, partition: &str) -> Result<Vec<Decision>, Error> {
        self.opened()?.decisions(partition)
    }

    /// The number of records.
    fn size(&self) -> Option<u64> {
        self.opened().ok()?.size()
    }
}
