//! `oracle_*`: changes where river finds them, by the same statistic.

use tidewatch_dataflows::detectors::{Detector, Direction, PageHinkley};
use tidewatch_dataflows::EventTime;

use crate::{assert_close, results};

#[test]
fn oracle_page_hinkley_agrees_with_river() {
    let test = |delta, threshold| PageHinkley::new(delta, threshold).unwrap().absolute();
    let settings = [
        ("both", test(0.1, 15.0).warmup(30)),
        ("up", test(0.05, 8.0).direction(Direction::Up).warmup(20)),
        ("fading", test(0.005, 12.0).alpha(0.99).unwrap().warmup(30)),
    ];
    let rows = results("page_hinkley");
    for (setting, detector) in settings {
        let (mut state, mut changes) = (detector.start(0), 0);
        for (at, row) in rows.iter().enumerate() {
            let column = |column: &str| row.optional(&format!("{setting}_{column}"));
            let score = detector.score(&mut state, EventTime::MIN, &[row.number("value")]);
            let at = format!("{setting} at {at}");
            assert_close(column("mean"), score.expected, 1e-12, &at);
            if score.score.is_some() {
                assert_close(column("score"), score.score, 1e-12, &at);
            }
            let changed = score.score > Some(1.0);
            assert_eq!(column("change") == Some(1.0), changed, "{at}");
            changes += u32::from(changed);
        }
        assert!(changes >= 2, "{setting}: {changes}");
    }
}
