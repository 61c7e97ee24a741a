//! `tidewatch check`.

use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::Voice;
use crate::error::ConfigError;
use crate::job::Job;
use crate::registry::Registry;
use crate::{config, Error};

/// Validates pipeline files, and the lists of [mutes] that they name, without running them: every mistake with its position and what would be right.
///
/// With --json, an object for each right file: file, pipeline, key, values; and for each mistake: file, line, column,
/// message (line and column are null where a mistake has no place in the file).
#[derive(clap::Args)]
pub(super) struct Check {
    /// The pipeline files.
    #[arg(value_name = "PIPELINE.toml", required = true)]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let mut errors = Vec::new();
        for path in &self.files {
            let job = config::read(path, registry).and_then(|file| Job::new(file, registry));
            let job = match job.and_then(|job| job.check_mutes().map(|()| job)) {
                Ok(job) => job,
                Err(error) => {
                    if voice.json {
                        mistakes(path, &error)
                            .iter()
                            .try_for_each(|mistake| super::say(&mistake.to_string()))?;
                    }
                    errors.push(error);
                    continue;
                }
            };
            let file = job.file();
            let (path, schema) = (path.display().to_string(), job.schema());
            if voice.json {
                let report = json!({ "file": path, "pipeline": file.name, "key": schema.key, "values": schema.values });
                super::say(&report.to_string())?;
            } else if !voice.quiet {
                super::say(&format!(
                    "{path}: pipeline \"{}\" is valid: sources {}, steps {}, detections {}, sinks {}; key {}, values {}",
                    file.name,
                    file.sources.len(),
                    file.steps.len(),
                    file.detects.len(),
                    job.sinks().len(),
                    schema.key.join(", "),
                    schema.values.join(", "),
                ))?;
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Several(errors)),
        }
    }
}

/// The mistakes of a file, for programs.
fn mistakes(path: &Path, error: &Error) -> Vec<Value> {
    match error {
        Error::Config(mistakes) => mistakes
            .iter()
            .map(|ConfigError { file, line, column, message }| {
                json!({ "file": file, "line": line, "column": column, "message": message })
            })
            .collect(),
        error => {
            let (file, message) = (path.display().to_string(), error.to_string());
            vec![json!({ "file": file, "line": null, "column": null, "message": message })]
        }
    }
}
