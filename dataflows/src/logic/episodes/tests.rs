use proptest::prelude::*;

use super::*;
use crate::alerts::Alert;
use crate::logic::drive::Drive;
use crate::logic::Standing;
use crate::Span;

fn secs(secs: i64) -> EventTime {
    EventTime::from_secs(secs).unwrap()
}

fn verdict(score: Option<f64>, anomalous: bool, standing: Standing) -> Verdict {
    Verdict { anomalous, standing, ..Verdict::of("d".into(), score) }
}

/// What is emitted for verdicts at these seconds, the last of which is a frontier; then the end.
fn findings(
    logic: &Episodes,
    verdicts: &[(i64, Verdict)],
    end: i64,
    snapshots: bool,
) -> Vec<(EventTime, Finding)> {
    let mut drive = Drive::start(logic);
    for (time, verdict) in verdicts {
        drive.record(secs(*time), verdict);
        if snapshots {
            drive.snapshot();
        }
    }
    drive.frontier(secs(end));
    drive.end(secs(end));
    drive.emitted
}

fn alerts(findings: &[(EventTime, Finding)]) -> Vec<(EventTime, Alert)> {
    findings.iter().filter_map(|(time, finding)| Some((*time, *finding.alert()?))).collect()
}

/// When and why the episode that opens with verdict `from` is over, from the definition: with the first verdict, time or end
/// that makes it so.
fn over_slow(lapse: Lapse, verdicts: &[(i64, Verdict)], from: usize, end: i64) -> (EventTime, Cause, usize) {
    let lasts = |at: usize| {
        let lasting =
            |(_, verdict): &(i64, Verdict)| verdict.anomalous && verdict.standing == Standing::Lasting;
        verdicts[from..at].iter().any(lasting)
    };
    for at in from + 1..verdicts.len() {
        let last = (from..at).rev().find(|before| verdicts[*before].1.anomalous).unwrap();
        if let (Lapse::Time(span), false) = (lapse, lasts(at)) {
            let due = secs(verdicts[last].0).saturating_add(span);
            if due < secs(verdicts[at].0) {
                return (due, Cause::Quiet, at);
            }
        }
        let (time, verdict) = &verdicts[at];
        let quiet = verdicts[last + 1..=at].iter().filter(|(_, verdict)| verdict.score.is_some()).count();
        match (verdict.anomalous, verdict.standing, lapse) {
            (true, ..) => {}
            (_, Standing::Returned, _) => return (secs(*time), Cause::Returned, at + 1),
            (_, Standing::Shifted, _) => return (secs(*time), Cause::Shifted, at + 1),
            (_, _, Lapse::Records(records)) if !lasts(at) && quiet >= records as usize => {
                return (secs(*time), Cause::Quiet, at + 1)
            }
            _ => {}
        }
    }
    let last = (from..verdicts.len()).rev().find(|before| verdicts[*before].1.anomalous).unwrap();
    match lapse {
        Lapse::Time(span)
            if !lasts(verdicts.len()) && secs(verdicts[last].0).saturating_add(span) < secs(end) =>
        {
            (secs(verdicts[last].0).saturating_add(span), Cause::Quiet, verdicts.len())
        }
        _ => (secs(end.max(verdicts.last().unwrap().0)), Cause::Ended, verdicts.len()),
    }
}

/// Each alert from the verdicts of its episode up to its time, all of which are looked at anew.
fn alerts_slow(
    lapse: Lapse,
    rearm: f64,
    critical: f64,
    verdicts: &[(i64, Verdict)],
    end: i64,
) -> Vec<(EventTime, Alert)> {
    let mut said = Vec::new();
    let mut at = 0;
    while let Some(from) = (at..verdicts.len()).find(|at| verdicts[*at].1.anomalous) {
        let (closed, cause, next) = over_slow(lapse, verdicts, from, end);
        let anomalies: Vec<_> =
            verdicts[from..next].iter().filter(|(_, verdict)| verdict.anomalous).copied().collect();
        let score = |verdict: &Verdict| verdict.score.unwrap();
        let so_far = |count: usize, stage| {
            let highest = anomalies[..count].iter().map(|(_, verdict)| score(verdict)).fold(0.0, f64::max);
            let (peak_time, peak) = *anomalies.iter().find(|(_, verdict)| score(verdict) == highest).unwrap();
            Alert {
                id: crate::alerts::AlertId::of(
                    alerts::whose("p", "d", &Key::new("key")),
                    secs(anomalies[0].0),
                ),
                stage,
                severity: if highest >= critical { Severity::Critical } else { Severity::Warning },
                start: secs(anomalies[0].0),
                end: secs(anomalies[count - 1].0),
                anomalies: count as u64,
                peak_time: secs(peak_time),
                peak,
            }
        };
        said.push((secs(anomalies[0].0), so_far(1, Stage::Opened)));
        let mut told = 0;
        for (index, (time, verdict)) in anomalies.iter().enumerate().skip(1) {
            let before = score(&anomalies[told].1);
            let worse = score(verdict) >= before * rearm && score(verdict) > before;
            let turns_critical =
                so_far(index, Stage::Updated).severity == Severity::Warning && score(verdict) >= critical;
            if worse || turns_critical {
                told = index;
                said.push((secs(*time), so_far(index + 1, Stage::Updated)));
            }
        }
        said.push((closed, so_far(anomalies.len(), Stage::Closed(cause))));
        at = next;
    }
    said
}

