//! Alerts for tests of what becomes of them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;

use super::{whose, Alert, AlertId, Cause, News, Raised, Severity, Stage, Told};
use crate::logic::Verdict;
use crate::{Emission, EventTime, Key};

pub(crate) fn secs(secs: i64) -> EventTime {
    EventTime::from_secs(secs).unwrap()
}

/// An alert of a key that opens at a time and closes later, and whether it turns critical.
pub(crate) type Episode = (u8, i64, i64, bool);

pub(crate) fn alert(key: u8, time: i64, stage: Stage, severity: Severity) -> Emission<Alert> {
    let key = Key::from_parts([format!("host{key}").as_str(), format!("web{}", key % 2).as_str()]);
    let id = AlertId::of(whose("p", "d", &key), secs(time));
    let peak = Verdict::of("d".into(), Some(1.0));
    let time = secs(time);
    let value = Alert { id, stage, severity, start: time, end: time, anomalies: 1, peak_time: time, peak };
    Emission { time, key, value }
}

/// What happens to alerts, in the order of time.
pub(crate) fn events(alerts: &[Episode]) -> Vec<Emission<Alert>> {
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
pub(crate) fn alerts() -> impl Strategy<Value = Vec<Episode>> {
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

/// What a reader of what is raised has, checked on the way, and whether it was confirmed.
pub(crate) struct Heard<T: Told>(BTreeMap<T::Id, (Raised<T>, bool)>);

impl<T: Told> Default for Heard<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Told<Id: Debug> + Clone + PartialEq + Debug> Heard<T> {
    pub(crate) fn hear(&mut self, raised: Raised<T>) -> Result<(), TestCaseError> {
        let known = self.0.get(&raised.value.id());
        let is_said = known.is_some_and(|(known, _)| known.news != News::Retracted);
        let was_confirmed = known.is_some_and(|(_, confirmed)| *confirmed);
        if let Some((known, _)) = known {
            prop_assert!(raised.revision > known.revision, "{:?}", raised);
            prop_assert_eq!(&raised.key, &known.key);
        }
        let now = (raised.time, &raised.value);
        let changes = known.is_none_or(|(known, _)| (known.time, &known.value) != now);
        let follows = match raised.news {
            News::Raised => !is_said && !was_confirmed,
            News::Revised => is_said && changes,
            News::Confirmed | News::Retracted => is_said && !was_confirmed && !changes,
        };
        prop_assert!(follows, "{:?} after {:?}", raised, known);
        let confirmed = was_confirmed || raised.news == News::Confirmed;
        self.0.insert(raised.value.id(), (raised, confirmed));
        Ok(())
    }

    pub(crate) fn said(&self) -> impl Iterator<Item = &(Raised<T>, bool)> {
        self.0.values().filter(|(raised, _)| raised.news != News::Retracted)
    }

    /// What is said, of what nothing is said of at `limit` or later.
    pub(crate) fn before(&self, limit: EventTime) -> BTreeMap<T::Id, (EventTime, T)> {
        let said = self.said().filter(|(raised, _)| raised.time < limit);
        said.map(|(raised, _)| (raised.value.id(), (raised.time, raised.value.clone()))).collect()
    }
}
