//! Whether somebody on this machine works with a directory that is a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;

use super::{kind, Kind};
use crate::Error;

/// The file whose lock stands for the store; no object is called so.
const NAME: &str = "lock";

/// That nobody else on this machine works with a store; for as long as it lives, also if this process is killed.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

/// Locks a store; `None` if somebody else has. Of a store that is no directory nobody can know: that always succeeds.
///
/// # Errors
///
/// [`Error::Io`] if the directory cannot be used.
pub fn lock(url: &str) -> Result<Option<Lock>, Error> {
    let Some((file, named)) = file(url)? else { return Ok(Some(Lock { _file: None })) };
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: Some(file) })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(named)(error)),
    }
}

/// Locks a store as soon as whoever has locked it is gone, and keeps it locked for as long as this process lives.
///
/// # Errors
///
/// As [`lock`].
pub fn lock_later(url: &str) -> Result<(), Error> {
    if let Some((file, _)) = file(url)? {
        thread::spawn(move || {
            // If it cannot be locked, nobody can know that this process lives.
            let _ = file.lock();
            loop {
                thread::park();
            }
        });
    }
    Ok(())
}

fn file(url: &str) -> Result<Option<(File, String)>, Error> {
    let Kind::Directory(path) = kind(url)? else { return Ok(None) };
    let path = Path::new(path).join(NAME);
    let named = path.display().to_string();
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(Error::io(named.clone()))?;
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    Ok(Some((open.map_err(Error::io(named.clone()))?, named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("there is room for it");
        let url = folder.path().join("state").display().to_string();
        let first = lock(&url).expect("it can be used");
        assert!(first.is_some() && lock(&url).expect("it can be used").is_none());
        drop(first);
        assert!(lock(&url).expect("it can be used").is_some());
        assert!(lock("memory:").expect("it is no directory").is_some());
    }
}
