//! What pipeline files can name.

use std::collections::BTreeMap;

/// What a pipeline file can name.
pub trait Named {
    /// The name in pipeline files.
    fn name(&self) -> &'static str;
}

/// What is known of the things of one sort, by name: those that are built in, and those that a program adds.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors;
///
/// let mut detectors = detectors::built_in();
/// let slow = detectors::DetectorInfo { name: "slow", ..detectors.get("ewma-z").cloned().unwrap() };
/// detectors.add(slow);
/// assert!(detectors.names().any(|name| name == "slow"));
/// ```
#[derive(Clone, Debug)]
pub struct Catalogue<I>(BTreeMap<&'static str, I>);

impl<I: Named> Catalogue<I> {
    /// Adds an entry, in place of one of the same name.
    pub fn add(&mut self, info: I) {
        self.0.insert(info.name(), info);
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&I> {
        self.0.get(name)
    }

    /// All entries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &I> {
        self.0.values()
    }

    /// All names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }
}

impl<I: Named> FromIterator<I> for Catalogue<I> {
    fn from_iter<T: IntoIterator<Item = I>>(infos: T) -> Self {
        Self(infos.into_iter().map(|info| (info.name(), info)).collect())
    }
}
