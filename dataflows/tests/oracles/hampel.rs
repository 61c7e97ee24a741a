//! `oracle_*`: medians and median absolute deviations are those of numpy and scipy, to the last digit.

use tidewatch_dataflows::detectors::{Detector, Hampel};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_hampel_agrees_with_scipy() {
    let detector = Hampel::new(17).unwrap().deviations(3.0).unwrap().warmup(2);
    let mut state = detector.start(0);
    for row in results("hampel") {
        let (time, value) = (EventTime::from_micros(row.number("micros") as i64), row.number("value"));
        let found = detector.score(&mut state, time, &[value]);
        let Some(median) = row.optional("median") else {
            assert_eq!(None, found.score, "at {time}");
            continue;
        };
        assert_eq!(Some(median), found.expected, "median at {time}");
        let unit = row.number("unit");
        let (lower, upper) = (Some(median - 3.0 * unit), Some(median + 3.0 * unit));
        // What has no score of its own differs from a window of equal values.
        let score = row.optional("score").or(Some(1e9));
        if row.number("deviation") > 0.0 {
            assert_eq!((score, lower, upper), (found.score, found.lower, found.upper), "at {time}");
        } else {
            // numpy sums for the mean deviation in another order.
            assert_close(score, found.score, 1e-15, &format!("score at {time}"));
            assert_close(lower, found.lower, 1e-15, &format!("lower end at {time}"));
            assert_close(upper, found.upper, 1e-15, &format!("upper end at {time}"));
        }
    }
}
