use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::alerts::play::{alert, alerts, events, secs, Episode, Heard};
use crate::alerts::{Cause, Severity, Stage};
use crate::event::{Change, RevisionId};

fn grouping(gap: i64) -> Grouping {
    Grouping { pipeline: "p".into(), parts: vec![1], gap: Span::from_secs(gap) }
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
    match KeptAs::of(kept_as.as_str()) {
        KeptAs::Label(label) => label,
        other => panic!("{other:?} is no label"),
    }
}

/// Plays incidents over alerts, up to each of `steps` and then to the end, saved and restored at each if `snapshots`.
fn play(alerts: &[Episode], gap: i64, steps: &[i64], snapshots: bool) -> Vec<(EventTime, Key, Incident)> {
    let grouping = grouping(gap);
    let (mut labels, mut said) = (grouping.labels(), Vec::new());
    let mut kept = BTreeMap::new();
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

/// How what is said of alerts comes: up to each of `steps` and then to the end, `lead` seconds before it is final.
struct Course<'a> {
    steps: &'a [i64],
    lead: i64,
}

fn revision(event: &Emission<Alert>, change: fn(Alert) -> Change<Alert>) -> Revision<Alert> {
    let Emission { time, key, value } = event.clone();
    let id = RevisionId::of(&key, time, ["", ""], 0);
    Revision { id, revision: 0, time, key, change: change(value) }
}

/// Plays incidents over alerts, and over ghosts, which are taken back before they are final; a reader hears all that is said.
fn play_ahead(
    alerts: &[Episode],
    ghosts: &[Episode],
    gap: i64,
    course: &Course<'_>,
) -> Result<(), TestCaseError> {
    let grouping = grouping(gap);
    let mut labels = grouping.labels();
    let (mut ahead, mut heard) = (Ahead::of(grouping, &labels), Heard::default());
    let mut last = BTreeMap::new();
    let (all, ghosts) = (events(alerts), events(ghosts));
    let (mut early, mut ripe) = (all.iter().peekable(), all.iter().peekable());
    let (mut coming, mut going) = (ghosts.iter().peekable(), ghosts.iter().peekable());
    for limit in course.steps.iter().map(|step| secs(*step)).chain([EventTime::MAX]) {
        let lead = limit.saturating_add(Span::from_secs(course.lead));
        while let Some(event) = early.next_if(|event| event.time < lead) {
            ahead.hear(revision(event, Change::Provisional));
        }
        while let Some(ghost) = coming.next_if(|ghost| ghost.time < lead) {
            ahead.hear(revision(ghost, Change::Provisional));
        }
        ahead.say(&labels).into_iter().try_for_each(|raised| heard.hear(raised))?;
        while let Some(ghost) = going.next_if(|ghost| ghost.time < limit) {
            ahead.hear(revision(ghost, Change::Retracted));
        }
        while let Some(event) = ripe.next_if(|event| event.time < limit) {
            ahead.hear(revision(event, Change::Confirmed));
            labels.accept(event.clone());
        }
        labels.advance(limit, &mut |incident| {
            ahead.tell(&incident);
            last.insert(incident.value.id, (incident.time, incident.value));
        });
        ahead.pass(limit);
        ahead.say(&labels).into_iter().try_for_each(|raised| heard.hear(raised))?;
        // What is said of later times is not final.
        let later: Vec<_> = heard.said().filter(|(raised, _)| raised.time >= limit).collect();
        let mut expected = last.clone();
        expected.retain(|id, _| later.iter().all(|(raised, _)| raised.value.id != *id));
        prop_assert_eq!(expected, heard.before(limit), "before {}", limit);
    }
    prop_assert!(heard.said().all(|(_, confirmed)| *confirmed));
    prop_assert!(ahead.is_empty(), "it remembers what is over");
    Ok(())
}

proptest! {
    #[test]
    fn up_to_the_frontier_incidents_are_said_as_they_finally_are(
        alerts in alerts(), ghosts in alerts(), gap in 0i64..15, lead in 0i64..40,
        mut steps in prop::collection::vec(0i64..150, 0..8),
    ) {
        steps.sort_unstable();
        // Of keys that have no alerts of their own.
        let ghosts: Vec<_> = ghosts.into_iter().map(|(key, from, length, critical)| (key + 4, from, length, critical)).collect();
        play_ahead(&alerts, &ghosts, gap, &Course { steps: &steps, lead })?;
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
