//! What the entries of the job's log say.

use serde::{Deserialize, Serialize};
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::store::{Entry, Epoch};
use tidewatch_connectors::{Decision, Error};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::{EventTime, PartitionId};

use super::ObjectRef;
use crate::recovery::{Plan, Reach};

/// The version that is written, and the only one that is read.
const VERSION: u8 = 2;

/// What an entry of the job's log says: the format version (a byte), and this as postcard writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A run has started.
    Began(Began),
    /// Watermarks were forced.
    Decisions(Vec<Decision>),
    /// Partitions joined, and are read from here.
    Joined(Vec<Position>),
    /// There is a checkpoint.
    Manifest(Manifest),
    /// A process of the run has ended whoever wrote to its sinks.
    Fenced {
        /// Its index.
        process: u64,
        /// How far its shards are committed.
        reach: Reach,
    },
    /// The run goes on from here.
    Resumed(Plan),
    /// Reference data is in force from a time on.
    Referred(Edition<String>),
}

/// Who has started a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Began {
    /// Of what in the pipeline changes output.
    pub hash: u64,
    /// The version of the program.
    pub version: String,
    /// The machine, for messages.
    pub host: String,
    /// The number of the process there, for messages.
    pub process: u32,
    /// What all processes of the run have in common, and no other run.
    pub run: u64,
}

/// A checkpoint: all that a run needs to go on from a boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What is before it, is in the state; what is not, is to be read again.
    pub boundary: EventTime,
    /// The run that wrote it.
    pub epoch: Epoch,
    /// Of what in the pipeline changes output.
    pub hash: u64,
    /// Whether the run has stopped there for another pipeline to go on: everything before it is committed, and nothing else.
    pub is_savepoint: bool,
    /// How many workers the run had.
    pub workers: u32,
    /// Where each partition is read on from.
    pub partitions: Vec<Position>,
    /// What the state consists of, in the order of boundaries.
    pub objects: Vec<ObjectRef>,
    /// The reference data that is in force there, and later on.
    pub editions: Vec<Edition<String>>,
}

impl Began {
    /// That this process starts a run now.
    pub(crate) fn now(hash: u64, run: u64) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { hash, version, host, process: std::process::id(), run }
    }
}

impl Manifest {
    /// Where a partition is read on from.
    pub fn position(&self, partition: PartitionId) -> Option<&Position> {
        self.partitions.iter().find(|position| position.partition() == partition)
    }
}

impl Body {
    /// The body of an entry that says it.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a body holds nothing unserialisable")
    }

    /// What an entry says.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if another version of the program wrote it, or it is none.
    pub fn decode(entry: &Entry) -> Result<Self, Error> {
        let said = match entry.body.split_first() {
            Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|error| error.to_string()),
            Some((version, _)) => {
                Err(format!("it has format version {version}, but this build reads version {VERSION}"))
            }
            None => Err("it is empty".to_owned()),
        };
        said.map_err(|reason| Error::Damaged {
            object: format!("entry {} of the job's log", entry.number),
            reason,
        })
    }

    /// What entries say, with their numbers.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    pub fn decode_all(entries: &[Entry]) -> Result<Vec<(u64, Self)>, Error> {
        entries.iter().map(|entry| Ok((entry.number, Self::decode(entry)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::Offset;

    use super::*;
    use crate::checkpoint::KeyGroups;

    #[test]
    fn what_is_written_is_read() {
        let position = Position {
            source: "requests".to_owned(),
            name: "requests-0".to_owned(),
            offset: Offset(7),
            watermark: EventTime::from_micros(5),
            newest: EventTime::from_micros(-6),
        };
        let object = ObjectRef {
            name: "state/1/2".to_owned(),
            bytes: 100,
            keys: 3,
            evicted: 1,
            groups: KeyGroups::of_worker(1, 2),
            checksum: u64::MAX,
            boundary: EventTime::from_micros(2),
        };
        let edition = Edition { from: EventTime::from_micros(3), value: "from,to".to_owned() };
        let manifest = Manifest {
            boundary: EventTime::from_micros(2),
            epoch: Epoch(4),
            hash: 9,
            is_savepoint: false,
            workers: 2,
            partitions: vec![position.clone()],
            objects: vec![object],
            editions: vec![edition.clone()],
        };
        let began = Began { hash: 9, version: "0.1.0".to_owned(), host: "a".to_owned(), process: 1, run: 3 };
        let decision = Decision {
            partition: position.partition(),
            offset: Offset(8),
            watermark: EventTime::from_micros(9),
        };
        for body in [
            Body::Began(began),
            Body::Decisions(vec![decision]),
            Body::Joined(vec![position]),
            Body::Manifest(manifest),
            Body::Referred(edition),
        ] {
            let entry = |body| Entry { number: 3, epoch: Epoch(4), body };
            let mut encoded = body.encode();
            assert_eq!(body, Body::decode(&entry(encoded.clone())).unwrap());
            encoded[0] = 1;
            let said = Body::decode(&entry(encoded)).unwrap_err().to_string();
            let expected = "entry 3 of the job's log is damaged: it has format version 1, but this build reads version 2";
            assert_eq!(expected, said);
            assert!(Body::decode(&entry(Vec::new())).is_err());
        }
    }
}
