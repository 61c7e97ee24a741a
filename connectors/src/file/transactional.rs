//! Writes lines to a file, in transactions.
//!
//! What is committed is said by a chain of progress records, a [`Log`] in the job's store: each has how far output is
//! complete, and how long the file is then. Lines are appended to the file, forced to disk, and only then put on the chain. So
//! of a file that a crash has left, as many bytes count as the newest link says. What is behind them comes again, the same
//! bytes.
//!
//! A run begins with a link of its own epoch, after which no older run can add one, and goes on in a new file that takes the
//! place of the old one at `path`: what an older run that does not know that it is dead still writes goes to a file without
//! a name. Such a run could be about to put its own file into that place, so
//!
//! 1. a run makes its file, under a name with its epoch, *before* it begins;
//! 2. once it has begun, it deletes the files of lower epochs under such names, and only then copies what is committed.
//!
//! An older run that has begun has made its file before, so from then on it has nothing to put there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use super::pattern::identity;
use crate::sink::{Hook, Progress, Shard, ShardWriter, TransactionalSink};
use crate::store::{Epoch, Log, Store};
use crate::{Error, Message};

/// How many bytes are written at a time.
const BLOCK: usize = 64 << 10;
/// After how many commits old links of the chain are dropped, and how many are left.
const DROP: u64 = 16;
const KEEP: u64 = 8;

/// A file to which each message is written as a line, exactly once, whatever crashes; the first run empties it.
///
/// A reader sees every line that is committed, and perhaps some that will be. When a run goes on after a crash, a new file
/// takes the place of the old one: who follows it must follow the name.
#[derive(Clone)]
pub struct TransactionalFile {
    path: PathBuf,
    store: Arc<dyn Store>,
    chain: String,
    hook: Hook,
}

impl TransactionalFile {
    /// The file at `path`, whose progress is kept in `store` under names that begin with `chain`.
    pub fn new(path: impl AsRef<Path>, store: Arc<dyn Store>, chain: impl Into<String>) -> Self {
        Self { path: identity(path.as_ref()), store, chain: chain.into(), hook: Hook::default() }
    }

    /// Calls `hook` before each step that a crash may prevent, with its name: for tests, which end there.
    pub fn with_hook(self, hook: impl Fn(&'static str) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { hook: Hook::new(hook), ..self }
    }

    fn before(&self, step: &'static str) -> Result<(), Error> {
        self.hook.before(step)
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(self.path.display().to_string())(error)
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
    }

    /// What the names of files begin with that are to take the place of this one; then comes an epoch.
    fn successors(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn successor(&self, epoch: Epoch) -> PathBuf {
        self.directory().join(format!("{}{epoch}{SUCCESSOR}", self.successors()))
    }

    /// Makes the file in which a run goes on.
    fn create(&self, epoch: Epoch) -> Result<File, Error> {
        let found = fs::metadata(&self.path).ok();
        if found.as_ref().is_some_and(|found| !found.is_file()) {
            let reason = "is not a regular file, so nothing can be committed to it";
            return Err(Error::Configuration(format!("{} {reason}", self.path.display())));
        }
        let successor = self.successor(epoch);
        remove(&successor).map_err(|error| self.failed(error))?;
        let create = || {
            let file = File::create_new(&successor)?;
            if let Some(found) = found {
                file.set_permissions(found.permissions())?;
            }
            Ok(file)
        };
        create().map_err(|error| self.failed(error))
    }

    /// Deletes the files in which older runs would go on.
    fn sweep(&self, epoch: Epoch) -> io::Result<()> {
        let successors = self.successors();
        for entry in fs::read_dir(self.directory())? {
            let name = entry?.file_name();
            let of = name.to_str().and_then(|name| name.strip_prefix(&successors)?.strip_suffix(SUCCESSOR));
            if of.and_then(|of| of.parse().ok()).is_some_and(|of| Epoch(of) < epoch) {
                remove(&self.directory().join(&name))?;
            }
        }
        Ok(())
    }

    /// Copies the first `length` bytes of the file as it is.
    fn copy(&self, length: u64, to: &mut File) -> Result<(), Error> {
        if length == 0 {
            return Ok(());
        }
        let damaged = |found: &str| {
            Error::Damaged {
            object: self.path.display().to_string(),
            reason: format!(
                "it {found}, but {length} bytes of it were committed: restore it, or start anew with `--fresh`"
            ),
        }
        };
        let from = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(damaged("is gone")),
            from => from.map_err(|error| self.failed(error))?,
        };
        let copied = io::copy(&mut from.take(length), to).map_err(|error| self.failed(error))?;
        match copied < length {
            true => Err(damaged(&format!("has {copied} bytes"))),
            false => Ok(()),
        }
    }
}

/// What the names of files end with that are to take the place of another one.
const SUCCESSOR: &str = ".next";

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn stop_if_fenced(log: &Log, epoch: Epoch) -> Result<(), Error> {
    match log.highest() > epoch {
        true => Err(Error::Fenced { epoch: log.highest() }),
        false => Ok(()),
    }
}

/// Forces to disk what a directory calls its files.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

impl TransactionalSink for TransactionalFile {
    fn open(&self, _: Shard) -> Result<Box<dyn ShardWriter>, Error> {
        Ok(Box::new(FileShard { sink: self.clone(), open: None }))
    }
}

/// A link of the chain.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Link {
    /// A run has begun.
    Begun,
    /// Output is complete up to `progress`, and takes `length` bytes.
    Committed { progress: Progress, length: u64 },
}

