//! The records of an attack.

use std::collections::HashSet;
use std::ops::ControlFlow;

use tidewatch_connectors::generator::{Generator, Profile};
use tidewatch_connectors::memory::MemoryRecord;
use tidewatch_connectors::source::Raw;
use tidewatch_connectors::{Error, Intake, Source};
use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Offset, Span};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Partitions by name.
pub(crate) type Partitions = Vec<(String, Vec<MemoryRecord>)>;

struct Rows(Vec<MemoryRecord>);

impl Intake for Rows {
    fn header(&mut self, _line: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        self.0.push(MemoryRecord::raw(raw.payload));
        ControlFlow::Continue(())
    }
    fn row(&mut self, _offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        self.0.push(MemoryRecord::Row { time, key: key.clone(), values: values.to_vec() });
        ControlFlow::Continue(())
    }
    fn damaged(&mut self, _raw: Raw<'_>, _reason: String) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What a generator generates.
pub(crate) fn generated(profile: Profile) -> Partitions {
    let generator = Generator::new(profile).expect("the profile is right");
    let waker = timely::execute_directly(|worker| worker.sync_activator_for(vec![]));
    let read = |name: &String| {
        let mut rows = Rows(Vec::new());
        let mut reader = generator.open(name, None, waker.clone()).expect("it has the partition");
        reader.read(&mut rows).expect("a generator does not fail");
        rows.0
    };
    let names = generator.partitions().expect("a generator knows them");
    names.iter().map(|name| (name.clone(), read(name))).collect()
}

fn row(record: &MemoryRecord) -> (EventTime, &KeyText) {
    match record {
        MemoryRecord::Row { time, key, .. } => (*time, key),
        MemoryRecord::Raw { .. } => panic!("only rows can be shuffled: their time is known"),
    }
}

/// Shuffles each partition so that no record is more than `lateness` behind another one before it.
pub(crate) fn shuffled(partitions: &Partitions, lateness: Span, seed: u64) -> Partitions {
    let shuffle = |(name, records): &(String, Vec<MemoryRecord>)| {
        let mut arrival: Vec<_> = records
            .iter()
            .enumerate()
            .map(|(index, record)| {
                let random = xxh3_64_with_seed(&index.to_le_bytes(), seed) % (lateness.micros() as u64 + 1);
                (row(record).0.saturating_add(Span::from_micros(random as i64)), index)
            })
            .collect();
        arrival.sort_unstable();
        (name.clone(), arrival.into_iter().map(|(_, index)| records[index].clone()).collect())
    };
    partitions.iter().map(shuffle).collect()
}

/// Two records of one time, key and partition, if there are any.
pub(crate) fn ties(partitions: &Partitions) -> Option<&MemoryRecord> {
    partitions.iter().find_map(|(_, records)| {
        let mut seen = HashSet::new();
        records.iter().find(|record| {
            let (time, key) = row(record);
            !seen.insert((time, key.id))
        })
    })
}

/// Whether a partition has two records of one time.
pub(crate) fn simultaneous(partitions: &Partitions) -> bool {
    partitions.iter().any(|(_, records)| {
        let mut seen = HashSet::new();
        records.iter().any(|record| !seen.insert(row(record).0))
    })
}
