//! `oracle_*`: changes where river finds them.

use tidewatch_dataflows::detectors::{Adwin, Detector};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_adwin_agrees_with_river() {
    let window = |delta| Adwin::new(delta).unwrap().range(1.0).unwrap();
    let quick = window(0.1).histogram(5, 3, 3).unwrap().warmup(20);
    let rows = results("adwin");
    for (setting, detector) in [("usual", window(0.002)), ("quick", quick), ("anew", window(0.002))] {
        let mut changes = 0;
        for series in ["noise", "steps", "drift"] {
            let (mut state, mut mean) = (detector.start(0), None);
            for (at, row) in rows.iter().filter(|row| row.text("series") == series).enumerate() {
                let score = detector.score(&mut state, EventTime::MIN, &[row.number("value")]);
                let at = format!("{setting} {series} at {at}");
                if mean.is_some() {
                    assert_close(mean, score.expected, 1e-12, &at);
                }
                mean = row.optional(&format!("{setting}_mean"));
                let changed = score.score > Some(1.0);
                assert_eq!(row.number(&format!("{setting}_change")) == 1.0, changed, "{at}");
                changes += u32::from(changed);
                if changed && setting == "anew" {
                    state = detector.start(0);
                }
            }
        }
        assert!(changes >= 4, "{setting}: {changes}");
    }
}
