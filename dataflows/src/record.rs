//! Records, their keys, and the batches in which they travel.

mod batch;
mod dictionary;
mod key;
mod name;
mod rows;

use std::fmt;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::EventTime;

pub use batch::{Head, Origin, RowBatch};
pub use dictionary::{Dictionary, Recoded, Recoding};
pub use key::{Key, KeyGroup, KeyId, KeyNumber, KeyText, KEY_GROUPS, KEY_PARTS, KEY_SEPARATOR};
pub use name::Name;
pub(crate) use rows::{recycle, Rows};

/// One observation of one key: when, and the value of each named field in the pipeline's order.
///
/// A missing value is NaN.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was observed.
    pub time: EventTime,
    /// One number for each value field; NaN where it is missing.
    pub values: Vec<f64>,
}

impl Record {
    /// Makes a record.
    pub fn new(time: EventTime, values: impl Into<Vec<f64>>) -> Self {
        Self { time, values: values.into() }
    }
}

/// Where a record stands in its partition: a number that grows with every record, and at which reading can start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize,
)]
#[repr(transparent)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a source, identified by the hash of both names, never by the order of its discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize)]
#[repr(transparent)]
#[serde(transparent)]
pub struct PartitionId(u64);

impl PartitionId {
    /// The identifier of partition `partition` of source `source`.
    pub fn of(source: &str, partition: &str) -> Self {
        let mut name = Vec::with_capacity(source.len() + partition.len() + 1);
        name.extend_from_slice(source.as_bytes());
        name.push(0);
        name.extend_from_slice(partition.as_bytes());
        Self(xxh3_64(&name))
    }

    /// The hash itself.
    pub fn hash(self) -> u64 {
        self.0
    }
}
