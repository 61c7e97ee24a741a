use proptest::prelude::*;

use super::*;
use crate::alerts::{AlertId, Cause, Severity, Stage};
use crate::logic::Verdict;

fn secs(secs: i64) -> EventTime {
    EventTime::from_secs(secs).unwrap()
}

/// An alert of a key that opens at a time and closes later, and whether it turns critical.
type Episode = (u8, i64, i64, bool);

fn alert(key: u8, time: i64, stage: Stage, severity: Severity) -> Emission<Alert> {
    let whose = format!("host{}\u{1f}web{}", key, key % 2);
    let key = Key::new(&whose);
    let id = AlertId::of(crate::alerts::whose("p", "d", &key), secs(time));
    let peak = Verdict::of("d".into(), Some(1.0));
    let time = secs(time);
    let value = Alert { id, stage, severity, start: time, end: time, anomalies: 1, peak_time: time, peak };
    Emission { time, key, value }
}

/// What happens to alerts, in the order of time.
fn events(alerts: &[Episode]) -> Vec<Emission<Alert>> {
    let mut events = Vec::new();
    for (key, from, length, critical) in alerts {
        let opened = alert(*key, *from, Stage::Opened, Severity::Warning);
        let severity = if *critical { Severity::Critical } else { Severity::Warning };
        let stage = |time, stage| {
            let Emission { time, key, value } = alert(*key, time, stage, severity);
            Emission { time, key, value: Alert { id: opened.value.id, ..value } }
        };
        events.extend([
            stage(from + length / 2, Stage::Updated),
            stage(from + length, Stage::Closed(Cause::Quiet)),
        ]);
        events.push(opened);
    }
    events.sort_by_key(|event| (event.time, event.value.stage));
    events
}

/// Alerts of which those of one key do not overlap.
fn alerts() -> impl Strategy<Value = Vec<Episode>> {
    let of_key = |key| {
        prop::collection::vec((1i64..40, 1i64..20, any::<bool>()), 0..5).prop_map(move |spans| {
            let mut now = 0;
            let place = |(pause, length, critical)| {
                let from: i64 = now + pause;
                now = from + length;
                (key, from, length, critical)
            };
            spans.into_iter().map(place).collect::<Vec<_>>()
        })
    };
    (of_key(0), of_key(1), of_key(2), of_key(3)).prop_map(|(a, b, c, d)| [a, b, c, d].concat())
}

fn grouping(gap: i64) -> Grouping {
    Grouping { pipeline: "p".into(), parts: vec![1], of: 2, gap: Span::from_secs(gap) }
}

/// The incidents as they close: of each label, alerts in the order in which they open, of which one that opens no later than a
/// gap after all before it have closed belongs to them.
fn closed_slow(alerts: &[Episode], gap: i64) -> Vec<(EventTime, Incident)> {
    let mut closed = Vec::new();
    for label in 0..2 {
        let mut of_label: Vec<_> = alerts.iter().filter(|(key, ..)| key % 2 == label).copied().collect();
        of_label.sort_by_key(|(key, from, ..)| (*from, *key));
        let mut rest = &of_label[..];
        while let [first, ..] = rest {
            let mut last = first.1 + first.2;
            let mut count = 1;
            while let Some((_, from, length, _)) = rest.get(count).filter(|(_, from, ..)| *from <= last + gap)
            {
                last = last.max(from + length);
                count += 1;
            }
            let (members, after) = rest.split_at(count);
            rest = after;
            let keys: BTreeSet<_> = members.iter().map(|(key, ..)| key).collect();
            let opened = alert(first.0, first.1, Stage::Opened, Severity::Warning);
            let critical = members.iter().any(|(.., critical)| *critical);
            let name = Key::new(&format!("web{label}"));
            closed.push((
                secs(last + gap),
                Incident {
                    id: crate::alerts::IncidentId::of("p", &name, secs(first.1)),
                    stage: Stage::Closed(Cause::Quiet),
                    severity: if critical { Severity::Critical } else { Severity::Warning },
                    start: secs(first.1),
                    end: secs(last),
                    alerts: count as u64,
                    open: 0,
                    keys: keys.len() as u64,
                    first_key: opened.key,
                    first_detector: "d".into(),
                    first_alert: opened.value.id,
                },
            ));
        }
    }
    closed.sort();
    closed
}

