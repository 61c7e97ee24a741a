//! `oracle_*`: detectors agree with the scores that the Numenta Anomaly Benchmark's own program gives its recordings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use flate2::read::GzDecoder;
use tidewatch_dataflows::detectors::{Detector, WindowedGaussian};
use tidewatch_dataflows::EventTime;

/// The reference is rounded to 12 digits.
const TOLERANCE: f64 = 1e-9;

/// For each recording the reference scores, row by row.
fn reference(directory: &Path) -> BTreeMap<String, Vec<f64>> {
    let path = directory.join("reference_windowedGaussian.csv.gz");
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut scores = BTreeMap::<String, Vec<f64>>::new();
    for row in csv::Reader::from_reader(GzDecoder::new(&bytes[..])).deserialize() {
        let (file, row, score): (String, usize, f64) = row.unwrap();
        let scores = scores.entry(file).or_default();
        assert_eq!(scores.len(), row, "rows are numbered from 0");
        scores.push(score);
    }
    scores
}

fn values(path: &Path) -> Vec<f64> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = csv::Reader::from_reader(io::Cursor::new(bytes));
    reader.deserialize().map(|row: Result<(String, f64), _>| row.unwrap().1).collect()
}

/// Compares every row of every recording; returns the number of recordings and rows, and the greatest difference.
fn compare(recordings: &Path, reference: &BTreeMap<String, Vec<f64>>) -> (usize, usize, f64) {
    let (mut rows, mut greatest) = (0, 0.0f64);
    for (file, expected) in reference {
        let values = values(&recordings.join(file));
        assert_eq!(expected.len(), values.len(), "{file}");
        let detector = WindowedGaussian::new(6400, 100).unwrap();
        let mut state = detector.start(0);
        for (row, (value, expected)) in values.iter().zip(expected).enumerate() {
            let time = EventTime::from_micros(row as i64);
            let score = detector.score(&mut state, time, &[*value]).score.expect("it never warms");
            let difference = (score - expected).abs();
            assert!(difference <= TOLERANCE, "{file} row {row}: expected {expected}, got {score}");
            greatest = greatest.max(difference);
            rows += 1;
        }
    }
    println!("{} recordings, {rows} rows, greatest difference {greatest:e}", reference.len());
    (reference.len(), rows, greatest)
}

#[test]
fn oracle_windowed_gaussian_agrees_with_the_benchmark_on_four_recordings() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/nab");
    let (recordings, rows, _) = compare(&directory, &reference(&directory));
    assert_eq!((4, 25_651), (recordings, rows));
}

/// The whole benchmark is too large to keep here: `NAB` names the folder that has its `data` and the reference for it.
#[test]
#[ignore = "needs the whole benchmark, in the folder that the variable NAB names"]
fn oracle_windowed_gaussian_agrees_with_the_benchmark_on_all_recordings() {
    let directory = std::env::var_os("NAB").expect("the variable NAB names the benchmark's folder");
    let directory = PathBuf::from(directory);
    let (recordings, rows, _) = compare(&directory.join("data"), &reference(&directory));
    assert_eq!((31, 179_391), (recordings, rows));
}
