//! Records per second from a recording, and its size.
//!
//! Shape: CSV files of 2 million records and 1 thousand keys, one with epoch milliseconds and short values, one with RFC 3339 and
//! values in full → decode → exchange → buffer → EWMA z → threshold; and recordings of the same. Reason: a replay is
//! worth having if it is faster than reading anew, and a recording if it is no larger than the file would be compressed.
//! Unit: records per second, the ratio of a replay to reading the file, and of the recording's size to the file's with gzip.

#[allow(dead_code, reason = "each bench uses a part of it")]
mod support;

use std::fs::File as StdFile;
use std::io::{BufReader, BufWriter, Read, Write};

use criterion::{criterion_group, criterion_main, Criterion};
use flate2::read::GzEncoder;
use flate2::Compression;
use support::{is_wanted, scaled, Workload};
use tidewatch::cluster::{run, Cluster};
use tidewatch::connectors::format::TimeFormat;
use tidewatch::connectors::generator::{Generator, Profile};
use tidewatch::connectors::recording::{Play, Recorder, Recording};
use tidewatch::connectors::Control;
use tidewatch::prelude::*;

/// What stands for the format when it was recorded.
const FINGERPRINT: u64 = 1;

fn detect(input: Input) -> u64 {
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

fn record(input: &Input, path: &str) {
    let recorder = Recorder::create(path).expect("it is new");
    let input = recorder.record(input.clone(), FINGERPRINT);
    run(Cluster::threads(1), &Control::default(), move |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| drop(input.ingest(scope)));
        Ok(())
    })
    .expect("the run succeeds");
    recorder.finish().expect("there is space");
}

/// The length of a file with gzip.
fn gzipped(path: &str) -> u64 {
    let file = BufReader::new(StdFile::open(path).expect("it is there"));
    std::io::copy(&mut GzEncoder::new(file, Compression::default()).by_ref(), &mut std::io::sink())
        .expect("it can be read")
}

fn compare(criterion: &mut Criterion, name: &str, records: u64, path: &str, format: Csv) {
    let input = File::glob(path).format(format);
    let recorded = format!("{path}.tide");
    record(&input, &recorded);
    let replay = |fingerprint| {
        let recording = Recording::open(&recorded).expect("it is a recording");
        detect(recording.replay(input.clone(), &Play::all(), fingerprint).expect("it fits"))
    };
    let mut workload = Workload::new(name, records);
    workload.measure(
        criterion,
        &mut [
            ("csv", &mut || detect(input.clone())),
            ("replay", &mut || replay(FINGERPRINT)),
            ("decoded-anew", &mut || replay(FINGERPRINT + 1)),
        ],
    );
    workload.ratio("replay", "csv", 2.0);
    workload.ratio("decoded-anew", "csv", 1.0);
    let length = |path: &str| std::fs::metadata(path).expect("it is there").len();
    let (csv, gzip, recording) = (length(path), gzipped(path), length(&recorded));
    println!(
        "{name}: recording / gzip = {:.2} (goal 1); bytes per record: {:.1} of {:.1} with gzip and {:.1} without",
        recording as f64 / gzip as f64,
        recording as f64 / records as f64,
        gzip as f64 / records as f64,
        csv as f64 / records as f64,
    );
}

fn replay(criterion: &mut Criterion) {
    let records = scaled(2_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let create = |path: &str| BufWriter::new(StdFile::create(path).expect("the folder is writable"));
    if is_wanted("replay-short") {
        let path = path("short.csv");
        let mut file = create(&path);
        for record in 0..records {
            let (time, key) = (1_700_000_000_000 + record / 100, record % 1000);
            let value = (record * 7919 % 1000) as f64 / 8.0;
            writeln!(file, "{time},host-{key},{value}").expect("there is space");
        }
        file.flush().expect("there is space");
        let csv = Csv::columns().time("1").time_format(TimeFormat::EpochMillis).key(["2"]).value("3");
        compare(criterion, "replay-short", records, &path, csv);
    }
    if is_wanted("replay-full") {
        let path = path("full.csv");
        let profile = Profile { keys: 1000, records, rate: 100_000.0, ..Profile::default() };
        let generator = Generator::new(profile).expect("the profile is right");
        let mut file = create(&path);
        generator.write_csv(&mut file, false).expect("there is space");
        file.flush().expect("there is space");
        compare(
            criterion,
            "replay-full",
            records,
            &path,
            Csv::header().time("timestamp").key(["key"]).value("value"),
        );
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
