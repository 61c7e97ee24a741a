//! Where named bytes survive a crash.
//!
//! A [`Store`] can do four things, and everything durable is built on them, so that a simulator can stand in for it:
//! the [`Log`] of a job and those of its file sinks, and the objects of its state.

mod lock;
pub mod log;
mod objects;
mod within;

use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::Error;
use objects::Objects;

pub use lock::{lock, lock_later, Lock};
pub use log::{Entry, Epoch, Log};
pub use within::within;

/// An object of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its whole name.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
}

/// Named bytes that survive a crash, once they are written, and never change.
///
/// Names are parts separated by slashes. Any number of threads and processes may use a store; what one of them has
/// written, all see at once. Calls block: they are made on threads of their own, never on a worker.
///
/// # Errors
///
/// [`Error::Store`], with the object and the cause. What was to be written or deleted may be so all the same, now or
/// a little later.
pub trait Store: Send + Sync {
    /// Writes `bytes` under `name` unless there is something already; `false` if there is. When it returns `true`, they
    /// survive a crash.
    ///
    /// What is there already may be the caller's own, from a try that failed: reading it tells.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error>;

    /// The bytes under `name`; `None` if there are none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// The objects whose names begin with `prefix`, in the order of their names.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error>;

    /// Deletes what is under `name`; no error if there is nothing. A crash soon after may undo it.
    fn delete(&self, name: &str) -> Result<(), Error>;

    /// What messages call the object under `name`.
    fn object(&self, name: &str) -> String {
        format!("object \"{name}\"")
    }
}

/// What the URLs of stores in the cloud begin with.
const CLOUD: [&str; 7] = ["s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://"];

/// Whether there can be a store of this name; opens none.
///
/// # Errors
///
/// As [`open`], but for what only opening it shows.
pub fn check(url: &str) -> Result<(), Error> {
    kind(url).map(drop)
}

/// Opens a store: a directory, by its path or as `file:///…`, which is made if it is not there; `memory:`, which lasts
/// as long as the value that is returned; or, with the feature `cloud`, `s3://`, `gs://` or `az://` with bucket and path,
/// whose credentials and other options come from the environment (as in `AWS_REGION`).
///
/// # Errors
///
/// [`Error::Configuration`] if there is no such kind of store, or it was not built in; [`Error::Io`] if the directory
/// cannot be made.
pub fn open(url: &str) -> Result<Arc<dyn Store>, Error> {
    if let Kind::Directory(path) = kind(url)? {
        let named = |error| Error::io(format!("store \"{url}\""))(error);
        std::fs::create_dir_all(path).map_err(named)?;
        objects::sweep(path.as_ref()).map_err(named)?;
    }
    find(url)
}

/// Opens a store as [`open`] does, but changes nothing: a directory must be there.
///
/// # Errors
///
/// As [`open`].
pub fn find(url: &str) -> Result<Arc<dyn Store>, Error> {
    let path = match kind(url)? {
        Kind::Memory => return Ok(Arc::new(Objects::new(url, Arc::new(InMemory::new()), None)?)),
        Kind::Cloud => return find_in_cloud(url),
        Kind::Directory(path) => path,
    };
    let named = |error| Error::io(format!("store \"{url}\""))(error);
    let root = std::fs::canonicalize(path).map_err(named)?;
    let directory = LocalFileSystem::new_with_prefix(&root)
        .map_err(|error| named(objects::cause(error)))?
        .with_fsync(true);
    Ok(Arc::new(Objects::new(url, Arc::new(directory), Some(root))?))
}

/// The path of the directory that a URL names, if it names one.
pub fn directory(url: &str) -> Option<&str> {
    match kind(url) {
        Ok(Kind::Directory(path)) => Some(path),
        _ => None,
    }
}

/// What a URL names.
enum Kind<'a> {
    Memory,
    Cloud,
    Directory(&'a str),
}

fn kind(url: &str) -> Result<Kind<'_>, Error> {
    if CLOUD.iter().any(|scheme| url.starts_with(scheme)) {
        return match cfg!(feature = "cloud") {
            true => Ok(Kind::Cloud),
            false => Err(Error::Configuration(format!(
                "store \"{url}\": this build has no stores in the cloud; build it with `--features cloud`"
            ))),
        };
    }
    match url.split_once("://") {
        _ if url == "memory:" => Ok(Kind::Memory),
        Some(("file", path)) => Ok(Kind::Directory(path)),
        None if !url.is_empty() => Ok(Kind::Directory(url)),
        _ => Err(Error::Configuration(format!(
            "\"{url}\" is no store: give a directory, or a URL that begins with file://, s3://, gs:// or az://"
        ))),
    }
}

#[cfg(feature = "cloud")]
fn find_in_cloud(url: &str) -> Result<Arc<dyn Store>, Error> {
    let wrong = |error: &dyn std::fmt::Display| Error::Configuration(format!("store \"{url}\": {error}"));
    let parsed = url::Url::parse(url).map_err(|error| wrong(&error))?;
    let (bucket, path) =
        object_store::parse_url_opts(&parsed, std::env::vars()).map_err(|error| wrong(&error))?;
    Ok(Arc::new(Objects::new(url, Arc::new(object_store::prefix::PrefixStore::new(bucket, path)), None)?))
}

#[cfg(not(feature = "cloud"))]
fn find_in_cloud(_: &str) -> Result<Arc<dyn Store>, Error> {
    unreachable!("a build without stores in the cloud knows none")
}

#[cfg(test)]
mod tests;
