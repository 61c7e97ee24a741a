//! What bounds memory stops no run: many more records than may be under way come through, whoever takes them.

use std::sync::atomic::{AtomicU64, Ordering};

use tidewatch::cluster::{self, Cluster};
use tidewatch_connectors::{Input, Schema};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Concat, Inspect};

use super::*;

/// Half of it, and what the workers of two sources may have under way beyond that, wherever the frontier is: those who hold
/// it back are then within the limit at any moment. The records would take twice as much.
const AHEAD: usize = 512 << 10;
const RECORDS: i64 = 40_000;
/// What is under way is a batch or two, and what a consumer has not told yet.
const BATCH: usize = 64;

fn rows(name: &str) -> Input {
    let row =
        |at: i64| MemoryRecord::row(EventTime::from_micros(at * 1_000), &format!("k{}", at % 50), [1.0]);
    let partition = |p: i64| (format!("p{p}"), (0..RECORDS / 4).map(|at| row(at * 4 + p)).collect());
    let memory = Memory::new((0..4).map(partition));
    Input::of_rows(memory, Schema::new(["key"], ["value"]))
        .named(name)
        .ahead(AHEAD)
        .pace(Pace { batch: BATCH, ..Pace::default() })
}

#[test]
fn rows_come_through_to_none_one_or_several_consumers_from_one_or_several_sources() {
    let one = || EwmaZ::new(0.1).expect("in range");
    for workers in WORKERS {
        let [kept, dropped, twice] = [0, 1, 2].map(|_| Arc::new(AtomicU64::new(0)));
        let counts = [&kept, &dropped, &twice].map(Arc::clone);
        let outcome = cluster::run(Cluster::threads(workers), &Control::default(), move |worker| {
            let counts = counts.clone();
            worker.dataflow::<EventTime, _, _>(|scope| {
                let add = |at: usize| {
                    let count = counts[at].clone();
                    move |more: usize| {
                        count.fetch_add(more as u64, Ordering::Relaxed);
                    }
                };
                // Two sources to one consumer.
                let (first, add_kept) = (rows("a").ingest(scope), add(0));
                let both = first.concat(rows("b").ingest(scope));
                both.records.keyed(one()).inspect(move |_| add_kept(1));
                // Nobody who says what it has taken.
                let add_dropped = add(1);
                let unkeyed = rows("c").ingest(scope).records;
                unkeyed.rows.sink(Pipeline, "Dropped", move |(input, _)| {
                    input.for_each(|_, batch| add_dropped(batch.len()));
                });
                // Two who take the same.
                let (records, add_twice) = (rows("d").ingest(scope).records, add(2));
                let emitted = records.clone().keyed(one()).concat(records.keyed(one()));
                emitted.inspect(move |_| add_twice(1));
            });
            Ok(())
        });
        assert_eq!(Outcome::Done, outcome.expect("it runs"));
        let counted = [kept, dropped, twice].map(|count| count.load(Ordering::Relaxed));
        assert_eq!([2, 1, 2].map(|times| times * RECORDS as u64), counted, "{workers} workers");
    }
}

#[test]
fn dead_letters_are_limited_where_a_sink_keeps_them_and_alike_at_any_number_of_workers() {
    // All under one watermark; together they take about a mebibyte.
    let lines = (0..2_000).map(|_| MemoryRecord::raw("no record ".repeat(10))).collect();
    let memory = Memory::new([("p0", lines)]);
    let run = |ahead: usize, workers: u16, are_kept: bool| {
        let (input, control) = (input(&memory).ahead(ahead), Control::default());
        let done = cluster::run(Cluster::threads(workers), &control, move |worker| {
            worker.dataflow(|scope| {
                let ingested = input.ingest(scope);
                let json = || Output::json(MemorySink::default(), input.schema().clone());
                ingested.records.keyed(Echo).egress(json());
                if are_kept {
                    ingested.malformed.egress(json());
                }
            });
            Ok(())
        });
        (done.map_err(|error| error.to_string()), control.counts().malformed.get())
    };
    for workers in WORKERS {
        assert_eq!((Ok(Outcome::Done), 2_000), run(64 << 10, workers, false), "{workers} workers");
        assert_eq!((Ok(Outcome::Done), 2_000), run(2 << 20, workers, true), "{workers} workers");
        let error = run(256 << 10, workers, true).0.expect_err("too much is kept");
        assert!(error.contains("raise `ahead`"), "{workers} workers: {error}");
    }
}
