//! A store whose calls take time, and of which a dead life knows no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidewatch::checkpoint::{Body, LOG};
use tidewatch_connectors::control::Rule;
use tidewatch_connectors::store::{self, Listed, Log, Store};
use tidewatch_connectors::Error;

use super::life::Wire;
use super::world::World;

/// What the names of all entries of the log begin with, in the first incarnation.
pub(super) const ENTRIES: &str = "1/log/";

/// What is stored, with all that was ever in the log.
pub(super) struct Stored {
    pub(super) objects: Arc<dyn Store>,
    /// The first thing that was written under each number: nothing else may ever be there.
    entries: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Default for Stored {
    fn default() -> Self {
        Self { objects: store::open("memory:").expect("memory is always there"), entries: Mutex::default() }
    }
}

impl Stored {
    fn note(&self, name: &str, bytes: &[u8]) -> bool {
        let Some(entry) = name.strip_prefix(ENTRIES).filter(|entry| !entry.contains('/')) else {
            return false;
        };
        let mut entries = self.entries.lock().expect("nobody panics");
        let is_new = !entries.contains_key(entry);
        entries.entry(entry.to_owned()).or_insert_with(|| bytes.to_vec());
        is_new
    }

    /// What the log has ever said.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn log(&self) -> Result<Vec<(u64, Body)>, String> {
        let whole = store::open("memory:").expect("memory is always there");
        for (entry, bytes) in &*self.entries.lock().expect("nobody panics") {
            whole.put_new(&format!("{LOG}{entry}"), bytes).expect("memory has room");
        }
        let (_, entries) = Log::open(whole, LOG).map_err(|error| error.to_string())?;
        Body::decode_all(&entries).map_err(|error| error.to_string())
    }
}

/// The store as a life sees it.
pub(super) struct Disk {
    world: Arc<World>,
    wire: Arc<Wire>,
}

impl Disk {
    pub(super) fn of(world: &Arc<World>, wire: &Arc<Wire>) -> Self {
        Self { world: world.clone(), wire: wire.clone() }
    }
}

impl Store for Disk {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let Self { world, wire } = self;
        wire.write(world, || {
            let is_entry = name.starts_with(ENTRIES) && !bytes.is_empty();
            if is_entry && !world.obeys(Rule::EntriesAreNew) {
                world.stored.objects.delete(name)?;
            }
            let written = world.stored.objects.put_new(name, bytes)?;
            if written {
                world.trace(|| format!("life {} writes {name}", wire.number));
                if world.stored.note(name, bytes) {
                    world.trace(|| format!("  {:?}", world.stored.log().map(|log| log.last().cloned())));
                }
            }
            Ok(written)
        })?
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.wire.read(|| self.world.stored.objects.get(name))?
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        self.wire.read(|| self.world.stored.objects.list(prefix))?
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        let Self { world, wire } = self;
        wire.write(world, || {
            world.tally.deletions.add(1);
            world.trace(|| format!("life {} deletes {name}", wire.number));
            world.stored.objects.delete(name)
        })?
    }
}
