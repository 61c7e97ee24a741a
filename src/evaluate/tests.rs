#![allow(clippy::single_range_in_vec_init, reason = "a series may have one window")]

use proptest::prelude::*;
use tidewatch_dataflows::{EventTime, Span};

use super::events::average_precision;
use super::*;

fn minute(minute: i64) -> EventTime {
    EventTime::from_secs(60 * minute).unwrap()
}

pub(super) fn series(scores: &[f64], windows: &[Range<usize>]) -> Series {
    let row = |(at, score): (i64, &f64)| Row { time: minute(at), score: *score, anomalous: *score >= 0.5 };
    Series {
        key: "k".to_owned(),
        rows: (0..).zip(scores).map(row).collect(),
        windows: windows.to_vec(),
        unseen: 0,
    }
}

/// The gain of the benchmark's score at one threshold, from its rules, row by row and window by window.
pub(super) fn gain_slow(series: &[Series], profile: Profile, threshold: f64) -> f64 {
    let sigma = |y: f64| if y > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * y).exp()) - 1.0 };
    let mut gain = 0.0;
    for Series { rows, windows, .. } in series {
        let probation = ((0.15 * rows.len() as f64).floor() as usize).min(750);
        let alarms: Vec<_> = (probation..rows.len()).filter(|at| rows[*at].score >= threshold).collect();
        for window in windows {
            let width = window.len() as f64;
            let best = alarms.iter().filter(|at| window.contains(at)).min();
            match best {
                Some(at) => {
                    let share = sigma(-((window.end - at) as f64) / width) / sigma(-1.0);
                    gain += profile.hit * share + profile.miss;
                }
                // That a window which nobody looks at has no alarm costs nothing.
                None if window.end <= probation => gain += profile.miss,
                None => {}
            }
        }
        for at in alarms.iter().filter(|at| !windows.iter().any(|window| window.contains(at))) {
            let before = windows.iter().rfind(|window| window.end <= *at);
            let share = before
                .map_or(-1.0, |window| sigma((at - (window.end - 1)) as f64 / (window.len() - 1) as f64));
            gain += profile.false_alarm * share;
        }
    }
    gain
}

/// Windows in a series of so many rows, from the gap before each and its width.
pub(super) fn windows(rows: usize, steps: &[(usize, usize)]) -> Vec<Range<usize>> {
    let (mut windows, mut end) = (Vec::new(), 0);
    for (gap, width) in steps {
        let window = end + gap..(end + gap + width).min(rows);
        if window.is_empty() {
            break;
        }
        end = window.end;
        windows.push(window);
    }
    windows
}

fn some_series() -> impl Strategy<Value = Vec<Series>> {
    let scores = prop::collection::vec((0u8..6).prop_map(|score| f64::from(score) / 5.0), 1..60);
    let one = (scores, prop::collection::vec((0usize..12, 1usize..12), 0..4))
        .prop_map(|(scores, steps)| series(&scores, &windows(scores.len(), &steps)));
    prop::collection::vec(one, 1..4)
}

proptest! {
    #[test]
    fn the_benchmarks_score_agrees_with_its_rules_at_every_threshold(series in some_series()) {
        for profile in Profile::ALL {
            let mut best = f64::NEG_INFINITY;
            for threshold in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, f64::INFINITY] {
                let (slow, fast) = (gain_slow(&series, profile, threshold), Nab::at(&series, profile, threshold));
                prop_assert!((slow - fast.gain).abs() < 1e-9, "{} but {:?} at {}", slow, fast, threshold);
                best = best.max(slow);
            }
            let found = Nab::best(&series, profile);
            prop_assert!((best - found.gain).abs() < 1e-9, "{} but {:?}", best, found);
            let again = Nab::at(&series, profile, found.threshold);
            prop_assert!((again.gain - found.gain).abs() < 1e-9, "{:?} but {:?}", again, found);
        }
    }

    #[test]
    fn each_window_and_each_alarm_counts_once(series in some_series(), threshold in prop::option::of(0.0..1.0)) {
        for series in &series {
            let is_alarm = |row: &Row| row.score >= threshold.unwrap_or(0.5);
            let alarms: Vec<_> = series.rows.iter().map(is_alarm).collect();
            let is_start = |at: &usize| alarms[*at] && (*at == 0 || !alarms[at - 1]);
            let starts: Vec<_> = (0..alarms.len()).filter(is_start).collect();
            let is_true = |start: &&usize| {
                (**start..alarms.len()).take_while(|at| alarms[*at]).any(|at| series.window_of(at).is_some())
            };
            let found = series.windows.iter().filter(|window| alarms[(*window).clone()].contains(&true)).count();
            let events = Events::of(series, threshold);
            prop_assert_eq!(starts.len(), events.alarms);
            prop_assert_eq!(starts.iter().filter(is_true).count(), events.true_alarms);
            prop_assert_eq!((series.windows.len(), found), (events.windows, events.found));
        }
    }
}

