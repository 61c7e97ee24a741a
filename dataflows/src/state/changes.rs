//! What keyed state became, as bytes on their way to where it survives.

use std::ops::Range;

use crate::{EventTime, Key};

/// What is kept of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The text of the key.
    pub key: &'a str,
    /// The time of its last record.
    pub last: EventTime,
    /// What [`Logic::save`](crate::Logic::save) made of its state; nothing if it has none any more.
    pub state: Option<&'a [u8]>,
}

/// Some of the keys of one worker that changed between the last boundary and this one, with what they were at this one.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::state::{Change, Changes};
/// use tidewatch_dataflows::{EventTime, Key};
///
/// let (boundary, last) = (EventTime::from_micros(9), EventTime::from_micros(5));
/// let mut changes = Changes::at(boundary);
/// changes.push(&Key::new("a"), last, |bytes| bytes.push(7));
/// changes.remove(&Key::new("b"), last);
/// let kept: Vec<_> = changes.iter().collect();
/// assert_eq!(Change { key: "a", last, state: Some(&[7]) }, kept[0]);
/// assert_eq!(Change { key: "b", last, state: None }, kept[1]);
/// ```
#[derive(Clone, Debug)]
pub struct Changes {
    /// Every record and timer before it has been seen, and none other.
    pub boundary: EventTime,
    /// Whether no more changes of the worker will follow for this boundary.
    pub is_last: bool,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Entry {
    last: EventTime,
    key: Range<usize>,
    state: Option<Range<usize>>,
}

impl Changes {
    /// No changes at this boundary.
    pub fn at(boundary: EventTime) -> Self {
        Self { boundary, is_last: false, entries: Vec::new(), bytes: Vec::new() }
    }

    /// Adds a key with the state that `save` appends.
    pub fn push(&mut self, key: &Key, last: EventTime, save: impl FnOnce(&mut Vec<u8>)) {
        let key = self.append(|bytes| bytes.extend_from_slice(key.as_str().as_bytes()));
        let state = Some(self.append(save));
        self.entries.push(Entry { last, key, state });
    }

    /// Adds a key that has no state any more.
    pub fn remove(&mut self, key: &Key, last: EventTime) {
        let key = self.append(|bytes| bytes.extend_from_slice(key.as_str().as_bytes()));
        self.entries.push(Entry { last, key, state: None });
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }

    /// The changes, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.entries.iter().map(|Entry { last, key, state }| Change {
            key: std::str::from_utf8(&self.bytes[key.clone()]).expect("the text of a key was put there"),
            last: *last,
            state: state.clone().map(|state| &self.bytes[state]),
        })
    }

    /// How many keys have changed.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes the keys and states take.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
