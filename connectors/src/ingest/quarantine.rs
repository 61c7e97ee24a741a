//! Records that are set aside by name, because user code cannot handle them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Offset};

use crate::source::{Decoded, Raw};
use crate::{Error, Intake};

/// What the dead letter of a quarantined record says.
const REASON: &str = "quarantined";

/// Records of a source that no format, detector or logic is to see, by partition and offset: each is a dead letter, as if
/// it could not be decoded.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::ingest::Quarantine;
///
/// let quarantine: Quarantine = [("b.csv", 7), ("a.csv", 40)].into_iter().collect();
/// assert_eq!(quarantine.iter().collect::<Vec<_>>(), [("a.csv", 40), ("b.csv", 7)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine(BTreeMap<Arc<str>, BTreeSet<u64>>);

impl<S: AsRef<str>> Extend<(S, u64)> for Quarantine {
    fn extend<I: IntoIterator<Item = (S, u64)>>(&mut self, records: I) {
        for (partition, offset) in records {
            self.0.entry(partition.as_ref().into()).or_default().insert(offset);
        }
    }
}

impl<S: AsRef<str>> FromIterator<(S, u64)> for Quarantine {
    fn from_iter<I: IntoIterator<Item = (S, u64)>>(records: I) -> Self {
        let mut quarantine = Self::default();
        quarantine.extend(records);
        quarantine
    }
}

impl Quarantine {
    /// The records, in order: the name of the partition and the offset.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().flat_map(|(partition, offsets)| offsets.iter().map(|offset| (&**partition, *offset)))
    }

    /// Those of one partition.
    pub(crate) fn of(&self, partition: &str) -> Quarantined {
        Quarantined(self.0.get(partition).cloned().unwrap_or_default())
    }

    /// The partitions that are not among `found`.
    pub(super) fn beyond<'a>(&'a self, found: &'a [String]) -> impl Iterator<Item = &'a str> {
        let is_found = |name: &str| found.iter().any(|found| found == name);
        self.0.keys().map(|name| &**name).filter(move |name| !is_found(name))
    }
}

/// The offsets of one partition that are set aside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quarantined(BTreeSet<u64>);

impl Quarantined {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(crate) fn has(&self, offset: Offset) -> bool {
        self.0.contains(&offset.0)
    }
}

/// What a record without a payload says, for people.
pub(super) fn spelled(key: &KeyText, values: &[f64]) -> String {
    format!("{},{values:?}", key.key)
}

/// Takes the records of a partition of which some are set aside; a partition without such ones needs none.
pub(super) struct Sieve<'a> {
    pub(super) inner: &'a mut dyn Intake,
    pub(super) quarantined: &'a Quarantined,
}

impl Intake for Sieve<'_> {
    fn header(&mut self, line: &[u8]) -> Result<(), Error> {
        self.inner.header(line)
    }

    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        match self.quarantined.has(raw.offset) {
            true => self.inner.damaged(raw, REASON.to_owned()),
            false => self.inner.raw(raw),
        }
    }

    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        if !self.quarantined.has(offset) {
            return self.inner.row(offset, time, key, values);
        }
        let payload = spelled(key, values);
        let raw = Raw::new(offset, payload.as_bytes());
        self.inner.damaged(raw, REASON.to_owned())
    }

    fn decoded(&mut self, record: Decoded<'_>) -> ControlFlow<()> {
        match self.quarantined.has(record.offset) {
            true => record.with_raw(|raw| self.inner.damaged(raw, REASON.to_owned())),
            false => self.inner.decoded(record),
        }
    }

    fn damaged(&mut self, raw: Raw<'_>, reason: String) -> ControlFlow<()> {
        self.inner.damaged(raw, reason)
    }
}
