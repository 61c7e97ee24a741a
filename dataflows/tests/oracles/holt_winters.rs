//! `oracle_*`: forecasts are those of river.

use tidewatch_dataflows::detectors::{Detector, HoltWinters};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_holt_winters_agrees_with_river() {
    let model = |season, alpha, beta, gamma| {
        let model = HoltWinters::new(season).unwrap().smoothing(alpha, beta, gamma).unwrap();
        model.residuals(0.05, 0.0).unwrap()
    };
    let settings = [
        ("multiplicative", model(24, 0.3, 0.1, 0.6).multiplicative()),
        ("additive", model(24, 0.2, 0.05, 0.3)),
        ("trend", model(1, 0.5, 0.2, 0.0)),
    ];
    let rows = results("holt_winters");
    for (setting, detector) in settings {
        let mut state = detector.start(0);
        for (at, row) in rows.iter().enumerate() {
            let score = detector.score(&mut state, EventTime::MIN, &[row.number("value")]);
            assert_close(row.optional(setting), score.expected, 1e-12, &format!("{setting} at {at}"));
        }
    }
}
