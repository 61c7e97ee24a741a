//! `oracle_*`: quantiles are those of the sketch that the authors of DDSketch keep.

use tidewatch_dataflows::detectors::{Detector, QuantileBands};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

const TOLERANCE: f64 = 1e-12;

#[test]
fn oracle_quantile_bands_agree_with_ddsketch() {
    let detector = QuantileBands::new(0.05, 0.95).unwrap().accuracy(0.01).unwrap().warmup(1);
    let mut state = detector.start(0);
    for row in results("quantile_bands") {
        let time = EventTime::from_micros(row.number("micros") as i64);
        let found = detector.score(&mut state, time, &[row.number("value")]);
        assert_close(row.optional("lower"), found.lower, TOLERANCE, &format!("lower end at {time}"));
        assert_close(row.optional("median"), found.expected, TOLERANCE, &format!("median at {time}"));
        assert_close(row.optional("upper"), found.upper, TOLERANCE, &format!("upper end at {time}"));
        assert_close(row.optional("score"), found.score, TOLERANCE, &format!("score at {time}"));
    }
}
