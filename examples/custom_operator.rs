//! A dataflow with a logic of one's own: detects jumps in the difference from record to record.
//!
//! `cargo run --example custom_operator -- -w 2` writes the jumps in `data/features/requests.csv` to standard output.

use tidewatch::prelude::*;

/// Replaces each record by its difference from the one before it of the same key.
struct Difference;

impl Logic for Difference {
    type In = Record;
    type Out = Record;
    /// The values of the last record; none before the first one.
    type State = Vec<f64>;

    fn start(&self, _key: &Key) -> Vec<f64> {
        Vec::new()
    }

    fn on_record(
        &self,
        last: &mut Vec<f64>,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Record),
    ) {
        if !last.is_empty() {
            let difference: Vec<f64> =
                input.values.iter().zip(&*last).map(|(now, then)| now - then).collect();
            out(time, Record::new(time, difference));
        }
        last.clone_from(&input.values);
    }

    fn save(&self, last: &Vec<f64>, out: &mut Vec<u8>) {
        state::save(last, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Vec<f64>, StateError> {
        state::restore("difference", bytes)
    }
}

/// What runs for each key.
pub(crate) fn jumps() -> impl Logic<In = Record, Out = Verdict> {
    let detector = EwmaZ::new(0.1).expect("0.1 is in range");
    Difference.then(detector).then(above(5.0))
}

fn main() -> Result<(), Error> {
    execute(std::env::args(), |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            let requests = File::glob("examples/data/features/requests.csv")
                .format(Csv::header().key(["service"]).value("latency"));
            let schema = requests.schema().clone();
            requests.ingest(scope).records.keyed(jumps()).egress(Output::json(Stdout::new(), schema));
        });
        Ok(())
    })
}
