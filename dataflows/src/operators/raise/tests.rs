use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::keyed::play::{limits, logics, script, Play, Said};
use super::super::{Eager, Limits};
use super::*;
use crate::alerts::play::Heard;

/// Whether a key opened two episodes at one instant, which share an identifier: as where it lost its state in between.
fn is_twice(emitted: &[Said], id: AlertId) -> bool {
    let opened = |alert: &&Alert| alert.id == id && alert.stage == Stage::Opened;
    emitted.iter().filter_map(|(.., finding)| finding.alert()).filter(opened).count() > 1
}

/// Each alert as it finally is.
fn last(emitted: &[Said]) -> BTreeMap<AlertId, (EventTime, Alert)> {
    let alerts = emitted.iter().filter_map(|(time, _, finding)| Some((*time, *finding.alert()?)));
    alerts.map(|(time, alert)| (alert.id, (time, alert))).collect()
}

proptest! {
    #[test]
    fn up_to_the_frontier_alerts_are_said_as_they_finally_are(
        script in script(), limits in limits(), records in prop::sample::select(vec![0, 2, 256]),
    ) {
        for (name, logic) in logics().into_iter().filter(|(name, _)| name != "several") {
            let mut play = Play::new(logic(), limits, Some(Eager { records, ..Eager::default() }));
            let (mut followed, mut heard, mut told) = (Followed::default(), Heard::default(), 0);
            let steps = script.iter().map(Some).chain([None]);
            for step in steps {
                if let Some((partition, rows, advance)) = step {
                    play.arrive(*partition, rows);
                    if *advance > 0 {
                        play.advance(play.time(*advance * 4));
                    }
                } else {
                    play.advance(EventTime::MAX);
                }
                for revision in &play.revisions[told..] {
                    if let Some(revision) = revision.clone().narrow(|finding| finding.alert().copied()) {
                        followed.hear(revision);
                    }
                }
                told = play.revisions.len();
                followed.say().into_iter().try_for_each(|raised| heard.hear(raised))?;

                let mut expected = last(&play.emitted);
                let mut said = heard.before(play.frontier);
                said.retain(|id, _| !is_twice(&play.emitted, *id));
                expected.retain(|id, _| !is_twice(&play.emitted, *id) && heard.said().all(|(raised, _)| raised.value.id != *id || raised.time < play.frontier));
                prop_assert_eq!(expected, said, "{} before {}", name, play.frontier);
            }
            prop_assert!(heard.said().all(|(_, confirmed)| *confirmed), "{}", name);
            prop_assert!(followed.alerts.is_empty() && followed.changed.is_empty(), "{} remembers what is over", name);
        }
    }
}

#[test]
fn an_opening_that_moves_is_another_alert() {
    let logic = logics().into_iter().find(|(name, _)| name == "static").unwrap().1;
    let mut play = Play::new(logic(), Limits::default(), Some(Eager::default()));
    let mut followed = Followed::default();
    let mut say = |play: &mut Play| {
        let alerts = play
            .revisions
            .drain(..)
            .filter_map(|revision| revision.narrow(|finding| finding.alert().copied()));
        alerts.for_each(|revision| followed.hear(revision));
        followed
            .say()
            .into_iter()
            .map(|raised| (raised.news, raised.value.stage, raised.value.anomalies))
            .collect::<Vec<_>>()
    };
    play.arrive(0, &vec![(20, 0, 5.0)]);
    assert_eq!(vec![(News::Raised, Stage::Opened, 1)], say(&mut play));
    play.arrive(0, &vec![(12, 0, 5.0)]);
    let mut moved = say(&mut play);
    moved.sort_unstable();
    assert_eq!(vec![(News::Raised, Stage::Opened, 1), (News::Retracted, Stage::Opened, 1)], moved);
    play.advance(play.time(16));
    assert_eq!(vec![(News::Confirmed, Stage::Opened, 1)], say(&mut play));
}
