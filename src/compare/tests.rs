use proptest::prelude::*;
use tidewatch_dataflows::alerts::Severity;
use tidewatch_dataflows::EventTime;

use super::*;

fn minute(minute: i64) -> EventTime {
    EventTime::from_secs(60 * minute).unwrap()
}

/// An alert of key `k` from one minute to another.
fn alert(detector: &str, from: i64, to: i64, severity: Severity) -> Alert {
    Alert {
        start: minute(from),
        end: minute(to),
        severity,
        key: vec!["k".to_owned()],
        detector: detector.to_owned(),
        id: format!("{detector} {from}"),
    }
}

/// Alerts of two keys and two detections, which may even overlap each other, with identifiers of their own.
fn some_alerts() -> impl Strategy<Value = Vec<Alert>> {
    let one = (0..2u8, 0..2u8, 0..40i64, 0..8i64, any::<bool>());
    prop::collection::vec(one, 0..24).prop_map(|alerts| {
        let alerts = (0..).zip(alerts).map(|(number, (key, detector, from, length, critical)): (i32, _)| {
            let severity = if critical { Severity::Critical } else { Severity::Warning };
            let alert = alert(&format!("d{detector}"), from, from + length, severity);
            Alert { key: vec!["k".to_owned(), key.to_string()], id: number.to_string(), ..alert }
        });
        alerts.collect()
    })
}

fn some_alike() -> impl Strategy<Value = Alike> {
    prop_oneof![Just(Alike::OfKey), Just(Alike::OfKeyAndDetection)]
}

fn may_be_one(a: &Alert, b: &Alert, alike: Alike) -> bool {
    a.key == b.key && (alike == Alike::OfKey || a.detector == b.detector)
}

/// The definition: in order of start, each takes the first one that overlaps it and is not taken.
fn compare_slow<'a>(a: &'a [Alert], b: &'a [Alert], alike: Alike) -> Vec<Fate<'a>> {
    let (mut first, mut left): (Vec<_>, Vec<_>) = (a.iter().collect(), b.iter().collect());
    first.sort();
    left.sort();
    let mut fates = Vec::new();
    for a in first {
        let found =
            left.iter().position(|b| may_be_one(a, b, alike) && a.start.max(b.start) <= a.end.min(b.end));
        fates.push(found.map_or(Fate::Vanished(a), |at| Fate::of(a, left.remove(at))));
    }
    fates.extend(left.into_iter().map(Fate::Appeared));
    fates
}

