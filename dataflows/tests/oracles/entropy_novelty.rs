use tidewatch_dataflows::detectors::{Detector, EntropyNovelty};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_entropy_novelty_agrees_with_scipy() {
    let detectors = [
        ("score_24", EntropyNovelty::new(5, 24).unwrap()),
        ("score_12", EntropyNovelty::new(8, 12).unwrap().freeze(60)),
    ];
    for (column, detector) in detectors {
        let mut state = detector.start(0);
        let mut new = 0;
        for (at, row) in results("entropy_novelty").iter().enumerate() {
            let time = EventTime::from_micros(row.number("micros") as i64);
            let score = detector.score(&mut state, time, &[row.number("value")]).score;
            assert_close(row.optional(column), score, 1e-9, &format!("{column} row {at}"));
            new += u32::from(score > Some(0.0));
        }
        assert!(new > 5, "{column}: {new}");
    }
}
