use proptest::prelude::*;

use super::*;
use crate::logic::drive::Drive;

/// One record after `after` µs, of which the frontier has passed `frontier` thousandths before it arrives.
#[derive(Clone, Debug)]
struct Step {
    after: i64,
    frontier: i64,
    snapshot: bool,
    values: Vec<f64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![4 => 0i64..10, 2 => 0i64..100, 1 => 0i64..1000];
    let value = || prop_oneof![6 => -100.0..100.0, 1 => Just(0.0), 2 => Just(f64::NAN)];
    let step = (after, 0..=1000i64, any::<bool>(), prop::collection::vec(value(), 2));
    let step =
        step.prop_map(|(after, frontier, snapshot, values)| Step { after, frontier, snapshot, values });
    prop::collection::vec(step, 0..40)
}

fn windows() -> impl Strategy<Value = Window> {
    use Aggregate::{Count, Last, Max, Mean, Min, Quantile, Rate, Sum};
    let named = prop::sample::select(vec![Mean, Sum, Min, Max, Last, Count, Rate]);
    let aggregate = prop_oneof![3 => named, 1 => (0.0..=1.0).prop_map(Quantile)];
    let gap = prop::sample::select(vec![Gap::Skip, Gap::Zero, Gap::Hold, Gap::Alert]);
    let fill = prop_oneof![Just(FILL), 0u32..8];
    let panes = prop_oneof![Just(1i64), 1i64..6];
    (1i64..40, panes, aggregate, gap, fill).prop_map(|(every, panes, aggregate, gap, fill)| {
        let span = Span::from_micros;
        Window::new(span(every * panes), span(every), aggregate, gap).unwrap().fill(fill)
    })
}

fn aggregate_slow(aggregate: Aggregate, size: f64, values: &[f64]) -> f64 {
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let (number, sum) = (present.len() as f64, present.iter().sum::<f64>());
    match aggregate {
        Aggregate::Count => number,
        Aggregate::Rate => number / (size / 1e6),
        _ if present.is_empty() => f64::NAN,
        Aggregate::Mean => sum / number,
        Aggregate::Sum => sum,
        Aggregate::Min => present.iter().copied().fold(f64::INFINITY, f64::min),
        Aggregate::Max => present.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Aggregate::Last => *present.last().unwrap(),
        Aggregate::Quantile(at) => {
            let mut sorted = present;
            sorted.sort_by(f64::total_cmp);
            let rank = (number - 1.0) * at;
            let (below, above) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
            below * (1.0 - rank.fract()) + above * rank.fract()
        }
    }
}

/// The window records from all records at once: those that timers emit before `frontier`, then all.
fn windows_slow(window: &Window, records: &[Record], frontier: i64) -> (usize, Vec<Record>) {
    let (every, panes) = (window.every, window.panes);
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return (0, Vec::new()) };
    let holding_until = last.time.micros().div_euclid(every) + panes - 1;
    let passed_until = frontier.div_euclid(every) - 1;
    let until = if window.gap == Gap::Skip { holding_until } else { holding_until.max(passed_until) };
    let (mut early, mut all, mut held, mut empty) = (0, Vec::new(), Vec::new(), 0);
    for index in first.time.micros().div_euclid(every)..=until {
        let (start, end) = ((index + 1 - panes) * every, (index + 1) * every);
        let inside = |record: &&Record| (start..end).contains(&record.time.micros());
        let inside: Vec<&Record> = records.iter().filter(inside).collect();
        empty = if inside.is_empty() { empty + 1 } else { 0 };
        if empty > window.fill {
            continue;
        }
        let values = match (inside.is_empty(), window.gap) {
            (false, _) => (0..first.values.len())
                .map(|field| {
                    let values: Vec<f64> = inside.iter().map(|record| record.values[field]).collect();
                    aggregate_slow(window.aggregate, (end - start) as f64, &values)
                })
                .collect(),
            (true, Gap::Skip) => continue,
            (true, Gap::Zero) => vec![0.0; first.values.len()],
            (true, Gap::Hold) => held,
            (true, Gap::Alert) => vec![f64::NAN; first.values.len()],
        };
        held = values.clone();
        early += usize::from(end <= frontier);
        all.push(Record::new(EventTime::from_micros(end - 1), values));
    }
    (early, all)
}

