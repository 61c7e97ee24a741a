//! `tidewatch state`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use tidewatch_connectors::store::{self, Log};
use tidewatch_connectors::Store;
use tidewatch_dataflows::operators::KeptAs;
use tidewatch_dataflows::state::{Part, Version};
use tidewatch_dataflows::{EventTime, Key};

use super::{time, Voice};
use crate::checkpoint::{as_of, Body, Checkpoint, LOG};
use crate::job::Job;
use crate::recovery::Incarnation;
use crate::registry::Registry;
use crate::{config, Error};

pub(super) const AFTER_HELP: &str = "\
Reads a store without the job, which may be running. A checkpoint that is damaged is named, and the one before it is read.

A KEY is written as verdicts write it: its parts with slashes between them. An open incident is incident:LABEL, alerts of a key that \
are kept back are muted:KEY.

Examples:
  tidewatch state ls --store state --prefix api/      keys that begin so
  tidewatch state show api/host-7 --store state       what is kept of a key
  tidewatch state show api/host-7 --pipeline p.toml   and what it means
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
    /// The store: a directory or a URL; default: that of the pipeline
    #[arg(long, value_name = "URL", required_unless_present = "pipeline")]
    store: Option<String>,
    /// The pipeline whose state it is, which alone knows what it means: `show` tells it as JSON
    #[arg(long, value_name = "PIPELINE.toml")]
    pipeline: Option<PathBuf>,
    /// The newest checkpoint whose boundary is not after this; default: the newest one
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<EventTime>,
}

impl State {
    pub(super) fn execute(&self, registry: &Registry, voice: Voice) -> Result<(), Error> {
        match &self.question {
            Question::Ls { prefix, source } => source.kept(registry)?.list(prefix, voice),
            Question::Show { key, source } => source.kept(registry)?.show(key, voice),
            Question::Stat { source } => source.kept(registry)?.stat(voice),
        }
    }
}

/// What a store keeps as of a time.
struct Kept {
    /// The store, as it was named.
    url: String,
    as_of: Option<EventTime>,
    /// The job whose state it should be, if that is known.
    job: Option<Job>,
}

impl Source {
    fn kept(&self, registry: &Registry) -> Result<Kept, Error> {
        let read = |path: &PathBuf| Job::onlooker(config::read(path, registry)?, registry);
        let job = self.pipeline.as_ref().map(read).transpose()?;
        let own = || Some(job.as_ref()?.file().checkpoint.as_ref()?.store.clone());
        let url = self.store.clone().or_else(own).ok_or_else(|| {
            Error::Usage(
                "the pipeline has no [checkpoint], and so no store: name one with --store".to_owned(),
            )
        })?;
        Ok(Kept { url, as_of: self.as_of, job })
    }
}

impl Kept {
    fn open(&self) -> Result<(Arc<dyn Store>, Checkpoint), Error> {
        let incarnation = Incarnation::newest(&store::find(&self.url)?)?;
        let store = incarnation.map(|incarnation| incarnation.store);
        let checkpoint = store.as_ref().map(|store| Checkpoint::newest(store, self.as_of)).transpose()?;
        match store.zip(checkpoint.flatten()) {
            Some(found) => Ok(found),
            None => {
                let limit = self.as_of.map(|time| format!(" as of {time}")).unwrap_or_default();
                Err(Error::Usage(format!("store \"{}\" has no checkpoint{limit}", self.url)))
            }
        }
    }

    /// Calls `each` with every key that has a state, and its version.
    fn read(&self, each: impl FnMut(&Key, &Version) -> Result<(), Error>) -> Result<(), Error> {
        let (_, checkpoint) = self.open()?;
        self.of_this_pipeline(checkpoint.manifest().hash)?;
        as_of(&mut checkpoint.states()?, checkpoint.manifest().boundary, each)
    }

    /// Bytes that another pipeline keeps could be read as what they are not.
    fn of_this_pipeline(&self, hash: u64) -> Result<(), Error> {
        match self.job.as_ref().filter(|job| job.hash() != hash) {
            Some(job) => Err(Error::Usage(format!(
                "the checkpoint in store \"{}\" is of another pipeline than {}: something that changes output is not as it was; \
                 give the pipeline as it was or, for bytes without a meaning, none",
                self.url,
                job.file().path
            ))),
            None => Ok(()),
        }
    }

    fn list(&self, prefix: &str, voice: Voice) -> Result<(), Error> {
        self.read(|key, version| {
            let name = name(key);
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
            if name(key) != wanted {
                return Ok(());
            }
            found = true;
            let state = version.state.as_deref().unwrap_or_default();
            let parts = self.job.as_ref().map(|job| job.describe(key, state)).transpose()?;
            if voice.json {
                let mut described = describe_json(key, version);
                match parts {
                    Some(parts) => described["parts"] = json!(parts),
                    None => described["state"] = hex(state).into(),
                }
                return super::say(&described.to_string());
            }
            let told = match parts {
                Some(parts) => parts.iter().map(tell).collect::<Vec<_>>().join("\n"),
                None => hex(state),
            };
            let Version { boundary, last, .. } = version;
            let bytes = length(version);
            super::say(&format!(
                "{wanted}\nlast record   {last}\nlast changed  before {boundary}\nstate         {bytes} bytes\n{told}"
            ))
        })?;
        match found {
            true => Ok(()),
            false => Err(Error::Usage(format!("store \"{}\" keeps nothing of key \"{wanted}\"", self.url))),
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

/// What is kept under a text: of what kind, and its name.
fn kind(key: &Key) -> (&'static str, Key) {
    match KeptAs::of(key.as_str()) {
        KeptAs::Key => ("key", key.clone()),
        KeptAs::Label(label) => ("incident", label),
        KeptAs::Muted(key) => ("muted", key),
    }
}

/// What people call it.
fn name(key: &Key) -> String {
    match kind(key) {
        ("key", key) => key.to_string(),
        (kind, name) => format!("{kind}:{name}"),
    }
}

/// A part on a line: whose it is, and what it is as JSON.
fn tell(Part { detection, logic, state, .. }: &Part) -> String {
    let of = detection.map(|detection| format!("{detection}: ")).unwrap_or_default();
    format!("{of}{logic} {state}")
}

fn length(version: &Version) -> usize {
    version.state.as_ref().map_or(0, |state| state.len())
}

fn describe_json(key: &Key, version: &Version) -> serde_json::Value {
    let (kind, name) = kind(key);
    json!({
        "kind": kind,
        "key": name.parts().collect::<Vec<_>>(),
        "last": version.last.to_string(),
        "version": version.boundary.to_string(),
        "bytes": length(version),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