fn some_verdicts() -> impl Strategy<Value = Vec<(i64, Verdict)>> {
    let standing = prop::sample::select(vec![
        Standing::Alone,
        Standing::Alone,
        Standing::Alone,
        Standing::Lasting,
        Standing::Returned,
        Standing::Shifted,
    ]);
    let one =
        (0i64..5, prop::option::weighted(0.8, 0u8..10), standing).prop_map(|(pause, score, standing)| {
            let score = score.map(f64::from);
            let anomalous = score >= Some(4.0) && !standing.is_over();
            (pause, verdict(score, anomalous, standing))
        });
    prop::collection::vec(one, 1..60).prop_map(|verdicts| {
        let mut now = 0;
        let at = |(pause, verdict)| {
            now += pause;
            (now, verdict)
        };
        verdicts.into_iter().map(at).collect()
    })
}

proptest! {
    #[test]
    fn alerts_are_those_of_the_definition(
        verdicts in some_verdicts(),
        lapse in prop_oneof![
            (1u32..6).prop_map(Lapse::Records),
            (1i64..12).prop_map(|seconds| Lapse::Time(Span::from_secs(seconds))),
        ],
        rearm in 1u8..3, critical in 5u8..12, later in 0i64..20, snapshots in any::<bool>(),
    ) {
        let (rearm, critical) = (f64::from(rearm), f64::from(critical));
        let logic = Episodes::new("p", "d").close_after(lapse).unwrap().rearm(rearm).unwrap().critical(critical);
        let end = verdicts.last().unwrap().0 + later;
        let found = findings(&logic, &verdicts, end, snapshots);
        prop_assert_eq!(alerts_slow(lapse, rearm, critical, &verdicts, end), alerts(&found));

        let passed = |all: bool| verdicts.iter().filter(move |(_, verdict)| all || verdict.anomalous).map(|(_, verdict)| *verdict);
        let said = |found: &[(EventTime, Finding)]| found.iter().filter_map(|(_, finding)| finding.verdict().copied()).collect::<Vec<_>>();
        prop_assert_eq!(passed(false).collect::<Vec<_>>(), said(&found));
        let all = findings(&logic.and_normal(), &verdicts, end, snapshots);
        prop_assert_eq!(passed(true).collect::<Vec<_>>(), said(&all));
        prop_assert_eq!(alerts(&found), alerts(&all));
    }
}

#[test]
fn a_calibrated_score_is_clearly_worse_if_it_is_clearly_less_probable() {
    let logic = Episodes::new("p", "d").rearm(10.0).unwrap().calibrated();
    let at = |time, score| (time, verdict(Some(score), true, Standing::Alone));
    let said =
        [at(0, 0.99), at(1, 0.995), at(2, 0.9985), at(3, 0.9991), at(4, 0.9999), at(5, 1.0), at(6, 1.0)];
    let stages: Vec<_> = alerts(&findings(&logic, &said, 10, false))
        .into_iter()
        .map(|(time, alert)| (time, alert.stage))
        .collect();
    let updated = |time| (secs(time), Stage::Updated);
    let expected =
        vec![(secs(0), Stage::Opened), updated(3), updated(5), (secs(10), Stage::Closed(Cause::Ended))];
    assert_eq!(expected, stages);
}

#[test]
fn identifiers_tell_pipelines_detections_keys_and_openings_apart() {
    let id = |pipeline: &str, detector: &str, key: &str, time| {
        crate::alerts::AlertId::of(alerts::whose(pipeline, detector, &Key::new(key)), secs(time))
    };
    let ids = [
        id("p", "d", "k", 1),
        id("q", "d", "k", 1),
        id("p", "e", "k", 1),
        id("p", "d", "l", 1),
        id("p", "d", "k", 2),
    ];
    for (at, one) in ids.iter().enumerate() {
        assert!(ids[..at].iter().all(|other| other != one), "{at}");
    }
    assert_eq!(id("p", "d", "k", 1), ids[0]);
}

#[test]
fn what_is_out_of_range_is_refused() {
    let refused = |made: Result<Episodes, ParamError>| made.unwrap_err().to_string();
    let lapse = "a whole number of records in [1, 1000000], or a length of time, as in \"5m\"";
    assert_eq!(
        format!("\"close_after\" takes {lapse}, not 0"),
        refused(Episodes::new("p", "d").close_after(Lapse::NONE))
    );
    assert_eq!(
        format!("\"close_after\" takes {lapse}, not \"0s\""),
        refused(Episodes::new("p", "d").close_after(Lapse::Time(Span::ZERO)))
    );
    assert_eq!(
        "\"rearm\" takes a number of at least 1, not 0.5",
        refused(Episodes::new("p", "d").rearm(0.5))
    );
}