/// Plays incidents over alerts, up to each of `steps` and then to the end, saved and restored at each if `snapshots`.
fn play(alerts: &[Episode], gap: i64, steps: &[i64], snapshots: bool) -> Vec<(EventTime, Key, Incident)> {
    let grouping = grouping(gap);
    let (mut labels, mut said) = (grouping.labels(), Vec::new());
    let mut kept = std::collections::BTreeMap::new();
    let mut events = events(alerts).into_iter().peekable();
    for limit in steps.iter().map(|step| secs(*step)).chain([EventTime::MAX]) {
        while let Some(event) = events.next_if(|event| event.time < limit) {
            labels.accept(event);
        }
        labels.advance(limit, &mut |Emission { time, key, value }| said.push((time, key, value)));
        if snapshots {
            for (label, _, state) in labels.changes() {
                match state {
                    Some(state) => drop(kept.insert(label, state)),
                    None => drop(kept.remove(&label)),
                }
            }
            labels = grouping.labels();
            kept.iter().for_each(|(label, state)| labels.restore(label.clone(), state, limit).unwrap());
        }
    }
    said.sort();
    said
}

proptest! {
    #[test]
    fn incidents_are_alerts_that_overlap(
        alerts in alerts(), gap in 0i64..15,
        mut steps in prop::collection::vec(0i64..150, 0..8), snapshots in any::<bool>(),
    ) {
        steps.sort_unstable();
        let said = play(&alerts, gap, &steps, snapshots);
        let closed = said.iter().filter(|(.., incident)| incident.stage.cause().is_some());
        let mut closed: Vec<_> = closed.map(|(time, _, incident)| (*time, incident.clone())).collect();
        closed.sort();
        prop_assert_eq!(closed_slow(&alerts, gap), closed);
        let told = said.iter().filter(|(.., incident)| incident.stage.cause().is_none());
        let opened = told.clone().filter(|(.., incident)| incident.stage == Stage::Opened).count();
        prop_assert_eq!(opened, said.len() - told.clone().count());
        let critical = |(.., incident): &&(EventTime, Key, Incident)| incident.severity == Severity::Critical;
        let turned = said.iter().filter(critical).map(|(.., incident)| incident.id).collect::<BTreeSet<_>>();
        prop_assert_eq!(alerts.len() + turned.len(), told.count(), "one for each alert, and where it turns critical");
        prop_assert_eq!(said, play(&alerts, gap, &[], false), "where it stops in between changes nothing");
    }
}

#[test]
fn what_is_kept_of_a_label_is_that_of_no_key() {
    let grouping = grouping(0);
    let label = grouping.label(&Key::from_parts(["a", "web"]));
    assert_eq!(Key::new("web"), label);
    let kept_as = grouping.kept_as(&label);
    assert_eq!(Some(label), label_kept_as(kept_as.as_str(), 2));
    for key in [["", ""], ["", "web"], ["a", ""]] {
        assert_eq!(None, label_kept_as(Key::from_parts(key).as_str(), 2), "{key:?}");
    }
}

/// Plays two alerts of one service up to a boundary, and from there on with another grouping.
fn changed(grouping: Grouping, alerts: &[Episode], boundary: i64) -> Vec<(EventTime, Key, Stage)> {
    let before = self::grouping(50);
    let mut labels = before.labels();
    let (before, after): (Vec<_>, Vec<_>) =
        events(alerts).into_iter().partition(|event| event.time < secs(boundary));
    before.into_iter().for_each(|event| labels.accept(event));
    labels.advance(secs(boundary), &mut |_| {});
    let mut again = grouping.labels();
    for (label, _, state) in labels.changes() {
        again.restore(label, &state.unwrap(), secs(boundary)).unwrap();
    }
    after.into_iter().for_each(|event| again.accept(event));
    let mut said = Vec::new();
    again.advance(EventTime::MAX, &mut |Emission { time, key, value }| said.push((time, key, value.stage)));
    said
}

#[test]
fn what_a_shorter_gap_has_over_already_is_over_where_the_run_goes_on() {
    let said = changed(grouping(1), &[(1, 0, 5, false)], 30);
    assert_eq!(vec![(secs(30), Key::new("web1"), Stage::Closed(Cause::Quiet))], said);
}

#[test]
fn an_alert_that_opens_where_the_run_goes_on_keeps_an_incident_open() {
    let said = changed(grouping(1), &[(1, 0, 5, false), (1, 30, 10, false)], 30);
    let at = |time, stage| (secs(time), Key::new("web1"), stage);
    assert_eq!(vec![at(30, Stage::Updated), at(41, Stage::Closed(Cause::Quiet))], said);
}

#[test]
fn incidents_of_another_grouping_are_over_where_the_run_goes_on() {
    let by_host = Grouping { parts: vec![0], ..grouping(1) };
    let said = changed(by_host, &[(1, 0, 50, false)], 30);
    assert_eq!(vec![(secs(30), Key::new("web1"), Stage::Closed(Cause::Quiet))], said);
}
