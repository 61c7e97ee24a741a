//! Records per second from files.
//!
//! Shape: a CSV file and a JSON lines file of 2 million records each, epoch milliseconds, 1 thousand keys → decode → exchange
//! → buffer → EWMA z → threshold. Reason: most of what a pipeline on files does is parsing; the engine must not
//! dominate it. Unit: records per second, and the ratio to reading and decoding the same file alone, in one thread.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use criterion::{criterion_group, criterion_main, Criterion};
use support::{is_wanted, scaled, Workload};
use tidewatch::cluster::{run, Cluster};
use tidewatch::connectors::format::{Decoder, Format, Row, TimeFormat};
use tidewatch::connectors::source::Raw;
use tidewatch::connectors::{Control, Error, Intake, Source, Status};
use tidewatch::dataflows::record::KeyText;
use tidewatch::dataflows::Offset;
use tidewatch::prelude::*;

/// A source that only decodes.
struct Decoding {
    decoder: Box<dyn Decoder>,
    row: Row,
    records: u64,
}

impl Intake for Decoding {
    fn header(&mut self, line: &[u8]) -> Result<(), Error> {
        self.decoder.header(line).map_err(Error::Configuration)
    }
    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        self.decoder.decode(raw.payload, &mut self.row).expect("the file is well-formed");
        self.records += 1;
        ControlFlow::Continue(())
    }
    fn row(&mut self, _: Offset, _: EventTime, _: &KeyText, _: &[f64]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn damaged(&mut self, _: Raw<'_>, reason: String) -> ControlFlow<()> {
        panic!("the file is well-formed: {reason}")
    }
}

fn decode(path: &str, format: &impl Format) -> u64 {
    let waker = timely::execute_directly(|worker| worker.sync_activator_for(vec![]));
    let source = File::glob(path).framing(format.framing());
    let mut reader = source.open(path, None, waker).expect("the file exists");
    let mut intake = Decoding { decoder: format.decoder(path), row: Row::default(), records: 0 };
    while reader.read(&mut intake).expect("the file is readable") != Status::Ended {}
    intake.records
}

fn tidewatch(path: &str, format: impl Format + 'static) -> u64 {
    let input = File::glob(path).format(format);
    let control = Control::default();
    run(Cluster::threads(1), &control, move |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            input.ingest(scope).records.keyed(EwmaZ::new(0.05)?.then(above(4.0)));
            Ok(())
        })
    })
    .expect("the run succeeds");
    control.tally().scored.get()
}

fn write(path: &Path, records: u64, line: impl Fn(u64, u64, f64) -> String) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("the folder is writable"));
    for record in 0..records {
        let value = (record * 7919 % 1000) as f64 / 8.0;
        writeln!(file, "{}", line(1_700_000_000_000 + record / 100, record % 1000, value))
            .expect("there is space");
    }
}

fn ingest(criterion: &mut Criterion) {
    let records = scaled(2_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    if is_wanted("ingest-csv") {
        let path = path("records.csv");
        write(Path::new(&path), records, |time, key, value| format!("{time},host-{key},{value}"));
        let csv = || Csv::columns().time("1").time_format(TimeFormat::EpochMillis).key(["2"]).value("3");
        let mut workload = Workload::new("ingest-csv", records);
        workload.measure(
            criterion,
            &mut [("decode", &mut || decode(&path, &csv())), ("w1", &mut || tidewatch(&path, csv()))],
        );
        workload.ratio("w1", "decode", 0.6);
    }
    if is_wanted("ingest-json") {
        let path = path("records.jsonl");
        write(Path::new(&path), records, |time, key, value| {
            format!("{{\"ts\":{time},\"host\":\"host-{key}\",\"metrics\":{{\"latency\":{value}}}}}")
        });
        let json = || {
            Json::lines()
                .time("ts")
                .time_format(TimeFormat::EpochMillis)
                .key(["host"])
                .value("metrics.latency")
        };
        let mut workload = Workload::new("ingest-json", records);
        workload.measure(
            criterion,
            &mut [("decode", &mut || decode(&path, &json())), ("w1", &mut || tidewatch(&path, json()))],
        );
        workload.ratio("w1", "decode", 0.6);
    }
}

criterion_group!(benches, ingest);
criterion_main!(benches);