/// Plays the steps; returns the records, the last frontier, what was emitted before the end, and all.
fn play(
    window: &Window,
    start: i64,
    steps: &[Step],
    idle: i64,
    snapshots: bool,
) -> (Vec<Record>, i64, usize, Vec<(EventTime, Record)>) {
    let mut drive = Drive::start(window);
    let (mut now, mut records) = (start, Vec::new());
    for step in steps {
        drive.frontier(EventTime::from_micros(now + step.after * step.frontier / 1000));
        if snapshots && step.snapshot {
            drive.snapshot();
        }
        now += step.after;
        records.push(Record::new(EventTime::from_micros(now), step.values.clone()));
        drive.record(records[records.len() - 1].time, &records[records.len() - 1]);
    }
    drive.frontier(EventTime::from_micros(now + idle));
    if snapshots {
        drive.snapshot();
    }
    let early = drive.emitted.len();
    drive.end(EventTime::MIN);
    (records, now + idle, early, drive.emitted)
}

fn same(one: f64, other: f64) -> bool {
    (one.is_nan() && other.is_nan()) || (one - other).abs() <= 1e-9 * one.abs().max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn windows_agree_with_a_recomputation_from_all_records(
        window in windows(), start in -500i64..500, steps in steps(), idle in 0i64..300,
    ) {
        let (records, frontier, early, found) = play(&window, start, &steps, idle, false);
        let (expected_early, expected) = windows_slow(&window, &records, frontier);
        let times = |records: &[Record]| records.iter().map(|record| record.time).collect::<Vec<_>>();
        let found: Vec<Record> = found.into_iter().map(|(time, record)| {
            assert_eq!(time, record.time, "a window record is emitted at its own time");
            record
        }).collect();
        prop_assert_eq!(times(&expected), times(&found));
        prop_assert_eq!(expected_early, early, "timers emit what the frontier has passed, at {}", frontier);
        for (expected, found) in expected.iter().zip(&found) {
            prop_assert_eq!(expected.values.len(), found.values.len());
            for (one, other) in expected.values.iter().zip(&found.values) {
                prop_assert!(same(*one, *other), "expected {:?}, found {:?}", expected, found);
            }
        }
    }

    #[test]
    fn snapshot_and_restore_at_any_time_changes_nothing(
        window in windows(), start in -500i64..500, steps in steps(), idle in 0i64..300,
    ) {
        let bits = |snapshots| {
            let (.., emitted) = play(&window, start, &steps, idle, snapshots);
            let bits = |record: Record| record.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            emitted.into_iter().map(|(time, record)| (time, bits(record))).collect::<Vec<_>>()
        };
        prop_assert_eq!(bits(false), bits(true));
    }
}

#[test]
fn the_state_of_a_tumbling_mean_of_one_value_is_64_bytes() {
    let window = tumbling("1m").mean();
    let mut drive = Drive::start(&window);
    for second in 0..1000 {
        let time = EventTime::from_secs(1_700_000_000 + second).unwrap();
        drive.record(time, &Record::new(time, [0.5]));
        assert_eq!(64, drive.memory());
        assert!(drive.snapshot().len() <= 32);
    }
}

#[test]
fn windows_at_both_ends_of_time_are_emitted() {
    for window in [tumbling("1h").count(), sliding("3h", "1h").count(), sliding("3us", "1us").count()] {
        let mut drive = Drive::start(&window);
        let times = [i64::MIN, i64::MIN + 1, i64::MAX - 1].map(EventTime::from_micros);
        for time in times {
            drive.record(time, &Record::new(time, [1.0]));
        }
        drive.end(EventTime::MIN);
        let total: f64 = drive.emitted.iter().map(|(_, record)| record.values[0]).sum();
        assert!(total >= 3.0 && drive.emitted.len() <= 9, "{:?}", drive.emitted);
    }
}

