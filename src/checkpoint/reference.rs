//! How a manifest names an object, and how that is written and read.

use serde::{Deserialize, Serialize};
use tidewatch_connectors::store::Epoch;
use tidewatch_connectors::{Error, Store};
use tidewatch_dataflows::EventTime;

use super::{KeyGroups, Object};

/// What the names of all objects of state begin with.
pub(super) const PREFIX: &str = "state/";

/// An object, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name in the store.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many keys have a state in it.
    pub keys: u64,
    /// How many keys it says were evicted.
    pub evicted: u64,
    /// The key groups for which it counts: those that it has, less those for which other objects took its place.
    pub groups: KeyGroups,
    /// Stands for its whole content.
    pub checksum: u64,
    /// Up to which boundary it says what changed.
    pub boundary: EventTime,
}

impl ObjectRef {
    /// Writes an object, under a name that follows from `epoch` and the content: to write it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] if it could not be written.
    pub fn write(store: &dyn Store, epoch: Epoch, bytes: Vec<u8>) -> Result<Self, Error> {
        let object = Object::open("an object that is to be written", bytes)?;
        let boundary = object.boundary();
        // Names sort as boundaries do.
        let place = (boundary.micros() as u64) ^ (1 << 63);
        let name = format!("{PREFIX}{:020}/{place:020}-{:016x}", epoch.0, object.checksum());
        if !store.put_new(&name, object.as_bytes())?
            && store.get(&name)?.is_none_or(|found| found != object.as_bytes())
        {
            let reason = "there is something else under its name".to_owned();
            return Err(Error::Damaged { object: store.object(&name), reason });
        }
        Ok(Self {
            name,
            bytes: object.size(),
            keys: object.keys(),
            evicted: object.evicted(),
            groups: object.groups(),
            checksum: object.checksum(),
            boundary,
        })
    }

    /// Reads the object.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if it is not there, or is not what was written; [`Error::Store`].
    pub fn read(&self, store: &dyn Store) -> Result<Object, Error> {
        let damaged =
            |reason: &str| Error::Damaged { object: store.object(&self.name), reason: reason.to_owned() };
        let bytes = store.get(&self.name)?.ok_or_else(|| damaged("it is missing"))?;
        let object = Object::open(store.object(&self.name), bytes)?;
        match object.checksum() == self.checksum {
            true => Ok(object),
            false => Err(damaged("it is another object than the manifest names")),
        }
    }
}

/// The run that wrote the object of this name; `None` if it is no object of state.
pub(super) fn epoch_of(name: &str) -> Option<Epoch> {
    let (epoch, _) = name.strip_prefix(PREFIX)?.split_once('/')?;
    epoch.parse().ok().map(Epoch)
}

#[cfg(test)]
mod tests {
    use tidewatch_connectors::store::{self, Listed};

    use super::*;
    use crate::checkpoint::{object, Change, Changes};

    fn bytes(boundary: i64, state: &[u8]) -> Vec<u8> {
        let boundary = EventTime::from_micros(boundary);
        let mut changes = Changes::new();
        changes.push(Change { key: "a", version: boundary, last: boundary, state: Some(state) });
        object::encode(boundary, &changes).unwrap()
    }

    #[test]
    fn an_object_is_written_once_and_names_sort_as_boundaries_do() {
        let store = store::open("memory:").unwrap();
        let written: Vec<_> = [-5, 3, 40, 3]
            .map(|boundary| ObjectRef::write(&*store, Epoch(7), bytes(boundary, b"x")).unwrap())
            .into();
        assert_eq!(written[1], written[3]);
        let listed: Vec<Listed> = store.list(PREFIX).unwrap();
        let names = |refs: &[ObjectRef]| refs.iter().map(|written| written.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&written[..3]), listed.into_iter().map(|listed| listed.name).collect::<Vec<_>>());
        assert_eq!(Some(Epoch(7)), epoch_of(&written[0].name));
        let object = written[0].read(&*store).unwrap();
        assert_eq!((written[0].keys, written[0].groups), (object.keys(), object.groups()));
    }

    #[test]
    fn an_object_that_is_gone_or_another_is_damage() {
        let store = store::open("memory:").unwrap();
        let written = ObjectRef::write(&*store, Epoch(7), bytes(3, b"x")).unwrap();
        store.delete(&written.name).unwrap();
        let said = |written: &ObjectRef| written.read(&*store).unwrap_err().to_string();
        assert!(said(&written).ends_with("is damaged: it is missing"), "{}", said(&written));
        store.put_new(&written.name, &bytes(3, b"y")).unwrap();
        assert!(said(&written).ends_with("another object than the manifest names"), "{}", said(&written));
        let error = ObjectRef::write(&*store, Epoch(7), bytes(3, b"x")).unwrap_err().to_string();
        assert!(error.ends_with("there is something else under its name"), "{error}");
    }
}