#[test]
fn alarms_are_runs_and_delays_count_from_the_start_of_a_window() {
    let scores = [0.0, 0.9, 0.9, 0.0, 0.1, 0.9, 0.0, 0.9, 0.9, 0.0];
    let events = Events::of(&series(&scores, &[3..6, 8..10]), None);
    let expected = Events {
        alarms: 3,
        true_alarms: 2,
        windows: 2,
        found: 2,
        delays: vec![Span::ZERO, Span::from_secs(120)],
        observed: Span::from_secs(540),
    };
    assert_eq!(expected, events);
    assert_eq!((Some(2.0 / 3.0), Some(1.0), Some(0.8)), (events.precision(), events.recall(), events.f1()));
    assert_eq!((Some(Span::ZERO), Some(480.0)), (events.median_delay(), events.alarms_per_day()));
    assert_eq!(None, Events::of(&series(&[], &[]), None).f1());
    assert_eq!(Some(0.0), Events::of(&series(&[0.0, 0.0], &[1..2]), None).f1());
}

#[test]
fn average_precision_is_the_area_under_precision_over_recall() {
    let area = |scores: &[f64], windows: &[Range<usize>]| average_precision([&series(scores, windows)]);
    assert_eq!(Some((1.0 + 2.0 / 3.0) / 2.0), area(&[0.1, 0.4, 0.35, 0.8], &[2..4]));
    assert_eq!(Some(0.5), area(&[0.3, 0.3], &[1..2]), "where scores are tied, order means nothing");
    assert_eq!(None, area(&[0.1, 0.2], &[]));
}

#[test]
fn spreads_follow_from_the_seed_alone() {
    let figures: Vec<f64> = (0..20).map(f64::from).collect();
    let mean = |drawn: &[&f64]| Some(drawn.iter().copied().sum::<f64>() / drawn.len() as f64);
    let spread = |seed| resampled(&figures, 500, seed, mean).unwrap();
    assert_eq!(spread(1), spread(1));
    assert_ne!(spread(1), spread(2));
    let Spread { mean, deviation, lower, upper, count } = spread(1);
    // The standard error of the mean of 20 numbers with deviation 5.77.
    assert!((mean - 9.5).abs() < 0.3 && (deviation - 1.29).abs() < 0.15, "{mean} ± {deviation}");
    assert!((6.0..8.0).contains(&lower) && (11.0..13.0).contains(&upper), "{lower} to {upper}");
    assert_eq!(500, count);
    let noise: Vec<_> = (0..8u32).map(|key| series(&[0.0, f64::from(key % 2), 0.3, 0.9], &[3..4])).collect();
    let scores = cross_validated(&noise, Profile::STANDARD, 10, 7).unwrap();
    assert_eq!((10, Some(scores)), (scores.count, cross_validated(&noise, Profile::STANDARD, 10, 7)));
}

fn verdicts(lines: &[(&str, i64)]) -> Verdicts {
    let line = |(key, at): &(&str, i64)| {
        let time = minute(*at);
        format!(
            r#"{{"time":"{time}","key":{{"service":"{key}","host":"1"}},"detector":"d","score":1.5,"anomalous":true}}"#
        )
    };
    let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
    Verdicts::read("v.jsonl", text.as_bytes()).unwrap()
}

