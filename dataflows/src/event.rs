//! What leaves a dataflow, and how it describes itself to any format.

mod revision;

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use timely::ExchangeData;

use crate::record::KeyGroup;
use crate::{EventTime, Key, Record};

pub use revision::{Change, Revision, RevisionId};

/// Receives the fields of something in a fixed order; each output format is one implementation.
pub trait Fields {
    /// A text, or nothing.
    fn text(&mut self, name: &str, value: Option<&str>);
    /// An instant.
    fn time(&mut self, name: &str, value: EventTime);
    /// A number, or nothing; formats write a number that is not finite as nothing.
    fn number(&mut self, name: &str, value: Option<f64>);
    /// A whole number, or nothing.
    fn integer(&mut self, name: &str, value: Option<u64>);
    /// A truth value.
    fn flag(&mut self, name: &str, value: bool);
    /// The values of a key's parts.
    fn key(&mut self, name: &str, key: &Key);
}

/// Something that can be written in any format.
///
/// # Law
///
/// The same fields in the same order at every call; what is absent is given as `None`. Formats with columns take
/// them from the first call.
pub trait Describe {
    /// Gives each field to `fields`.
    fn describe(&self, fields: &mut dyn Fields);
}

/// Something of which a broker is told more than what it says.
pub trait Addressed {
    /// What a broker is told to be its key; `None` if it has none.
    fn message_key(&self) -> Option<&[u8]> {
        None
    }

    /// Gives `each` the names and values of what a broker is told beside it.
    fn headers(&self, _each: &mut dyn FnMut(&'static str, &[u8])) {}
}

/// Something that happened at an event time, ready to be egressed.
pub trait Event: Describe + Addressed + ExchangeData + Clone {
    /// The logical time under which it is final.
    fn time(&self) -> EventTime;

    /// The order within one time; events that are equal in it keep the order in which they were emitted.
    fn order(&self, other: &Self) -> Ordering;

    /// About how many bytes it takes while it waits in a sink, if sources are to wait for it: where what is emitted is not
    /// bounded by what is released.
    fn weight(&self) -> usize {
        0
    }

    /// What decides which shard of a sink writes it: the same for all events whose order among each other matters.
    fn shard_hash(&self) -> u64;
}

/// Something that is said before it is final, and may be taken back.
pub trait Provisional: Describe + Addressed + ExchangeData + Clone {
    /// The event time of what is said.
    fn time(&self) -> EventTime;
}

/// The shard hash of what concerns a key: its group, so that with as many shards as workers nothing leaves its worker.
fn of_group(key: &Key) -> u64 {
    key.id().group().index() as u64
}

/// What a key's logic emitted, with the key and the time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Emission<O> {
    /// The time of the record or timer that caused it.
    pub time: EventTime,
    /// Whose logic it was.
    pub key: Key,
    /// What it emitted.
    pub value: O,
}

impl<O: Describe> Describe for Emission<O> {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.time("time", self.time);
        fields.key("key", &self.key);
        self.value.describe(fields);
    }
}

/// Ordered by key, then as the value says.
impl<O: Describe + Ranked + ExchangeData + Clone> Event for Emission<O> {
    fn time(&self) -> EventTime {
        self.time
    }
    fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then_with(|| self.value.rank(&other.value))
    }
    fn shard_hash(&self) -> u64 {
        of_group(&self.key)
    }
}

impl<O> Addressed for Emission<O> {
    fn message_key(&self) -> Option<&[u8]> {
        Some(self.key.as_str().as_bytes())
    }
}

/// How one thing that a key emits at a time compares with another.
pub trait Ranked {
    /// The order among them; by default, that of emission.
    fn rank(&self, _other: &Self) -> Ordering {
        Ordering::Equal
    }

    /// What names it among them, as its kind and the name of a detection do; by default, all are of one series.
    fn series(&self) -> [&str; 2] {
        ["", ""]
    }

    /// Whether the other says the very same, bit for bit.
    fn same(&self, other: &Self) -> bool;
}

impl Ranked for Record {
    fn same(&self, other: &Self) -> bool {
        let bits = |record: &Self| record.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        self.time == other.time && bits(self) == bits(other)
    }
}

impl Describe for Record {
    fn describe(&self, fields: &mut dyn Fields) {
        for (index, value) in self.values.iter().enumerate() {
            fields.number(&format!("value{index}"), Some(*value));
        }
    }
}

impl Ranked for f64 {
    fn same(&self, other: &Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Describe for f64 {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.number("value", Some(*self));
    }
}

/// What happened to the state of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    /// The time of the record that caused it.
    pub time: EventTime,
    /// The key whose state it was.
    pub key: Key,
    /// The key's group.
    pub group: KeyGroup,
    /// What happened.
    pub cause: KeyCause,
    /// The key's last record.
    pub last_record: EventTime,
}

/// Why a key's state went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyCause {
    /// The key group had too many keys.
    KeyLimit,
    /// The key group had too many bytes of state.
    StateLimit,
}

impl Describe for KeyEvent {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.time("time", self.time);
        fields.key("key", &self.key);
        fields.integer("group", Some(self.group.index() as u64));
        let cause = match self.cause {
            KeyCause::KeyLimit => "evicted: limits.keys",
            KeyCause::StateLimit => "evicted: limits.state",
        };
        fields.text("event", Some(cause));
        fields.time("last_record", self.last_record);
    }
}

impl Event for KeyEvent {
    fn time(&self) -> EventTime {
        self.time
    }
    fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key).then(self.cause.cmp(&other.cause))
    }
    fn shard_hash(&self) -> u64 {
        self.group.index() as u64
    }
}

impl Addressed for KeyEvent {
    fn message_key(&self) -> Option<&[u8]> {
        Some(self.key.as_str().as_bytes())
    }
}
