//! `tidewatch savepoint`.

use std::path::PathBuf;

use serde_json::json;

use super::Voice;
use crate::config;
use crate::recovery;
use crate::registry::Registry;
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
A job saves its state by itself, also when it is ended with Ctrl-C or SIGTERM. To change what a pipeline computes, stop it with \
--stop: its output is then complete up to where its state was saved, and a changed pipeline goes on there.

Examples:
  tidewatch savepoint live.toml           save now, and go on
  tidewatch savepoint --stop live.toml    save and stop

Exit codes: 0 done, 1 it failed, 2 usage or configuration, 130 interrupted.";

/// Has a running job with a [checkpoint] save its state at once, and tells up to when.
#[derive(clap::Args)]
pub(super) struct Savepoint {
    /// The pipeline file that the job runs.
    #[arg(value_name = "PIPELINE.toml")]
    file: PathBuf,
    /// Also stop the job, so that a changed pipeline can go on.
    #[arg(long)]
    stop: bool,
}

impl Savepoint {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        let file = config::read(&self.file, registry)?;
        let Some(checkpoint) = &file.checkpoint else {
            return Err(Error::Usage(format!("{} has no [checkpoint], so nothing is saved", file.path)));
        };
        let boundary = recovery::ask(&checkpoint.store, self.stop)?;
        match (boundary, voice.json) {
            (boundary, true) => {
                let boundary = boundary.map(|boundary| boundary.to_string());
                super::say(&json!({ "boundary": boundary, "stopped": self.stop }).to_string())
            }
            (Some(boundary), _) => super::say(&format!("saved up to {boundary}")),
            (None, _) => super::say("nothing is final yet, so nothing was saved"),
        }
    }
}