#[test]
fn windows_are_the_rows_from_their_start_to_their_end() {
    let labels = "key,start,end\na/1,1970-01-01T00:01:30Z,1970-01-01T00:03:00Z\na/1,1970-01-01T00:05:00Z,1970-01-01T00:05:30Z\n";
    let labels = Labels::parse("l.csv".to_owned(), labels).unwrap();
    let said = verdicts(&[("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 3), ("a", 4), ("a", 5), ("a", 6)]);
    let detections = match_up(said, &labels).unwrap();
    let windows: Vec<_> =
        detections["d"].iter().map(|series| (&*series.key, series.windows.clone())).collect();
    assert_eq!(vec![("a/1", vec![2..4, 5..6]), ("b/1", vec![])], windows);
}

/// As of a detection that speaks only when something is wrong.
#[test]
fn a_window_of_which_a_detection_says_nothing_is_missed() {
    let labels = "key,start,end\na/1,1970-01-01T00:01:00Z,1970-01-01T00:01:00Z\na/1,1970-01-01T00:05:00Z,1970-01-01T00:05:00Z\n";
    let labels = Labels::parse("l.csv".to_owned(), labels).unwrap();
    let mut said = verdicts(&[("a", 0), ("a", 1), ("a", 2), ("a", 5)]);
    let quiet = r#"{"time":"1970-01-01T00:01:00Z","key":{"service":"a","host":"1"},"detector":"q","score":9,"anomalous":true}"#;
    said.add(quiet).unwrap();
    let detections = match_up(said, &labels).unwrap();
    let [series] = &detections["q"][..] else { panic!("{detections:?}") };
    assert_eq!((vec![0..1], 1), (series.windows.clone(), series.unseen));
    let events = Events::of(series, None);
    assert_eq!((2, 1), (events.windows, events.found));
    let nab = Nab::best([series], Profile::STANDARD);
    assert_eq!((2, 1, 50.0), (nab.windows, nab.missed, nab.score));
}

#[test]
fn labels_that_fit_nothing_are_refused_with_their_line() {
    let said = || verdicts(&[("a", 0), ("a", 1), ("a", 2)]);
    let refused = |text: &str| {
        let labels = Labels::parse("l.csv".to_owned(), text);
        labels.and_then(|labels| match_up(said(), &labels).map(|_| ())).unwrap_err().to_string()
    };
    for (text, message) in [
        ("key,from,end\n", "l.csv:1: there is no column \"start\": labels have key,start,end"),
        (
            "key,start,end\nb/1,1970-01-01T00:00:00Z,1970-01-01T00:01:00Z\n",
            "l.csv:2: nothing was said of the key: \"b/1\" from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z",
        ),
        (
            "key,start,end\na/1,1970-01-01T00:03:00Z,1970-01-01T00:04:00Z\n",
            "l.csv:2: nothing was said of the key at this time: \"a/1\" from 1970-01-01T00:03:00Z to 1970-01-01T00:04:00Z",
        ),
        (
            "key,start,end\na/1,1970-01-01T00:01:00Z,1970-01-01T00:02:00Z\na/1,1970-01-01T00:00:00Z,1970-01-01T00:01:00Z\n",
            "l.csv:2: overlaps the window before it: \"a/1\" from 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z",
        ),
        ("key,start,end\na/1,1970-01-01T00:01:00Z,1970-01-01T00:00:00Z\n", "l.csv:2: the window ends before it starts"),
    ] {
        assert_eq!(message, refused(text));
    }
    assert!(refused("key,start,end\na/1,yesterday,today\n").starts_with("l.csv:2: "));
}

#[test]
fn what_is_no_verdict_is_refused_with_its_line() {
    let refused = |text: &str| Verdicts::read("v.jsonl", text.as_bytes()).unwrap_err().to_string();
    assert!(refused("{}").starts_with("v.jsonl:1: is no verdict: missing field"));
    let line = |time: &str| {
        format!(r#"{{"time":"{time}","key":{{"k":"a"}},"detector":"d","score":null,"anomalous":false}}"#)
    };
    let text = [line("1970-01-01T00:00:02Z"), line("1970-01-01T00:00:01Z")].join("\n");
    assert_eq!(
        "v.jsonl:2: \"a\" has no order in time: 1970-01-01T00:00:01Z comes later than it should",
        refused(&text)
    );
}
