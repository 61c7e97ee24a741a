//! Records per second through keyed state.
//!
//! Shape: generator → exchange by key group → buffer until the frontier → EWMA z → threshold → count; 10 thousand and
//! 1 million keys, 4 partitions, 200 records per millisecond of event time, disorder of 1 s. Reason: this is what every
//! pipeline pays, whatever it reads and computes. Unit: records per second, and the ratio to a plain
//! single-threaded loop with the same generator, the same buckets, the same sort and the same detector.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use criterion::{criterion_group, criterion_main, Criterion};
use hashbrown::HashMap;
use support::keyed::{detect, generator, LATENESS, PARTITIONS};
use support::{is_wanted, scaled, Workload};
use tidewatch::cluster::{run, Cluster};
use tidewatch::connectors::generator::Generator;
use tidewatch::connectors::source::Raw;
use tidewatch::connectors::{Control, Error, Intake, Reader, Source, Status};
use tidewatch::dataflows::operators::keyed::{Buckets, PartitionNumber, Row};
use tidewatch::dataflows::record::{KeyGroup, KeyNumber, KeyText};
use tidewatch::dataflows::{KeyId, Offset, PartitionId, Watermark};
use tidewatch::prelude::*;

fn tidewatch(generator: &Generator, workers: u16) -> u64 {
    let anomalies = Arc::new(AtomicU64::new(0));
    let (generator, count) = (generator.clone(), anomalies.clone());
    run(Cluster::threads(workers), &Control::default(), move |worker| detect(&generator, worker, &count))
        .expect("the run succeeds");
    anomalies.load(Ordering::Relaxed)
}

/// One partition of the plain loop.
struct Plain<'a> {
    partition: PartitionNumber,
    watermark: &'a mut Watermark,
    buckets: &'a mut Buckets,
    numbers: &'a mut Numbers,
    left: usize,
}

impl Intake for Plain<'_> {
    fn header(&mut self, _line: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn raw(&mut self, _raw: Raw<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn damaged(&mut self, _raw: Raw<'_>, _reason: String) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        if self.watermark.admit(time) {
            let number = self.numbers.of(key.id);
            let stretch = self.partition.stretch((offset.0 >> 32) as u32);
            self.buckets.push(time, stretch, number, offset.0 as u32, values);
        }
        self.left -= 1;
        if self.left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// The same computation in one loop, without a dataflow.
fn plain(generator: &Generator) -> u64 {
    let waker = timely::execute_directly(|worker| worker.sync_activator_for(vec![]));
    let mut buckets = Buckets::new(1);
    let mut partitions: Vec<(PartitionNumber, Box<dyn Reader>, Watermark)> = (0..PARTITIONS)
        .map(|partition| {
            let name = partition.to_string();
            let reader = generator.open(&name, None, waker.clone()).expect("it has this partition");
            (buckets.partition(PartitionId::of("generator", &name)), reader, Watermark::new(LATENESS))
        })
        .collect();
    let detector = EwmaZ::new(0.05).expect("in range");
    let mut numbers = Numbers::default();
    let mut states = Vec::new();
    let mut anomalies = 0;
    let mut step = |(time, row, values): (EventTime, Row, &[f64])| {
        let at = row.key.index();
        if states.len() <= at {
            states.resize(at + 1, Detector::start(&detector, 0));
        }
        let state = &mut states[at];
        anomalies += u64::from(detector.score(state, time, values).score.is_some_and(|score| score >= 5.0));
    };
    while !partitions.is_empty() {
        let lowest = partitions.iter().enumerate().min_by_key(|(_, (_, _, watermark))| watermark.time());
        let (at, _) = lowest.expect("there is one");
        let (partition, reader, watermark) = &mut partitions[at];
        let mut intake = Plain {
            partition: *partition,
            watermark,
            buckets: &mut buckets,
            numbers: &mut numbers,
            left: 1024,
        };
        if reader.read(&mut intake).expect("it reads") == Status::Ended {
            partitions.swap_remove(at);
        }
        let frontier = partitions.iter().map(|(_, _, watermark)| watermark.time()).min();
        buckets.release(frontier.unwrap_or(EventTime::MAX), |run| run.rows().for_each(&mut step));
    }
    anomalies
}

/// Where the state of each key is: looked up once per record, as it arrives.
#[derive(Default)]
struct Numbers(HashMap<KeyId, KeyNumber, ByKey>);

impl Numbers {
    fn of(&mut self, key: KeyId) -> KeyNumber {
        let next = self.0.len();
        *self.0.entry(key).or_insert_with(|| KeyNumber::new(KeyGroup::all().next().expect("256"), next))
    }
}

/// A key's identifier is a hash already.
#[derive(Clone, Copy, Default)]
struct ByKey;

impl std::hash::BuildHasher for ByKey {
    type Hasher = Half;
    fn build_hasher(&self) -> Half {
        Half(0)
    }
    fn hash_one<T: std::hash::Hash>(&self, key: T) -> u64 {
        let mut hasher = Half(0);
        key.hash(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    }
}

struct Half(u64);

impl std::hash::Hasher for Half {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let half = bytes.last_chunk().copied().unwrap_or_default();
        self.0 = u64::from_ne_bytes(half);
    }
    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

fn throughput(criterion: &mut Criterion) {
    for (name, keys, records) in
        [("throughput-10k", 10_000, 4_000_000), ("throughput-1m", 1_000_000, 6_000_000)]
    {
        if !is_wanted(name) {
            continue;
        }
        let records = scaled(records);
        let generator = generator(keys, PARTITIONS, records);
        let mut workload = Workload::new(name, records);
        workload.measure(
            criterion,
            &mut [
                ("plain", &mut || plain(&generator)),
                ("w1", &mut || tidewatch(&generator, 1)),
                ("w2", &mut || tidewatch(&generator, 2)),
            ],
        );
        workload.ratio("w1", "plain", 0.9);
        workload.ratio("w2", "w1", 1.6);
    }
}

criterion_group!(benches, throughput);
criterion_main!(benches);
