//! Pipeline files: from text to a validated description.
//!
//! Every mistake is reported with its position and with what would be right, and all of them at once. What the file
//! describes is complete: defaults are filled in, names are known to the [`Registry`], and parameters are in range.

mod alerts;
mod checkpoint;
mod detect;
mod expand;
mod fields;
mod files;
mod format;
mod item;
mod limits;
mod mutes;
mod near;
mod params;
mod pipeline;
mod quarantine;
mod reader;
mod sink;
mod source;
mod spec;
mod step;
mod table;
mod time;
mod vary;

use std::path::Path;

use toml::de::DeTable;

use crate::error::Error;
use crate::registry::Registry;
pub(crate) use near::advice;
use reader::Reader;
use table::Table;

pub use spec::{
    AlertsSpec, Ambiguous, CheckpointSpec, DetectSpec, FormatKind, FormatSpec, LimitsSpec, MutesSpec,
    PipelineFile, Policy, SinkFormat, SinkSpec, SourceSpec, StepSpec, Stream, TimeSpec, TimeUnit,
};

/// Reads a pipeline file, with variables from the environment of the process.
///
/// # Errors
///
/// [`Error::Usage`] if it cannot be read, [`Error::Config`] if it is wrong.
pub fn read(path: &Path, registry: &Registry) -> Result<PipelineFile, Error> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(Error::unreadable("pipeline file", &name))?;
    let text = String::from_utf8(bytes).map_err(|error| reader::not_text(&name, &error))?;
    parse(&name, &text, &|variable| std::env::var(variable).ok(), registry)
}

/// Reads the text of a pipeline file called `name`, with variables from `environment`.
///
/// # Examples
///
/// ```
/// use tidewatch::{config, registry::Registry};
///
/// let text = r#"
/// name = "demo"
///
/// [[source]]
/// name = "numbers"
/// connector = "generator"
///
/// [[detect]]
/// name = "far"
/// detector = "emwa-z"
/// threshold = 4
/// "#;
/// let error = config::parse("demo.toml", text, &|_| None, &Registry::default()).unwrap_err();
/// assert_eq!(error.to_string(), "demo.toml:10:12: unknown detector \"emwa-z\"; did you mean \"ewma-z\"?");
/// ```
///
/// # Errors
///
/// [`Error::Config`] with every mistake, in the order of the file. No message shows what a variable holds.
pub fn parse(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    registry: &Registry,
) -> Result<PipelineFile, Error> {
    let reader = Reader::new(name, text, environment, registry);
    let result = match DeTable::parse(text) {
        Ok(document) => pipeline::read(&reader, Table::new(&reader, document.get_ref(), "the file", 0)),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let message = match error.message() {
                "duplicate key" => format!("duplicate key {:?}", reader.written(span.clone())),
                message => message.replace('\n', " "),
            };
            Err(reader.fault(span.start, message))
        }
    };
    reader.finish(result)
}
