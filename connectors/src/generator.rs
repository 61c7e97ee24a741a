//! Makes records up: seasonal values with noise, disorder, late records and labelled anomalies.

use std::io::{self, Write};
use std::sync::Arc;

use tidewatch_dataflows::{EventTime, Key, Offset};
use timely::scheduling::SyncActivator;

use crate::source::{Intake, Reader, Source, Status};
use crate::Error;

mod profile;
mod sequence;

pub use profile::{Profile, PARAMETERS};
pub use sequence::AnomalyKind;
use sequence::{Generated, Sequence};

/// Generates records with one value each.
///
/// A record is a function of the profile, its partition and its index, which is its offset: so partitions can be
/// opened at any offset and read in any order. The partitions are `0`, `1`, …; number n of all records is in
/// partition n mod partitions, and of key number n mod keys. Clones share their tables.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::generator::{Generator, Profile};
///
/// let generator = Generator::new(Profile { records: 1, ..Profile::default() })?;
/// let mut out = Vec::new();
/// generator.write_csv(&mut out, false).unwrap();
/// assert!(out.starts_with(b"timestamp,key,value\n2024-01-01T00:00:00Z,key-000000,"));
/// # Ok::<(), tidewatch_connectors::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Generator(Arc<Sequence>);

/// Where an anomaly was injected.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The offset of the record.
    pub offset: Offset,
    /// Its time.
    pub time: EventTime,
    /// Its key.
    pub key: Key,
    /// What makes it an anomaly.
    pub kind: AnomalyKind,
}

impl Generator {
    /// Generates what `profile` describes.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if a field is out of range.
    pub fn new(profile: Profile) -> Result<Self, Error> {
        profile.check().map_err(|error| Error::Configuration(format!("generator: {error}")))?;
        Ok(Self(Arc::new(Sequence::new(profile))))
    }

    /// What it generates.
    pub fn profile(&self) -> &Profile {
        self.0.profile()
    }

    /// The anomalies in a partition, in the order of their offsets.
    pub fn labels(&self, partition: u32) -> impl Iterator<Item = Label> + '_ {
        (0..self.0.len(partition)).filter_map(move |index| {
            let kind = self.0.anomaly_at(partition, index)?;
            let (record, key) = self.record(partition, index);
            Some(Label { offset: Offset(index), time: record.time, key: key.clone(), kind })
        })
    }

    /// Writes all records as comma-separated values: `timestamp`, `key`, `value`, and with `labels` also `label`,
    /// which is 1 for an anomaly and otherwise 0.
    ///
    /// Numbers are written in full, so reading them gives the very values. The partitions take turns.
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write_csv(&self, mut out: impl Write, labels: bool) -> io::Result<()> {
        writeln!(out, "timestamp,key,value{}", if labels { ",label" } else { "" })?;
        self.each(|record, key| {
            write!(out, "{},{key},{}", record.time, record.value)?;
            if labels {
                write!(out, ",{}", u8::from(record.anomaly.is_some()))?;
            }
            writeln!(out)
        })
    }

    /// Writes all records as JSON lines, with the fields of [`Generator::write_csv`].
    ///
    /// # Errors
    ///
    /// What `out` says.
    pub fn write_json(&self, mut out: impl Write, labels: bool) -> io::Result<()> {
        self.each(|record, key| {
            let (time, value) = (record.time, record.value);
            // Neither a time nor a key of ours needs escaping, and the value is finite.
            write!(out, "{{\"timestamp\":\"{time}\",\"key\":\"{key}\",\"value\":{value}")?;
            if labels {
                write!(out, ",\"label\":{}", u8::from(record.anomaly.is_some()))?;
            }
            writeln!(out, "}}")
        })
    }

    fn each(&self, mut write: impl FnMut(Generated, &Key) -> io::Result<()>) -> io::Result<()> {
        let partitions = self.profile().partitions;
        let longest = self.0.len(0);
        for index in 0..longest {
            for partition in (0..partitions).filter(|partition| index < self.0.len(*partition)) {
                let (record, key) = self.record(partition, index);
                write(record, key)?;
            }
        }
        Ok(())
    }

    fn record(&self, partition: u32, index: u64) -> (Generated, &Key) {
        let key = self.0.key_of(partition, index);
        (self.0.at(partition, index, key), &self.0.key(key).key)
    }
}

impl Source for Generator {
    fn kind(&self) -> &'static str {
        "generator"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok((0..self.profile().partitions).map(|partition| partition.to_string()).collect())
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        _waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let from = from.unwrap_or_default();
        let number = partition.parse().ok().filter(|number| *number < self.profile().partitions);
        let partition = number
            .ok_or_else(|| Error::Configuration(format!("the generator has no partition \"{partition}\"")))?;
        Ok(Box::new(GeneratorReader {
            sequence: Arc::clone(&self.0),
            partition,
            next: from.0,
            length: self.0.len(partition),
            key: self.0.key_of(partition, from.0),
        }))
    }

    /// The number of records.
    fn size(&self) -> Option<u64> {
        Some(self.profile().records)
    }
}

struct GeneratorReader {
    sequence: Arc<Sequence>,
    partition: u32,
    next: u64,
    length: u64,
    /// The number of the next record's key, kept because a division per record is dear.
    key: usize,
}

impl Reader for GeneratorReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let profile = self.sequence.profile();
        let keys = profile.keys as usize;
        let step = profile.partitions as usize % keys;
        while self.next < self.length {
            let (offset, key) = (Offset(self.next), self.key);
            let record = self.sequence.at(self.partition, self.next, key);
            self.next += 1;
            self.key += step;
            if self.key >= keys {
                self.key -= keys;
            }
            if intake.row(offset, record.time, self.sequence.key(key), &[record.value]).is_break() {
                return Ok(Status::More);
            }
        }
        Ok(Status::Ended)
    }

    fn position(&self) -> u64 {
        self.next
    }

    fn label(&self, offset: Offset) -> Option<String> {
        Some(self.sequence.anomaly_at(self.partition, offset.0)?.name().to_owned())
    }
}

#[cfg(test)]
mod tests;
