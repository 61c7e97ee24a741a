//! `oracle_*`: sums and changes are those of shewhart.

use tidewatch_dataflows::detectors::{Cusum, Detector};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_cusum_agrees_with_shewhart() {
    let detector = Cusum::new(10.0, 2.0).unwrap();
    let mut state = detector.start(0);
    for (at, row) in results("cusum").iter().enumerate() {
        let score = detector.score(&mut state, EventTime::MIN, &[row.number("value")]);
        assert_close(row.optional("score"), score.score, 1e-12, &at.to_string());
        assert_eq!(row.number("change") == 1.0, score.score > Some(1.0), "{at}");
    }
}
