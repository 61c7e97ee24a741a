//! `oracle_*`: moments of local hours are those of pandas, across changes of the clocks.

use tidewatch_dataflows::detectors::{Detector, Season, Seasonal};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_seasonal_agrees_with_pandas_across_changes_of_the_clocks() {
    let settings = [
        ("berlin", "Europe/Berlin", Season::HourOfDay),
        ("new_york", "America/New_York", Season::HourOfWeek),
    ];
    let rows = results("seasonal");
    for (setting, zone, season) in settings {
        let detector = Seasonal::new(season, zone).unwrap().learning(0.0, 0.0, 0.0).unwrap().warmup(2);
        let mut state = detector.start(0);
        for (at, row) in rows.iter().enumerate() {
            let time = EventTime::from_micros(row.number("micros") as i64);
            let score = detector.score(&mut state, time, &[row.number("value")]);
            let at = format!("{setting} at {at}");
            assert_close(row.optional(&format!("{setting}_mean")), score.expected, 1e-12, &at);
            assert_close(row.optional(&format!("{setting}_score")), score.score, 1e-12, &at);
        }
    }
}