fn exchanged(fate: Fate<'_>) -> Fate<'_> {
    match fate {
        Fate::Same(a, b) => Fate::Same(b, a),
        Fate::Moved(a, b) => Fate::Moved(b, a),
        Fate::Vanished(alert) => Fate::Appeared(alert),
        Fate::Appeared(alert) => Fate::Vanished(alert),
    }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort();
    items
}

proptest! {
    #[test]
    fn fates_are_a_partition_of_either_side(a in some_alerts(), b in some_alerts(), alike in some_alike()) {
        let fates = compare(&a, &b, alike);
        for (side, alerts) in [&a, &b].into_iter().enumerate() {
            let told = fates.iter().filter_map(|fate| fate.sides()[side]);
            prop_assert_eq!(sorted(alerts), sorted(told));
        }
        let [of_a, of_b] = Counts::of(&fates).alerts();
        prop_assert_eq!((a.len() as u64, b.len() as u64), (of_a, of_b));
    }

    #[test]
    fn oracle_fates_agree_with_their_definition(a in some_alerts(), b in some_alerts(), alike in some_alike()) {
        prop_assert_eq!(sorted(compare_slow(&a, &b, alike)), sorted(compare(&a, &b, alike)));
    }

    #[test]
    fn compared_with_itself_every_alert_is_the_same(a in some_alerts(), alike in some_alike()) {
        let fates = compare(&a, &a, alike);
        prop_assert_eq!(sorted(a.iter().map(|alert| Fate::Same(alert, alert))), sorted(fates));
    }

    #[test]
    fn sides_exchanged_exchange_what_appears_and_vanishes(a in some_alerts(), b in some_alerts(), alike in some_alike()) {
        let there = compare(&a, &b, alike);
        let back = compare(&b, &a, alike).into_iter().map(exchanged);
        prop_assert_eq!(sorted(there), sorted(back));
    }

    #[test]
    fn nothing_that_vanished_overlaps_what_appeared(a in some_alerts(), b in some_alerts(), alike in some_alike()) {
        let fates = compare(&a, &b, alike);
        let only = |side: usize| {
            let alone = fates.iter().map(|fate| fate.sides()).filter(move |sides| sides[1 - side].is_none());
            alone.filter_map(move |sides| sides[side])
        };
        for vanished in only(0) {
            for appeared in only(1).filter(|appeared| may_be_one(vanished, appeared, alike)) {
                prop_assert!(!vanished.overlaps(appeared), "{vanished:?} {appeared:?}");
            }
        }
    }

    #[test]
    fn fates_are_in_order_of_start_and_key_whatever_order_alerts_are_in(
        (a, mixed) in some_alerts().prop_flat_map(|a| (Just(a.clone()), Just(a).prop_shuffle())),
        b in some_alerts(),
        alike in some_alike(),
    ) {
        let fates = compare(&a, &b, alike);
        prop_assert_eq!(&fates, &compare(&mixed, &b, alike));
        let place = |fate: &Fate<'_>| (fate.start(), fate.sides().into_iter().flatten().next().map(|alert| alert.key.clone()));
        prop_assert!(fates.is_sorted_by_key(place), "{fates:?}");
    }
}

/// Of several alerts that overlap one, the earliest is that one.
#[test]
fn a_split_alert_is_its_first_part_and_the_others_appear() {
    let a = [alert("d", 0, 10, Severity::Warning)];
    let b = [[0, 2], [4, 5], [8, 10]].map(|[from, to]| alert("d", from, to, Severity::Warning));
    let expected = [Fate::Moved(&a[0], &b[0]), Fate::Appeared(&b[1]), Fate::Appeared(&b[2])];
    assert_eq!(expected, *compare(&a, &b, Alike::OfKey));
    let expected = [Fate::Moved(&b[0], &a[0]), Fate::Vanished(&b[1]), Fate::Vanished(&b[2])];
    assert_eq!(expected, *compare(&b, &a, Alike::OfKey));
}

#[test]
fn the_name_of_a_detection_counts_only_where_it_is_asked_for() {
    let a = [alert("old", 0, 10, Severity::Warning)];
    let b = [alert("new", 0, 10, Severity::Warning)];
    assert_eq!([Fate::Same(&a[0], &b[0])], *compare(&a, &b, Alike::OfKey));
    let expected = [Fate::Appeared(&b[0]), Fate::Vanished(&a[0])];
    assert_eq!(expected, *compare(&a, &b, Alike::OfKeyAndDetection));
}

const OPENED: &str = r#"{"time":"2024-01-01T00:00:00Z","key":{"z":"api","a":"h/1"},"id":"00f0","event":"opened","cause":null,"severity":"warning","detector":"a \"b\"","start":"2024-01-01T00:00:00Z","end":"2024-01-01T00:00:00Z","anomalies":1}"#;
const CLOSED: &str = r#"{"time":"2024-01-01T02:00:00Z","key":{"z":"api","a":"h/1"},"id":"00f0","event":"closed","cause":"quiet","severity":"critical","detector":"a \"b\"","start":"2024-01-01T00:00:00Z","end":"2024-01-01T00:30:00Z","anomalies":3}"#;

#[test]
fn an_alert_is_read_as_it_was_when_it_was_over() {
    let lines = [OPENED, CLOSED].join("\n");
    let expected = Alert {
        start: EventTime::from_micros(1_704_067_200_000_000),
        end: EventTime::from_micros(1_704_069_000_000_000),
        severity: Severity::Critical,
        key: ["api", "h/1"].map(str::to_owned).into(),
        detector: "a \"b\"".to_owned(),
        id: "00f0".to_owned(),
    };
    assert_eq!([expected], *Alert::read("a.jsonl", lines.as_bytes()).expect("they are alerts"));
}

#[test]
fn a_line_that_is_no_alert_is_refused() {
    for (line, reason) in [
        ("{}".to_owned(), "is no alert: missing field"),
        (CLOSED.replace("critical", "awful"), "is no alert: no severity is awful"),
        (CLOSED.replace("00:30:00Z", "soon"), "is not a time"),
        (CLOSED.replace("2024-01-01T00:30", "2023-01-01T00:30"), "is no alert: it ends before it starts"),
    ] {
        let error = Alert::read("a.jsonl", [OPENED, &line].join("\n").as_bytes()).expect_err(&line);
        let error = error.to_string();
        assert!(error.starts_with("a.jsonl:2: ") && error.contains(reason), "{error}");
    }
}

#[test]
fn a_report_has_no_line_for_what_is_the_same_and_says_how_others_moved() {
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    let a = [alert("d", 0, 5, warning), alert("d", 100, 130, warning), alert("d", 1_000, 1_001, critical)];
    let b =
        [alert("d", 0, 5, warning), alert("d", 105, 120, critical), alert("e\u{1b}", 2_000, 2_001, critical)];
    let fates = compare(&a, &b, Alike::OfKey);
    let report = Report { files: ["a.toml", "b.toml"], fates: &fates };
    let expected = "  start                 end                   detector  severity or change                                   key
~ 1970-01-01T01:40:00Z  1970-01-01T02:10:00Z  d         start 5m later, end 10m earlier, warning → critical  k
- 1970-01-01T16:40:00Z  1970-01-01T16:41:00Z  d         critical                                             k
+ 1970-01-02T09:20:00Z  1970-01-02T09:21:00Z  e\u{fffd}        critical                                             k

3 alerts in a.toml, 3 in b.toml: 1 the same, 1 moved, 1 appeared, 1 vanished";
    assert_eq!(expected, report.text());
    let json = report.json();
    assert_eq!(
        ["moved", "vanished", "appeared"],
        *json.iter().filter_map(|object| object["difference"].as_str()).collect::<Vec<_>>()
    );
    assert_eq!(
        (Some(300.0), Some(-600.0)),
        (json[0]["start_later_s"].as_f64(), json[0]["end_later_s"].as_f64())
    );
    assert!(
        json[1]["b"].is_null() && json[1]["start_later_s"].is_null() && json[2]["a"].is_null(),
        "{json:?}"
    );
    let counts = serde_json::json!({
        "a": { "file": "a.toml", "alerts": 3 }, "b": { "file": "b.toml", "alerts": 3 },
        "same": 1, "moved": 1, "appeared": 1, "vanished": 1,
    });
    assert_eq!(Some(&counts), json.last());
}

#[test]
fn without_a_difference_there_are_only_counts() {
    let report = Report { files: ["a.toml", "b.toml"], fates: &[] };
    assert_eq!("0 alerts in a.toml, 0 in b.toml: 0 the same, 0 moved, 0 appeared, 0 vanished", report.text());
    assert_eq!(1, report.json().len());
}
