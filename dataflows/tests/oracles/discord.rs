use tidewatch_dataflows::detectors::{Detector, Discord};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_discord_agrees_with_stumpy() {
    let detector = Discord::new(8, 128).unwrap().relative(false).warmup(1);
    let mut state = detector.start(0);
    let mut compared = 0;
    for (at, row) in results("discord").iter().enumerate() {
        let time = EventTime::from_micros(row.number("micros") as i64);
        let score = detector.score(&mut state, time, &[row.number("value")]).score;
        // The very first distance comes before the first score.
        if let Some(distance) = row.optional("distance").filter(|_| compared > 0 || score.is_some()) {
            assert_close(Some(distance), score, 1e-9, &format!("row {at}"));
            compared += 1;
        }
    }
    assert!(compared > 380, "{compared}");
}
