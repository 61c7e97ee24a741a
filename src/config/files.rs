//! The files of a pipeline: its own, those that its sources read, and those that its sinks write.

use std::path::Path;

use tidewatch_connectors::file::pattern;
use tidewatch_dataflows::params::{Params, Value};

use super::spec::{PipelineFile, SinkSpec};
use crate::Error;

/// The paths and patterns of the files that a source reads.
pub(super) fn read_by(connector: &str, options: &Params) -> Vec<String> {
    // A program may have put a connector of its own in the place of one of these.
    match (connector, options.get("path")) {
        ("file", Some(Value::Texts(patterns))) => patterns.clone(),
        // The file, or its parts.
        ("recording", Some(Value::Text(path))) => {
            let path = pattern::literal(path);
            vec![format!("{path}.*"), path]
        }
        _ => Vec::new(),
    }
}

impl PipelineFile {
    /// Checks that the file at `path`, whether it exists or not, is none of the pipeline's, so that something else than a
    /// sink may write to it.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it is the pipeline file, if a source reads it or would the next time, or if a sink writes it.
    pub fn keep_clear_of(&self, path: &Path) -> Result<(), Error> {
        let identity = pattern::identity(path);
        let is_at = |other: &str| pattern::identity(Path::new(other)) == identity;
        let source = self.sources.iter().find(|source| {
            let patterns = read_by(&source.connector, &source.options);
            patterns.iter().any(|pattern| pattern::reads(pattern, path))
        });
        let mut sinks = self.sinks.iter().filter_map(SinkSpec::path);
        let what = match (source, sinks.find(|sink| is_at(sink))) {
            _ if is_at(&self.path) => "it is the pipeline file itself".to_owned(),
            _ if self.mutes.as_ref().is_some_and(|mutes| is_at(&mutes.path)) => {
                "it is the list of [mutes]".to_owned()
            }
            (Some(source), _) => format!("it is among the files of source \"{}\"", source.name),
            (None, Some(sink)) => format!("it is the \"path\" of a sink, {sink:?}"),
            (None, None) => return Ok(()),
        };
        let path = path.display();
        Err(Error::Usage(format!("{path} belongs to the pipeline: {what}; write to another file")))
    }
}
