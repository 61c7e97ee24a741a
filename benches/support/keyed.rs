//! Keyed state under load, for the benches that ask what its throughput depends on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tidewatch::connectors::generator::{Generator, Profile};
use tidewatch::prelude::*;
use timely::dataflow::operators::Inspect;
use timely::worker::Worker;

pub(crate) const PARTITIONS: u32 = 4;
pub(crate) const LATENESS: Span = Span::from_secs(1);

/// 200 records per millisecond of event time, with disorder up to the lateness.
pub(crate) fn generator(keys: u32, partitions: u32, records: u64) -> Generator {
    let profile = Profile {
        keys,
        partitions,
        records,
        rate: 200_000.0,
        disorder: LATENESS,
        anomalies: 0.001,
        ..Profile::default()
    };
    Generator::new(profile).expect("the profile is right")
}

/// Builds generator → exchange → buffer → EWMA z → threshold on a worker, which counts the anomalies that it finds.
pub(crate) fn detect(
    generator: &Generator,
    worker: &mut Worker,
    anomalies: &Arc<AtomicU64>,
) -> Result<(), Error> {
    let input = Input::of_rows(generator.clone(), Schema::new(["key"], ["value"])).lateness(LATENESS);
    let anomalies = anomalies.clone();
    worker.dataflow::<EventTime, _, _>(|scope| {
        let verdicts = input.ingest(scope).records.keyed(EwmaZ::new(0.05)?.then(above(5.0)));
        verdicts.inspect(move |_| {
            anomalies.fetch_add(1, Ordering::Relaxed);
        });
        Ok(())
    })
}
