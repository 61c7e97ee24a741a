//! A program of one's own whose code panics at some records, for the tests: as `tidewatch` with the detector `touchy`, which
//! no value 13 may reach; without a command, as a dataflow whose format no payload `13` may reach.

use std::env;
use std::process::ExitCode;

use tidewatch::connectors::format::{Decoder, Format, Framing, Row};
use tidewatch::connectors::memory::{Memory, MemoryRecord};
use tidewatch::dataflows::detectors::DetectorInfo;
use tidewatch::dataflows::params::ParamError;
use tidewatch::prelude::*;
use tidewatch::registry::Registry;

/// Scores each value by itself.
struct Touchy;

impl Detector for Touchy {
    type State = ();

    fn name(&self) -> &'static str {
        "touchy"
    }
    fn start(&self, _seed: u64) {}
    fn score(&self, (): &mut (), _time: EventTime, values: &[f64]) -> Score {
        assert!(values[0] != 13.0, "13 brings bad luck");
        Score::of(values[0])
    }
}

/// Seconds, which are the value too.
struct Numbers;

impl Format for Numbers {
    fn framing(&self) -> Framing {
        Framing::lines()
    }
    fn decoder(&self, _partition: &str) -> Box<dyn Decoder> {
        Box::new(Self)
    }
    fn schema(&self) -> Schema {
        Schema::new(["key"], ["value"])
    }
}

impl Decoder for Numbers {
    fn header(&mut self, _line: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn decode(&mut self, payload: &[u8], row: &mut Row) -> Result<(), String> {
        assert!(payload != b"13", "13 brings bad luck");
        let number: u32 = String::from_utf8_lossy(payload).parse().map_err(|_| "no number".to_owned())?;
        *row = Row {
            time: EventTime::from_micros(i64::from(number) * 1_000_000),
            key: "k".to_owned(),
            values: vec![f64::from(number)],
        };
        Ok(())
    }
}

fn main() -> ExitCode {
    if env::args().nth(1).is_some_and(|first| !first.starts_with('-')) {
        let mut registry = Registry::default();
        registry.detectors.add(DetectorInfo {
            name: "touchy",
            summary: "values, except one",
            score: "the value",
            threshold: None,
            cool_down: 0,
            multivariate: false,
            parameters: vec![],
            cost: "O(1)",
            state: "0",
            source: "elementary",
            construct: DetectorInfo::constructor(|_| Ok::<_, ParamError>(Touchy)),
        });
        return tidewatch::cli::main(registry);
    }
    let ran = execute(env::args(), |worker| {
        let records = (0..20).map(|number: u32| MemoryRecord::raw(number.to_string())).collect::<Vec<_>>();
        let memory = Memory::new(["p0", "p1"].map(|name| (name, records.clone())));
        let mut input = Input::of_payloads(memory, Numbers).named("numbers");
        if env::var_os("AVOID").is_some() {
            input = input.quarantine([("p0", 13)]).quarantine([("p1", 13)]);
        }
        worker.dataflow::<EventTime, _, _>(|scope| {
            let input = input.ingest(scope);
            input.records.keyed(EwmaZ::new(0.1)?.then(above(1.0))).egress(Stdout::json());
            input.malformed.egress(Stderr::json());
            Ok(())
        })
    });
    if let Err(error) = ran {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
