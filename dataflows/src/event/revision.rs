//! What is said before it is final, and what becomes of it.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use timely::ExchangeData;

use super::{Addressed, Describe, Fields, Provisional};
use crate::{Emission, EventTime, Key};

/// Names something that was said of a key: stable whatever is said before or after it.
///
/// It is a hash of key, event time, series, and of the number among what the key emits under those; so a verdict keeps
/// its identifier when records are inserted before it. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(u64);

impl RevisionId {
    /// The identifier of emission `ordinal`, from 0, of what `key` emits in `series` at `time`.
    pub fn of(key: &Key, time: EventTime, series: [&str; 2], ordinal: u64) -> Self {
        let of_key = xxh3_64(key.as_str().as_bytes());
        let of_series = series.iter().fold(of_key, |seed, part| xxh3_64_with_seed(part.as_bytes(), seed));
        let mut place = [0; 16];
        place[..8].copy_from_slice(&time.micros().to_le_bytes());
        place[8..].copy_from_slice(&ordinal.to_le_bytes());
        Self(xxh3_64_with_seed(&place, of_series))
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A change to what is said of a key at an event time.
///
/// # Law
///
/// Of one identifier, revisions are numbered upwards as they are sent. Whoever keeps, for each identifier, what the
/// highest revision says, has the final emissions of every time that the frontier has passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision<O> {
    /// What it is about.
    pub id: RevisionId,
    /// How many changes to the same came before; [`Revision::only`] leaves some out.
    pub revision: u32,
    /// The event time of what is said.
    pub time: EventTime,
    /// Of whom it is said.
    pub key: Key,
    /// What changes.
    pub change: Change<O>,
}

/// What becomes of what is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change<O> {
    /// It is said for the first time, or again after it was retracted.
    Provisional(O),
    /// Another thing is said in its place.
    Revised {
        /// What was said.
        was: O,
        /// What is said now.
        is: O,
    },
    /// It is no longer said.
    Retracted(O),
    /// It is final.
    Confirmed(O),
}

impl<O> Change<O> {
    /// What formats call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Provisional(_) => "provisional",
            Self::Revised { .. } => "revised",
            Self::Retracted(_) => "retracted",
            Self::Confirmed(_) => "confirmed",
        }
    }

    /// What is said now, or, if nothing is, what was said.
    pub fn value(&self) -> &O {
        match self {
            Self::Provisional(value) | Self::Retracted(value) | Self::Confirmed(value) => value,
            Self::Revised { is, .. } => is,
        }
    }
}

impl<O> Revision<O> {
    /// The same change seen by someone who takes notice of what `keep` accepts alone: what is revised into something
    /// acceptable is said for the first time, what is revised into something else is retracted.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidewatch_dataflows::event::{Change, Revision, RevisionId};
    /// use tidewatch_dataflows::{EventTime, Key};
    ///
    /// let (key, time) = (Key::new("k"), EventTime::MIN);
    /// let id = RevisionId::of(&key, time, ["verdict", "d"], 0);
    /// let revised = Revision { id, revision: 1, time, key, change: Change::Revised { was: 1.0, is: 5.0 } };
    /// let said = revised.only(|score| *score > 4.0).map(|revision| revision.change);
    /// assert_eq!(said, Some(Change::Provisional(5.0)));
    /// ```
    pub fn only(self, keep: impl Fn(&O) -> bool) -> Option<Self> {
        self.narrow(|value| keep(&value).then_some(value))
    }

    /// The same change seen by someone who takes notice of what `read` makes something of, as what it makes of it.
    pub fn narrow<P>(self, read: impl Fn(O) -> Option<P>) -> Option<Revision<P>> {
        let change = match self.change {
            Change::Revised { was, is } => match (read(was), read(is)) {
                (Some(was), Some(is)) => Change::Revised { was, is },
                (Some(was), None) => Change::Retracted(was),
                (None, Some(is)) => Change::Provisional(is),
                (None, None) => return None,
            },
            Change::Provisional(is) => Change::Provisional(read(is)?),
            Change::Retracted(was) => Change::Retracted(read(was)?),
            Change::Confirmed(is) => Change::Confirmed(read(is)?),
        };
        let Self { id, revision, time, key, .. } = self;
        Some(Revision { id, revision, time, key, change })
    }

    /// The change as updates of a collection: what is no longer said is taken away, what is said now is added.
    pub fn updates(self) -> impl Iterator<Item = (Emission<O>, EventTime, isize)> {
        let Self { time, key, change, .. } = self;
        let (was, is) = match change {
            Change::Provisional(is) => (None, Some(is)),
            Change::Revised { was, is } => (Some(was), Some(is)),
            Change::Retracted(was) => (Some(was), None),
            Change::Confirmed(_) => (None, None),
        };
        let update = move |(value, diff)| (Emission { time, key: key.clone(), value }, time, diff);
        was.map(|was| (was, -1)).into_iter().chain(is.map(|is| (is, 1))).map(update)
    }
}

/// The key of whom it is said: so a broker keeps the revisions of an identifier in order.
impl<O> Addressed for Revision<O> {
    fn message_key(&self) -> Option<&[u8]> {
        Some(self.key.as_str().as_bytes())
    }
}

impl<O: Describe + ExchangeData + Clone> Provisional for Revision<O> {
    fn time(&self) -> EventTime {
        self.time
    }
}

impl<O: Describe> Describe for Revision<O> {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.time("time", self.time);
        fields.key("key", &self.key);
        fields.text("id", Some(&self.id.to_string()));
        fields.text("event", Some(self.change.name()));
        fields.integer("revision", Some(u64::from(self.revision)));
        self.change.value().describe(fields);
    }
}
