//! `tidewatch check`.

use std::path::PathBuf;

use serde_json::json;

use super::Voice;
use crate::job::Job;
use crate::registry::Registry;
use crate::{config, Error};

/// Validates pipeline files without running them: every mistake with its position and what would be right.
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
            let job = match config::read(path, registry).and_then(|file| Job::new(file, registry)) {
                Ok(job) => job,
                Err(error) => {
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
