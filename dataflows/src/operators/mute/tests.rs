use std::collections::BTreeMap;

use proptest::prelude::*;

use super::held::{Held, Said};
use super::*;
use crate::alerts::play::{alert, alerts, events, secs, Episode};
use crate::alerts::{Cause, Severity, Stage};
use crate::event::{Change, RevisionId};

type List = Edition<Vec<Entry>>;

fn entry() -> impl Strategy<Value = Entry> {
    let host = prop::option::of((0u8..4).prop_map(|host| format!("host{host}").into()));
    let service = prop::option::of((0u8..2).prop_map(|service| format!("web{service}").into()));
    (host, service, -5i64..100, 0i64..40).prop_map(|(host, service, from, length)| Entry {
        key: vec![host, service],
        detector: None,
        from: secs(from),
        to: if length == 39 { EventTime::MAX } else { secs(from + length) },
        reason: format!("{from}+{length}").into(),
    })
}

/// Editions in force from different times on, the first one from ever.
fn editions() -> impl Strategy<Value = Vec<List>> {
    let edition = || prop::collection::vec(entry(), 0..4);
    (edition(), prop::collection::btree_map(0i64..120, edition(), 0..4)).prop_map(|(first, later)| {
        let first = Edition { from: EventTime::MIN, value: first };
        let later = later.into_iter().map(|(from, value)| Edition { from: secs(from), value });
        std::iter::once(first).chain(later).collect()
    })
}

/// Whether alerts of a key are muted: what the edition in force says.
fn is_muted(editions: &[List], key: &Key, time: EventTime) -> bool {
    let edition = editions.iter().rfind(|edition| edition.from <= time);
    edition.is_some_and(|edition| edition.value.iter().any(|entry| entry.covers(key, "d", time)))
}

/// What is told of an alert of which this happens: all from the first instant on at which it is not muted, if it is open then.
fn told_slow(editions: &[List], stages: &[Emission<Alert>]) -> Vec<Emission<Alert>> {
    let (first, last) = (&stages[0], &stages[stages.len() - 1]);
    let opened = first.time.micros() / 1_000_000;
    // Whole seconds are all instants at which anything changes.
    let Some(from) = (opened..200).map(secs).find(|time| !is_muted(editions, &first.key, *time)) else {
        return Vec::new();
    };
    if from == first.time {
        return stages.to_vec();
    }
    if last.time <= from {
        return Vec::new();
    }
    let (before, after): (Vec<_>, Vec<_>) = stages.iter().cloned().partition(|stage| stage.time <= from);
    let newest = before.last().expect("it has opened before");
    let value = Alert { stage: Stage::Opened, ..newest.value };
    std::iter::once(Emission { time: from, key: first.key.clone(), value }).chain(after).collect()
}

/// All that is told of alerts.
fn all_slow(editions: &[List], alerts: &[Episode]) -> Vec<Emission<Alert>> {
    let mut stages = BTreeMap::<_, Vec<_>>::new();
    events(alerts).into_iter().for_each(|event| stages.entry(event.value.id).or_default().push(event));
    let mut told: Vec<_> = stages.values().flat_map(|stages| told_slow(editions, stages)).collect();
    told.sort();
    told
}

/// How alerts come: up to each of `steps`, and then to the end, each said `lead` seconds before it is final; saved
/// and restored at each step if `snapshots`.
struct Course<'a> {
    steps: &'a [i64],
    lead: i64,
    snapshots: bool,
}

/// What stands of what was said of alerts: each stage with its time, and whether it is final.
type Standing = BTreeMap<(EventTime, Key, Alert), bool>;

fn follow(standing: &mut Standing, revision: Revision<Alert>) {
    let Revision { time, key, change, .. } = revision;
    let place = |alert| (time, key.clone(), alert);
    match change {
        Change::Provisional(is) => assert_eq!(None, standing.insert(place(is), false), "it is said already"),
        Change::Revised { was, is } => {
            assert_eq!(Some(false), standing.remove(&place(was)));
            assert_eq!(None, standing.insert(place(is), false));
        }
        Change::Retracted(was) => assert_eq!(Some(false), standing.remove(&place(was))),
        Change::Confirmed(is) => assert_eq!(Some(false), standing.insert(place(is), true)),
    }
}

