use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::alerts::play::{alert, alerts, events, secs, Episode};
use crate::alerts::{Cause, Severity, Stage};

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

fn label(kept_as: &Key) -> Key {
    match KeptAs::of(kept_as.as_str(), 2) {
        KeptAs::Label(label) => label,
        other => panic!("{other:?} is no label"),
    }
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
            for (kept_as, _, state) in labels.changes() {
                let label = label(&kept_as);
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

/// Plays two alerts of one service up to a boundary, and from there on with another grouping.
fn changed(grouping: Grouping, alerts: &[Episode], boundary: i64) -> Vec<(EventTime, Key, Stage)> {
    let before = self::grouping(50);
    let mut labels = before.labels();
    let (before, after): (Vec<_>, Vec<_>) =
        events(alerts).into_iter().partition(|event| event.time < secs(boundary));
    before.into_iter().for_each(|event| labels.accept(event));
    labels.advance(secs(boundary), &mut |_| {});
    let mut again = grouping.labels();
    for (kept_as, _, state) in labels.changes() {
        again.restore(label(&kept_as), &state.unwrap(), secs(boundary)).unwrap();
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
