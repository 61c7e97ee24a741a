//! `tidewatch state`.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use tidewatch_connectors::store::{self, Log};
use tidewatch_connectors::Store;
use tidewatch_dataflows::state::Version;
use tidewatch_dataflows::{EventTime, Key};

use super::{time, Voice};
use crate::checkpoint::{as_of, Body, Checkpoint, LOG};
use crate::recovery::Incarnation;
use crate::Error;

pub(super) const AFTER_HELP: &str = "\
Reads a store without the job, which may be running. A checkpoint that is damaged is named, and the one before it is read.

A KEY is written as verdicts write it: its parts with slashes between them.

Examples:
  tidewatch state ls --store state --prefix api/      keys that begin so
  tidewatch state show api/host-7 --store state       what is kept of a key
  tidewatch state stat --store state --json           what is kept at all
  tidewatch state stat --store state --as-of 2024-01-01T08:00:00Z

Exit codes: 0 done, 1 failed or damaged, 2 usage or configuration, 130 interrupted.";

/// Tells what a store keeps: keys with their states, and where each partition is read on from.
#[derive(clap::Args)]
pub(super) struct State {
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// Keys, each with the time of its last record and the bytes of its state.
    Ls {
        /// Only keys that begin with this
        #[arg(long, value_name = "TEXT", default_value = "")]
        prefix: String,
        #[command(flatten)]
        source: Source,
    },
    /// What is kept of a key.
    Show {
        /// The key
        key: String,
        #[command(flatten)]
        source: Source,
    },
    /// How much is kept, as of when, and where each partition is read on from.
    Stat {
        #[command(flatten)]
        source: Source,
    },
}

/// Which checkpoint.
#[derive(clap::Args)]
struct Source {
    /// The store: a directory or a URL
    #[arg(long, value_name = "URL")]
    store: String,
    /// The newest checkpoint whose boundary is not after this; default: the newest one
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<EventTime>,
}

impl State {
    pub(super) fn execute(&self, voice: Voice) -> Result<(), Error> {
        match &self.question {
            Question::Ls { prefix, source } => source.list(prefix, voice),
            Question::Show { key, source } => source.show(key, voice),
            Question::Stat { source } => source.stat(voice),
        }
    }
}

impl Source {
    fn open(&self) -> Result<(Arc<dyn Store>, Checkpoint), Error> {
        let incarnation = Incarnation::newest(&store::find(&self.store)?)?;
        let store = incarnation.map(|incarnation| incarnation.store);
        let checkpoint = store.as_ref().map(|store| Checkpoint::newest(store, self.as_of)).transpose()?;
        match store.zip(checkpoint.flatten()) {
            Some(found) => Ok(found),
            None => {
                let limit = self.as_of.map(|time| format!(" as of {time}")).unwrap_or_default();
                Err(Error::Usage(format!("store \"{}\" has no checkpoint{limit}", self.store)))
            }
        }
    }

    /// Calls `each` with every key that has a state, and its version.
    fn read(&self, each: impl FnMut(&Key, &Version) -> Result<(), Error>) -> Result<(), Error> {
        let (_, checkpoint) = self.open()?;
        as_of(&mut checkpoint.states()?, checkpoint.manifest().boundary, each)
    }

    fn list(&self, prefix: &str, voice: Voice) -> Result<(), Error> {
        self.read(|key, version| {
            let name = key.to_string();
            match name.starts_with(prefix) {
                true if voice.json => super::say(&describe_json(key, version).to_string()),
                true => super::say(&format!("{name}  {}  {} bytes", version.last, length(version))),
                false => Ok(()),
            }
        })
    }

    fn show(&self, wanted: &str, voice: Voice) -> Result<(), Error> {
        let mut found = false;
        self.read(|key, version| {
            if key.to_string() != wanted {
                return Ok(());
            }
            found = true;
            let state = hex(version.state.as_deref().unwrap_or_default());
            if voice.json {
                let mut described = describe_json(key, version);
                described["state"] = state.into();
                return super::say(&described.to_string());
            }
            let Version { boundary, last, .. } = version;
            let bytes = length(version);
            super::say(&format!(
                "{key}\nlast record   {last}\nlast changed  before {boundary}\nstate         {bytes} bytes\n{state}"
            ))
        })?;
        match found {
            true => Ok(()),
            false => Err(Error::Usage(format!("store \"{}\" keeps nothing of key \"{wanted}\"", self.store))),
        }
    }

    fn stat(&self, voice: Voice) -> Result<(), Error> {
        let (store, checkpoint) = self.open()?;
        let (mut keys, mut state_bytes) = (0u64, 0);
        as_of(&mut checkpoint.states()?, checkpoint.manifest().boundary, |_, version| {
            keys += 1;
            state_bytes += length(version);
            Ok(())
        })?;
        let manifest = checkpoint.manifest();
        let object_bytes: u64 = manifest.objects.iter().map(|object| object.bytes).sum();
        let (log, entries) = Log::open(store, LOG)?;
        let kept: Vec<_> = Body::decode_all(&entries)?
            .into_iter()
            .filter_map(|(_, body)| match body {
                Body::Manifest(manifest) => Some(manifest.boundary.to_string()),
                _ => None,
            })
            .collect();
        if voice.json {
            let partitions: Vec<_> = manifest
                .partitions
                .iter()
                .map(|at| {
                    json!({
                        "source": at.source,
                        "partition": at.name,
                        "offset": at.offset.0,
                        "watermark": at.watermark.to_string(),
                    })
                })
                .collect();
            return super::say(
                &json!({
                    "boundary": manifest.boundary.to_string(),
                    "epoch": manifest.epoch.0,
                    "newest_epoch": log.highest().0,
                    "workers": manifest.workers,
                    "keys": keys,
                    "state_bytes": state_bytes,
                    "objects": manifest.objects.len(),
                    "object_bytes": object_bytes,
                    "partitions": partitions,
                    "checkpoints": kept,
                })
                .to_string(),
            );
        }
        super::say(&format!(
            "boundary     {}\nepoch        {} (newest {})\nworkers      {}\nkeys         {keys}, {state_bytes} bytes of state\n\
             objects      {}, {object_bytes} bytes\ncheckpoints  {}",
            manifest.boundary,
            manifest.epoch,
            log.highest(),
            manifest.workers,
            manifest.objects.len(),
            kept.join(", "),
        ))?;
        manifest.partitions.iter().try_for_each(|at| {
            super::say(&format!(
                "partition    {} of {}: offset {}, watermark {}",
                at.name, at.source, at.offset, at.watermark
            ))
        })
    }
}

fn length(version: &Version) -> usize {
    version.state.as_ref().map_or(0, |state| state.len())
}

fn describe_json(key: &Key, version: &Version) -> serde_json::Value {
    json!({
        "key": key.parts().collect::<Vec<_>>(),
        "last": version.last.to_string(),
        "version": version.boundary.to_string(),
        "bytes": length(version),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
