//! A part of a store.

use std::sync::Arc;

use super::{Listed, Store};
use crate::Error;

/// The objects of a store whose names begin with a prefix, without it.
struct Within {
    store: Arc<dyn Store>,
    prefix: String,
}

/// The part of `store` whose names begin with `prefix`.
pub fn within(store: Arc<dyn Store>, prefix: impl Into<String>) -> Arc<dyn Store> {
    Arc::new(Within { store, prefix: prefix.into() })
}

impl Within {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Store for Within {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        self.store.put_new(&self.name(name), bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.store.get(&self.name(name))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let mut listed = self.store.list(&self.name(prefix))?;
        listed.iter_mut().for_each(|one| drop(one.name.drain(..self.prefix.len())));
        Ok(listed)
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.store.delete(&self.name(name))
    }

    fn object(&self, name: &str) -> String {
        self.store.object(&self.name(name))
    }
}