#[test]
fn quiet_time_costs_one_record_per_window_unless_it_is_skipped() {
    let values = |gap| {
        let window = tumbling("1s").sum().on_gap(gap);
        let mut drive = Drive::start(&window);
        for second in [0, 0, 3] {
            let time = EventTime::from_secs(second).unwrap();
            drive.record(time, &Record::new(time, [1.5]));
        }
        drive.frontier(EventTime::from_secs(6).unwrap());
        drive.emitted.iter().map(|(_, record)| record.values[0].to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!("3 1.5", values(Gap::Skip));
    assert_eq!("3 0 0 1.5 0 0", values(Gap::Zero));
    assert_eq!("3 3 3 1.5 1.5 1.5", values(Gap::Hold));
    assert_eq!("3 NaN NaN 1.5 NaN NaN", values(Gap::Alert));
}

#[test]
fn a_jump_in_time_fills_a_bounded_number_of_windows() {
    let years = |years: i64| EventTime::from_secs(years * 31_557_600).unwrap();
    for gap in [Gap::Zero, Gap::Hold, Gap::Alert] {
        for window in [tumbling("1ms").sum(), sliding("3ms", "1ms").sum()].map(|window| window.on_gap(gap)) {
            let mut drive = Drive::start(&window);
            drive.record(years(0), &Record::new(years(0), [1.5]));
            let filled = window.panes as usize + FILL as usize;
            for (at, emitted) in [(30, filled), (90, 2 * filled)] {
                drive.record(years(at), &Record::new(years(at), [1.5]));
                assert_eq!(emitted, drive.emitted.len(), "{window:?} after {at} years");
            }
            drive.end(EventTime::MIN);
            // The record after a silence is the first of its window.
            assert_eq!(1.5, drive.emitted[2 * filled].1.values[0], "{window:?}");
        }
    }
}

#[test]
fn a_timer_closes_one_window() {
    let window = tumbling("1s").sum().on_gap(Gap::Zero);
    let mut state = window.start(&Key::new("key"));
    let late = EventTime::from_secs(1_000_000).unwrap();
    window.add(&mut state, 0, &[1.0]);
    for closed in 1..100 {
        let mut emitted = 0;
        window.on_time(&mut state, late, &mut |_, _| emitted += 1);
        assert_eq!((1, Some(closed)), (emitted, window.open(&state)));
    }
}

#[test]
fn after_the_last_filled_window_a_key_is_silent_until_its_next_record() {
    let values = |gap, fill| {
        let window = tumbling("1s").sum().on_gap(gap).fill(fill);
        let mut drive = Drive::start(&window);
        for second in [0, 9, 10] {
            let time = EventTime::from_secs(second).unwrap();
            drive.record(time, &Record::new(time, [1.5]));
        }
        drive.frontier(EventTime::from_secs(100).unwrap());
        let shown = |(time, record): &(EventTime, Record)| {
            format!("{}:{}", time.micros() / 1_000_000, record.values[0])
        };
        drive.emitted.iter().map(shown).collect::<Vec<_>>().join(" ")
    };
    assert_eq!("0:1.5 1:0 2:0 9:1.5 10:1.5 11:0 12:0", values(Gap::Zero, 2));
    assert_eq!("0:1.5 1:1.5 9:1.5 10:1.5 11:1.5", values(Gap::Hold, 1));
    assert_eq!("0:1.5 9:1.5 10:1.5", values(Gap::Alert, 0));
}

#[test]
fn parameters_make_the_windows_that_code_makes() {
    let read = |given: &[(&str, &str)]| {
        let text = |text: &str| crate::params::Given::Text(text.to_owned());
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
        let window =
            Params::check(&Window::PARAMETERS, given).and_then(|params| Window::from_params(&params));
        window.map(|window| format!("{window:?}")).map_err(|error| error.to_string())
    };
    let code = |window: Window| Ok(format!("{window:?}"));
    assert_eq!(code(tumbling("1m").mean()), read(&[("every", "1m")]));
    assert_eq!(
        code(sliding("5m", "1m").quantile(0.99).on_gap(Gap::Alert)),
        read(&[
            ("every", "1m"),
            ("size", "5m"),
            ("aggregate", "quantile"),
            ("quantile", "0.99"),
            ("missing", "alert")
        ])
    );
    assert_eq!(
        code(tumbling("1m").mean().on_gap(Gap::Zero).fill(60)),
        read(&[("every", "1m"), ("missing", "zero"), ("fill", "60")])
    );
    for (given, message) in [
        (
            &[("every", "1us"), ("size", "3650d")][..],
            "\"size\" is 3650d, which must be at most 100000 times \"every\", 1us",
        ),
        (&[("every", "1m"), ("fill", "0")], "\"fill\" takes a whole number in [1, 1000000], not \"0\""),
        (&[("every", "0s")], "\"every\" must be longer than nothing"),
        (&[("every", "2m"), ("size", "5m")], "\"size\" is 5m, which must be a multiple of \"every\", 2m"),
        (&[("every", "2m"), ("size", "0s")], "\"size\" is 0s, which must be a multiple of \"every\", 2m"),
        (
            &[("every", "1m"), ("aggregate", "quantile")],
            "missing \"quantile\": which quantile, if that is the aggregate; 0.5 is the median",
        ),
        (&[("every", "1m"), ("quantile", "0.5")], "\"quantile\" is given, but the aggregate is \"mean\""),
        (&[("every", "1m"), ("quantile", "2")], "\"quantile\" takes a number in [0, 1], not \"2\""),
    ] {
        assert_eq!(Err(message.to_owned()), read(given));
    }
}

#[test]
fn a_state_of_another_version_is_refused() {
    let window = tumbling("1m").mean();
    let mut bytes = Drive::start(&window).snapshot();
    bytes[0] += 1;
    let error = window.restore(&mut &bytes[..]).unwrap_err();
    assert_eq!("state of window has version 3, but this build reads version 2", error.to_string());
}
