//! Records that do not reach keyed state.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::{Addressed, Describe, Event, EventTime, Fields, Offset, PartitionId};

/// How much of a record is kept.
pub(super) const RAW_BYTES: usize = 4096;

/// Why a record does not reach keyed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// It is behind its partition's watermark.
    Late,
    /// It is not what the format expects, or is dated in the future.
    Malformed,
}

/// A late or malformed record, with its position, so that nothing is lost silently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The logical time: the watermark of the partition before the record.
    pub time: EventTime,
    /// Why it was rejected.
    pub cause: Cause,
    /// The name of the source.
    pub source: Arc<str>,
    /// The name of the partition.
    pub partition: Arc<str>,
    /// The offset in the partition.
    pub offset: Offset,
    /// The line in the file, from one.
    pub line: Option<u64>,
    /// The event time, if it could be read.
    pub event_time: Option<EventTime>,
    /// What is wrong, in words.
    pub reason: String,
    /// The record as it was read, at most 4096 bytes of it.
    pub raw: Vec<u8>,
    /// How many bytes it had.
    pub raw_bytes: u64,
}

impl Describe for Rejected {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.time("time", self.time);
        fields.text("source", Some(&self.source));
        fields.text("partition", Some(&self.partition));
        fields.integer("offset", Some(self.offset.0));
        fields.integer("line", self.line);
        fields.text("event_time", self.event_time.map(|time| time.to_string()).as_deref());
        fields.text("reason", Some(&self.reason));
        let text = std::str::from_utf8(&self.raw).ok();
        fields.text("raw", text);
        let hex = || self.raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        fields.text("raw_hex", text.is_none().then(hex).as_deref());
        fields.integer("raw_bytes", Some(self.raw_bytes));
    }
}

/// Ordered by source, partition, offset.
impl Event for Rejected {
    fn time(&self) -> EventTime {
        self.time
    }
    fn order(&self, other: &Self) -> Ordering {
        let place = |rejected: &Self| (rejected.source.clone(), rejected.partition.clone(), rejected.offset);
        place(self).cmp(&place(other))
    }
    fn weight(&self) -> usize {
        size_of::<Self>() + self.reason.len() + self.raw.len()
    }
    fn shard_hash(&self) -> u64 {
        PartitionId::of(&self.source, &self.partition).hash()
    }
}

impl Addressed for Rejected {
    /// The name of its partition: so a broker keeps those of a partition in order.
    fn message_key(&self) -> Option<&[u8]> {
        Some(self.partition.as_bytes())
    }
    /// Where it was read, and what is wrong with it.
    fn headers(&self, each: &mut dyn FnMut(&'static str, &[u8])) {
        each("source", self.source.as_bytes());
        each("partition", self.partition.as_bytes());
        each("offset", self.offset.0.to_string().as_bytes());
        each("reason", self.reason.as_bytes());
    }
}
