//! A program of one's own, for the tests: worker 1 takes a millisecond for each batch of records, and the source has many.

use std::time::Duration;

use tidewatch::connectors::generator::{Generator, Profile};
use tidewatch::prelude::*;
use timely::dataflow::operators::Inspect;

fn main() -> Result<(), Error> {
    execute(std::env::args(), |worker| {
        let is_slow = worker.index() == 1;
        let profile =
            Profile { records: 100_000_000, keys: 1000, partitions: 4, rate: 1e5, ..Profile::default() };
        let generator = Generator::new(profile)?;
        worker.dataflow::<EventTime, _, _>(|scope| {
            let input = Input::of_rows(generator, Schema::new(["key"], ["value"])).ahead(8 << 20);
            let records = input.ingest(scope).records;
            let verdicts = records.keyed(EwmaZ::new(0.1)?.then(above(1e6).and_normal()));
            verdicts.inspect(move |_| {
                if is_slow {
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            Ok(())
        })
    })
}