impl Link {
    fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no keys that are not text")
    }
}

struct FileShard {
    sink: TransactionalFile,
    /// Once it is fenced.
    open: Option<Open>,
}

/// The file of a run.
struct Open {
    epoch: Epoch,
    log: Log,
    file: File,
    /// Lines that are not in the file yet.
    lines: Vec<u8>,
    /// How long the file is with them.
    length: u64,
    /// How much of it is on disk for sure.
    synced: u64,
    commits: u64,
}

impl FileShard {
    fn open(&mut self) -> (&TransactionalFile, &mut Open) {
        (&self.sink, self.open.as_mut().expect("it is fenced before everything else"))
    }
}

impl ShardWriter for FileShard {
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error> {
        let sink = &self.sink;
        sink.before("create the next file")?;
        let mut file = sink.create(epoch)?;
        let (mut log, mut entries) = Log::open(Arc::clone(&sink.store), &sink.chain)?;
        sink.before("begin")?;
        log.append(epoch, &Link::Begun.encode())?;
        // What the run before has committed meanwhile.
        entries.append(&mut log.catch_up()?);
        stop_if_fenced(&log, epoch)?;
        sink.before("sweep")?;
        sink.sweep(epoch).map_err(|error| sink.failed(error))?;
        let (mut progress, mut length) = (Progress::START, 0);
        for entry in &entries {
            let link = serde_json::from_slice(&entry.body).map_err(|error| Error::Damaged {
                object: format!("link {} of the chain \"{}\"", entry.number, sink.chain),
                reason: error.to_string(),
            })?;
            if let Link::Committed { progress: of, length: then } = link {
                (progress, length) = (of, then);
            }
        }
        sink.before("copy")?;
        sink.copy(length, &mut file)?;
        sink.before("sync the next file")?;
        file.sync_all().map_err(|error| sink.failed(error))?;
        sink.before("take the place")?;
        if let Err(error) = fs::rename(sink.successor(epoch), &sink.path) {
            // A later run has deleted it.
            log.catch_up()?;
            stop_if_fenced(&log, epoch)?;
            return Err(sink.failed(error));
        }
        sink.before("sync the directory")?;
        sync_directory(sink.directory()).map_err(|error| sink.failed(error))?;
        info!(path = %sink.path.display(), %epoch, %progress, length, "opened sink");
        let lines = Vec::new();
        self.open = Some(Open { epoch, log, file, lines, length, synced: length, commits: 0 });
        Ok(progress)
    }

    fn write(&mut self, _stream: usize, messages: &[Message<'_>]) -> Result<(), Error> {
        let (sink, open) = self.open();
        sink.before("write")?;
        for message in messages {
            open.lines.extend_from_slice(message.payload);
            open.lines.push(b'\n');
            open.length += message.payload.len() as u64 + 1;
            if open.lines.len() >= BLOCK {
                open.flush().map_err(|error| sink.failed(error))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self, progress: Progress) -> Result<(), Error> {
        let (sink, open) = self.open();
        sink.before("flush")?;
        open.flush().map_err(|error| sink.failed(error))?;
        sink.before("sync")?;
        if open.synced < open.length {
            open.file.sync_data().map_err(|error| sink.failed(error))?;
            open.synced = open.length;
        }
        sink.before("commit")?;
        let link = Link::Committed { progress, length: open.length };
        let number = open.log.append(open.epoch, &link.encode())?;
        open.commits += 1;
        if open.commits % DROP == 0 {
            sink.before("drop old links")?;
            open.log.drop_below(number.saturating_sub(KEEP), open.epoch)?;
        }
        debug!(path = %sink.path.display(), %progress, length = open.length, "committed");
        Ok(())
    }

    fn wants_preamble(&self, _stream: usize) -> bool {
        self.open.as_ref().is_none_or(|open| open.length == 0)
    }
}

impl Open {
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
