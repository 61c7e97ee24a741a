//! Files that are committed.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use tidewatch_connectors::file::{FileSink, TransactionalFile};
use tidewatch_connectors::format::CsvEncoder;
use tidewatch_connectors::store::{self, Store};

use super::*;

/// Verdicts as CSV, in a file.
fn run_to_file(input: &Input, sink: &TransactionalFile, epoch: u64, workers: u16) -> Result<Outcome, Error> {
    let (control, peers, input) = (Control::default(), usize::from(workers), input.clone());
    let shards = Shards::open(sink, Epoch(epoch), 0..peers, peers, &control)?;
    cluster::run(Cluster::threads(workers), &control, move |worker| {
        let committer = Committer::start(&shards, 1, worker.index(), worker.peers(), Duration::ZERO)?;
        worker.dataflow(|scope| {
            let csv = CsvEncoder::new(input.schema().clone());
            input.ingest(scope).records.keyed(logic()).commit(&committer, csv);
        });
        Ok(())
    })
}

#[test]
fn a_file_has_the_bytes_of_a_plain_one_whatever_step_crashes() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let input = input(&records());
    let (from, plain) = (input.clone(), path("plain.csv").to_str().unwrap().to_owned());
    let outcome = cluster::run(Cluster::threads(1), &Control::default(), move |worker| {
        let (plain, schema) = (plain.clone(), from.schema().clone());
        let output = Output::new(move || Ok(Box::new(FileSink::create(plain)?)), CsvEncoder::new(schema));
        worker.dataflow(|scope| from.ingest(scope).records.keyed(logic()).egress(output));
        Ok(())
    });
    assert_eq!(Outcome::Done, outcome.unwrap());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let expected = read(&path("plain.csv"));
    for workers in WORKERS {
        for step in [1, 5, 9, 10, 11, 12, 20, 33] {
            let path = path(&format!("{workers}-{step}.csv"));
            let store: Arc<dyn Store> = store::open("memory:").unwrap();
            let sink = TransactionalFile::new(&path, store, "sinks/out/");
            let left = AtomicUsize::new(step);
            let crashing = sink.clone().with_hook(move |_| match left.fetch_sub(1, Ordering::Relaxed) {
                0 => Err(tidewatch_connectors::Error::Configuration("crash".to_owned())),
                _ => Ok(()),
            });
            for (epoch, sink) in [(1, &crashing), (2, &sink)] {
                let outcome = run_to_file(&input, sink, epoch, workers);
                assert!(outcome.is_ok() || epoch == 1, "{outcome:?}");
            }
            assert!(expected == read(&path), "{workers} workers, step {step}");
        }
    }
}