fn play(
    editions: &[List],
    alerts: &[Episode],
    course: &Course<'_>,
) -> (Vec<Emission<Alert>>, usize, Standing) {
    let mut held = Held::new(EventTime::MIN);
    let (mut told, mut muted, mut standing, mut kept) = (Vec::new(), 0, Standing::new(), BTreeMap::new());
    let (mut editions_left, mut learned) = (editions.iter().peekable(), Vec::new());
    let all = events(alerts);
    let (mut early, mut ripe) = (all.iter().peekable(), all.iter().peekable());
    let revision = |event: &Emission<Alert>, change| {
        let Emission { time, key, .. } = event.clone();
        Revision { id: RevisionId::of(&key, time, ["", ""], 0), revision: 0, time, key, change }
    };
    for limit in course.steps.iter().map(|step| secs(*step)).chain([EventTime::MAX]) {
        let mut out = Said::default();
        // An edition comes at the last moment.
        while let Some(edition) = editions_left.next_if(|edition| edition.from <= limit) {
            held.learn(edition.clone());
            learned.push(edition.clone());
        }
        let lead = limit.saturating_add(crate::Span::from_secs(course.lead));
        while let Some(event) = early.next_if(|event| event.time < lead) {
            let said = revision(event, Change::Provisional(event.value));
            held.hear_all([said].into_iter(), &mut out);
        }
        while let Some(event) = ripe.next_if(|event| event.time < limit) {
            held.accept(event.clone());
            held.hear_all([revision(event, Change::Confirmed(event.value))].into_iter(), &mut out);
        }
        held.advance(limit, &mut out);
        told.extend(out.told);
        muted += out.muted.len();
        out.revisions.into_iter().for_each(|revision| follow(&mut standing, revision));
        if course.snapshots && limit < EventTime::MAX {
            for (name, _, state) in held.changes() {
                match state {
                    Some(state) => drop(kept.insert(name, state)),
                    None => drop(kept.remove(&name)),
                }
            }
            held = Held::new(limit);
            // What was provisional is said anew.
            standing.retain(|_, is_final| *is_final);
            early = all.iter().peekable();
            while early.next_if(|event| event.time < limit).is_some() {}
            for (name, state) in &kept {
                let KeptAs::Muted(key) = KeptAs::of(name.as_str()) else { panic!("{name:?} is of no key") };
                held.restore(key, state).unwrap();
            }
            learned.iter().cloned().for_each(|edition| held.learn(edition));
        }
    }
    told.sort();
    (told, muted, standing)
}

proptest! {
    #[test]
    fn alerts_are_told_from_the_first_instant_on_at_which_nothing_mutes_them(
        alerts in alerts(), editions in editions(), lead in 0i64..30,
        mut steps in prop::collection::vec(0i64..150, 0..8), snapshots in any::<bool>(),
    ) {
        steps.sort_unstable();
        let (told, muted, standing) = play(&editions, &alerts, &Course { steps: &steps, lead, snapshots });
        prop_assert_eq!(all_slow(&editions, &alerts), told.clone());
        let opened = told.iter().filter(|alert| alert.value.stage == Stage::Opened).count();
        prop_assert!(opened <= alerts.len(), "each opens once");
        prop_assert!(told.len() + muted >= 3 * alerts.len(), "what is not told is muted");
        // What was provisional is what is final, once all is.
        let told: Standing = told.into_iter().map(|Emission { time, key, value }| ((time, key, value), true)).collect();
        prop_assert_eq!(told, standing);
    }
}

#[test]
fn what_is_still_wrong_after_a_maintenance_window_opens_then() {
    let mute = Entry {
        key: vec![Some("host0".into()), None],
        detector: Some("d".into()),
        from: secs(10),
        to: secs(20),
        reason: "update".into(),
    };
    let editions = [Edition { from: EventTime::MIN, value: vec![mute] }];
    // One is over in the window, one goes on after it, one began before it, and one is of another host.
    let alerts = [(0, 11, 5, false), (0, 17, 10, true), (0, 2, 12, false), (1, 12, 3, false)];
    let (told, muted, _) = play(&editions, &alerts, &Course { steps: &[], lead: 0, snapshots: false });
    let told: Vec<_> = told
        .iter()
        .map(|alert| (alert.value.start, alert.time, alert.key.clone(), alert.value.stage))
        .collect();
    let of = |host| alert(host, 0, Stage::Opened, Severity::Warning).key;
    let at = |host, start, time, stage| (secs(start), secs(time), of(host), stage);
    for stage in [
        at(0, 17, 20, Stage::Opened),
        at(0, 22, 22, Stage::Updated),
        at(0, 27, 27, Stage::Closed(Cause::Quiet)),
        at(0, 2, 2, Stage::Opened),
        at(0, 14, 14, Stage::Closed(Cause::Quiet)),
        at(1, 12, 12, Stage::Opened),
    ] {
        assert!(told.contains(&stage), "{stage:?} is among {told:?}");
    }
    assert_eq!((3 + 3 + 3, 4), (told.len(), muted));
}
