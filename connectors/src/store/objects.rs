//! A store over the crate `object_store`.

use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::{Builder, Runtime};

use super::{Listed, Store};
use crate::Error;

/// For how long nobody has written a file that a crash left half-written.
const ABANDONED: Duration = Duration::from_secs(3_600);

/// What `object_store` reaches, through calls that block.
pub(super) struct Objects {
    url: String,
    objects: Arc<dyn ObjectStore>,
    /// The directory, if it is one.
    root: Option<PathBuf>,
    runtime: Runtime,
}

impl Objects {
    pub(super) fn new(
        url: &str,
        objects: Arc<dyn ObjectStore>,
        root: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io(format!("store \"{url}\"")))?;
        Ok(Self { url: url.to_owned(), objects, root, runtime })
    }

    fn path(&self, name: &str) -> Result<Path, Error> {
        Path::parse(name).map_err(|error| Error::Configuration(format!("{}: {error}", self.object(name))))
    }

    fn failed(
        &self,
        operation: &'static str,
        name: &str,
    ) -> impl FnOnce(object_store::Error) -> Error + use<'_> {
        let object = self.object(name);
        move |error| Error::Store { operation, object, source: cause(error) }
    }
}

impl Store for Objects {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let path = self.path(name)?;
        let options = PutOptions::from(PutMode::Create);
        let put = self.objects.put_opts(&path, bytes.to_vec().into(), options);
        match self.runtime.block_on(put) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => {
                // Whoever wrote it may not have got as far as the directory's entry, and the caller may rely on it.
                if let Some(parent) =
                    self.root.as_ref().and_then(|root| Some(root.join(name).parent()?.to_owned()))
                {
                    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| {
                        Error::Store { operation: "write", object: self.object(name), source }
                    })?;
                }
                Ok(false)
            }
            Err(error) => Err(self.failed("write", name)(error)),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name)?;
        let got = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name)(error)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        // `object_store` lists whole parts of names.
        let whole = prefix.rsplit_once('/').map(|(whole, _)| self.path(whole)).transpose()?;
        let listed = self.runtime.block_on(self.objects.list(whole.as_ref()).try_collect::<Vec<_>>());
        let mut listed: Vec<_> = listed
            .map_err(self.failed("list", prefix))?
            .into_iter()
            .map(|meta| Listed { name: meta.location.to_string(), bytes: meta.size })
            .filter(|listed| listed.name.starts_with(prefix))
            .collect();
        listed.sort();
        Ok(listed)
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name)?;
        match self.runtime.block_on(self.objects.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", name)(error)),
        }
    }

    fn object(&self, name: &str) -> String {
        format!("\"{name}\" of store \"{}\"", self.url)
    }
}

/// The cause of what `object_store` says: what the operating system said, if it did.
pub(super) fn cause(error: object_store::Error) -> io::Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(said) = cause.downcast_ref::<io::Error>() {
            return match said.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(said.kind(), error),
            };
        }
        source = cause.source();
    }
    io::Error::other(error)
}

/// Removes files that were half-written when their process crashed. `object_store` writes to a name that ends in `#` and a
/// number, and then links it.
pub(super) fn sweep(directory: &FilePath) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Another process may have removed it in the meantime.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            sweep(&entry.path())?;
        } else if is_half_written(&entry.file_name().to_string_lossy()) {
            let age = metadata.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
            if age.is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    Ok(())
}

fn is_half_written(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, number)| number.parse::<u32>().is_ok())
}
