//! `oracle_*`: running moments agree with those of river.

use tidewatch_dataflows::detectors::{Detector, EwmaZ, WelfordZ};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

const TOLERANCE: f64 = 1e-12;

#[test]
fn oracle_welford_z_agrees_with_river() {
    let detector = WelfordZ::new(2.5).unwrap().warmup(2);
    let mut state = detector.start(0);
    for row in results("moments") {
        let time = EventTime::from_micros(row.number("micros") as i64);
        let found = detector.score(&mut state, time, &[row.number("value")]);
        let (mean, deviation) = (row.optional("mean"), row.optional("deviation"));
        let reach = |sign: f64| mean.zip(deviation).map(|(mean, deviation)| mean + sign * 2.5 * deviation);
        assert_close(mean, found.expected, TOLERANCE, &format!("mean at {time}"));
        assert_close(row.optional("score"), found.score, TOLERANCE, &format!("score at {time}"));
        assert_close(reach(-1.0), found.lower, TOLERANCE, &format!("lower at {time}"));
        assert_close(reach(1.0), found.upper, TOLERANCE, &format!("upper at {time}"));
    }
}

#[test]
fn oracle_ewma_z_agrees_with_river() {
    let detector = EwmaZ::new(0.05).unwrap().warmup(2);
    let mut state = detector.start(0);
    for row in results("moments") {
        let time = EventTime::from_micros(row.number("micros") as i64);
        let found = detector.score(&mut state, time, &[row.number("value")]);
        assert_close(row.optional("weighted_mean"), found.expected, TOLERANCE, &format!("mean at {time}"));
        assert_close(row.optional("weighted_score"), found.score, TOLERANCE, &format!("score at {time}"));
    }
}
