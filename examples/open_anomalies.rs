//! Counts the files that are in an anomaly, as event time goes: `cargo run --example open_anomalies`
//!
//! Counted are provisional verdicts, less what is revised or retracted; so each count is final once it is written.

use tidewatch::prelude::*;

fn main() -> Result<(), Error> {
    tidewatch::execute(std::env::args(), |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            let input = File::glob("examples/data/*.csv").format(Csv::header().value("value"));
            let logic = EwmaZ::new(0.05)?.then(Threshold::new(3.0, 1.0)?.and_turns());
            let keyed = input.ingest(scope).records.keyed_eagerly(Limits::default(), Eager::default(), logic);
            let open = keyed.provisional.accumulate().count_open(|_file| "all".to_owned());
            // A count that no longer holds is taken away: its change is -1.
            let changes = open.inner.map(|((label, open), time, change)| Emission {
                time,
                key: Key::from_parts([&*label, &open.to_string()]),
                value: change as f64,
            });
            changes.egress(Output::json(Stdout::new(), Schema::new(["files", "open"], ["change"])));
            Ok(())
        })
    })
}
