//! A program of one's own on a cluster, for the tests: its sources never end. `PANIC=1` has worker 1 panic, `FAIL=1` has it
//! build no dataflow.

use std::env;

use tidewatch::connectors::memory::{Memory, MemoryRecord};
use tidewatch::prelude::*;

fn asked(variable: &str) -> Option<usize> {
    env::var(variable).ok().and_then(|worker| worker.parse().ok())
}

fn main() -> Result<(), Error> {
    execute(env::args(), |worker| {
        let index = worker.index();
        if asked("FAIL") == Some(index) {
            return Err(Error::Usage("asked to fail".to_owned()));
        }
        assert!(asked("PANIC") != Some(index), "asked to panic");
        let row = |at: i64| MemoryRecord::row(EventTime::from_micros(at * 1_000_000), "k", [at as f64]);
        let memory = Memory::new((0..8).map(|p| (format!("p{p}"), (0..100).map(row).collect()))).live();
        worker.dataflow::<EventTime, _, _>(|scope| {
            let records = Input::of_rows(memory, Schema::new(["key"], ["value"])).ingest(scope).records;
            records.keyed(EwmaZ::new(0.1)?.then(above(1.0))).egress(Stdout::json());
            Ok(())
        })
    })
}
