//! Which alerts of a job nobody wants to hear of.

use std::sync::Arc;

use tidewatch_connectors::reference::{Parse, Read};
use tidewatch_connectors::{Journal, Reference, Unkept};
use tidewatch_dataflows::mutes::Mute;
use tidewatch_dataflows::EventTime;

use super::Job;
use crate::mutes;
use crate::recovery::Recovered;
use crate::Error;

impl Job {
    /// Checks that the list of mutes, if the pipeline has one, can be read and makes sense.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if not.
    pub fn check_mutes(&self) -> Result<(), Error> {
        let Some(Reference { read: Some((read, _)), parse, .. }) = self.mutes(None) else { return Ok(()) };
        let text = read().map_err(|error| Error::Usage(error.to_string()))?;
        parse(&text).map(drop).map_err(Error::Usage)
    }

    /// The list of mutes, if the pipeline has one, or had one where it goes on.
    pub(super) fn mutes(&self, recovered: Option<&Recovered>) -> Option<Reference<Vec<Mute>>> {
        let file = self.file();
        let journal: Arc<dyn Journal> = match (recovered, self.0.editions.clone()) {
            (Some(recovered), None) => Arc::new(recovered.keeper.clone()),
            (_, editions) => Arc::new(Unkept(editions.unwrap_or_default())),
        };
        if file.mutes.is_none() && (recovered.is_none() || journal.editions().is_empty()) {
            return None;
        }
        let journal = self.0.recorder.iter().fold(journal, |journal, recorder| recorder.journal(journal));
        let spec = file.mutes.clone();
        let path = spec.as_ref().map_or("[mutes]", |spec| spec.path.as_str()).to_owned();
        let read: Arc<Read> = match &spec {
            Some(spec) => {
                let (read, path) = (self.0.registry.mutes.clone(), spec.path.clone());
                Arc::new(move || read(&path))
            }
            // A pipeline without a list mutes nothing any more.
            None => Arc::new(|| Ok(String::new())),
        };
        let every = spec.map(|spec| spec.every.into()).unwrap_or_default();
        let is_replayed = self.0.editions.is_some();
        let parts = self.0.schema.key.clone();
        let detectors: Vec<_> = file.detects.iter().map(|detect| detect.name.clone()).collect();
        let parse: Arc<Parse<Vec<Mute>>> = Arc::new(move |text| {
            let parts: Vec<_> = parts.iter().map(String::as_str).collect();
            let detectors: Vec<_> = detectors.iter().map(String::as_str).collect();
            mutes::parse(&path, text, &parts, &detectors)
        });
        let floor = recovered.map_or(EventTime::MIN, |recovered| recovered.resume.floor);
        Some(Reference { journal, read: (!is_replayed).then_some((read, every)), parse, floor })
    }
}
