//! Which alerts are kept back, apart from timely.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::beside::{kept_as, Changed, KeptAs};
use crate::alerts::{Alert, AlertId, Muted, Stage};
use crate::event::{Change, Event, Revision, RevisionId};
use crate::mutes::{Edition, Mute, Mutes};
use crate::state::{self, told, Part, StateError};
use crate::{Emission, EventTime, Key};

/// What is said of alerts.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Those that are told.
    pub(super) told: Vec<Emission<Alert>>,
    /// Those that are kept back.
    pub(super) muted: Vec<Emission<Muted>>,
    /// What is provisional of those that are told, and what becomes of it.
    pub(super) revisions: Vec<Revision<Alert>>,
}

/// An alert that is kept back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    alert: Alert,
    reason: Box<str>,
    /// Until when: that hangs on editions that come.
    #[serde(skip, default = "at_once")]
    until: EventTime,
}

fn at_once() -> EventTime {
    EventTime::MIN
}

/// Whose state it is.
const MUTED: &str = "muted alerts";

/// Tells what is in the saved state of a key with muted alerts.
pub(in super::super) fn describe(bytes: &[u8]) -> Result<Vec<Part>, StateError> {
    told::parts(bytes, |bytes| state::restore::<BTreeMap<AlertId, Kept>>(MUTED, bytes))
}

/// What has come and is not before the frontiers yet.
#[derive(Default)]
struct Waiting {
    alerts: Vec<Emission<Alert>>,
    /// Alerts that were provisional, and are said to be final.
    confirmed: Vec<Revision<Alert>>,
}

/// The alerts of some keys that are kept back, in event time.
pub(super) struct Held {
    mutes: Mutes,
    /// What is before it has been seen.
    reached: EventTime,
    keys: BTreeMap<Key, BTreeMap<AlertId, Kept>>,
    due: BTreeSet<(EventTime, Key, AlertId)>,
    waiting: BTreeMap<EventTime, Waiting>,
    /// What is said of alerts, and not final.
    said: BTreeSet<(EventTime, Key, Alert)>,
    /// The keys of which something has changed since the last boundary, with when.
    changed: BTreeMap<Key, EventTime>,
}

impl Held {
    /// From a time on.
    pub(super) fn new(reached: EventTime) -> Self {
        Self {
            mutes: Mutes::default(),
            reached,
            keys: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeMap::new(),
            said: BTreeSet::new(),
            changed: BTreeMap::new(),
        }
    }

    pub(super) fn reached(&self) -> EventTime {
        self.reached
    }

    /// Learns of an edition, which is not in force before what was reached.
    pub(super) fn learn(&mut self, edition: Edition<Vec<Mute>>) {
        self.mutes.add(edition);
        self.due.clear();
        for (key, alerts) in &mut self.keys {
            for (id, Kept { alert, until, .. }) in alerts {
                let muted = self.mutes.muted(key, &alert.peak.detector, self.reached);
                *until = muted.map_or(self.reached, |(_, until)| until);
                self.due.insert((*until, key.clone(), *id));
            }
        }
    }

    pub(super) fn accept(&mut self, alert: Emission<Alert>) {
        self.waiting.entry(alert.time).or_default().alerts.push(alert);
    }

    /// Hears what is said before it is final, and passes on what is of alerts that seem to be told.
    pub(super) fn hear_all(&mut self, revisions: impl Iterator<Item = Revision<Alert>>, out: &mut Said) {
        for revision in revisions {
            let (time, key) = (revision.time, &revision.key);
            let (was, is) = match revision.change {
                Change::Provisional(is) => (None, Some(is)),
                Change::Revised { was, is } => (Some(was), Some(is)),
                Change::Retracted(was) => (Some(was), None),
                Change::Confirmed(_) => {
                    // It is known whether it is muted when that is final, too.
                    self.waiting.entry(time).or_default().confirmed.push(revision);
                    continue;
                }
            };
            let was = was.filter(|was| self.said.remove(&(time, key.clone(), *was)));
            let is = is.filter(|is| self.seems_told(key, is));
            self.said.extend(is.map(|is| (time, key.clone(), is)));
            let change = match (was, is) {
                (None, Some(is)) => Change::Provisional(is),
                (Some(was), Some(is)) => Change::Revised { was, is },
                (Some(was), None) => Change::Retracted(was),
                (None, None) => continue,
            };
            out.revisions.push(Revision { change, ..revision });
        }
    }

    /// Says that something is final, which may not have been said before, or that it is not told.
    fn confirm(&mut self, revision: Revision<Alert>, is_told: bool, out: &mut Said) {
        let is = *revision.change.value();
        let was_said = self.said.remove(&(revision.time, revision.key.clone(), is));
        let mut say = |revision: Revision<Alert>, more, change| {
            out.revisions.push(Revision { revision: revision.revision + more, change, ..revision });
        };
        match (was_said, is_told) {
            (true, true) => say(revision, 0, Change::Confirmed(is)),
            (true, false) => say(revision, 0, Change::Retracted(is)),
            (false, true) => {
                say(revision.clone(), 0, Change::Provisional(is));
                say(revision, 1, Change::Confirmed(is));
            }
            (false, false) => {}
        }
    }

    /// Whether an alert is told, as far as is known. Of one that is kept back nothing is said before it is told.
    fn seems_told(&self, key: &Key, alert: &Alert) -> bool {
        let is_held = self.keys.get(key).is_some_and(|alerts| alerts.contains_key(&alert.id));
        let has_opened = alert.start < self.reached;
        !is_held && (has_opened || self.mutes.muted(key, &alert.peak.detector, alert.start).is_none())
    }

    /// Comes to `limit`: takes all alerts before it, each time's in the order of their keys and detections, and tells those that
    /// nothing mutes any more before it.
    pub(super) fn advance(&mut self, limit: EventTime, out: &mut Said) {
        loop {
            let waiting = self.waiting.first_key_value().map(|(time, _)| *time).filter(|time| *time < limit);
            let due = self.due.first().map(|(time, ..)| *time).filter(|time| *time < limit);
            // What is over at the instant at which it would be told is not.
            match (waiting, due) {
                (Some(time), due) if due.is_none_or(|due| time <= due) => self.take(time, out),
                (_, Some(_)) => self.tell(out),
                _ => break,
            }
        }
        self.reached = self.reached.max(limit);
        self.mutes.forget(self.reached);
    }

    fn take(&mut self, time: EventTime, out: &mut Said) {
        let Waiting { mut alerts, confirmed } = self.waiting.remove(&time).unwrap_or_default();
        alerts.sort_by(Event::order);
        let mut hushed = BTreeSet::new();
        for alert in alerts {
            match self.keep(&alert) {
                Some(reason) => {
                    hushed.insert(alert.value.id);
                    out.muted.push(Emission {
                        time,
                        key: alert.key,
                        value: Muted { alert: alert.value, reason },
                    });
                }
                None => out.told.push(alert),
            }
        }
        for revision in confirmed {
            let is_told = !hushed.contains(&revision.change.value().id);
            self.confirm(revision, is_told, out);
        }
    }

    /// Keeps back what happens to an alert, if it is to be, and returns why.
    fn keep(&mut self, Emission { time, key, value }: &Emission<Alert>) -> Option<Box<str>> {
        let kept = self.keys.get_mut(key).and_then(|alerts| alerts.get_mut(&value.id));
        let reason = match (kept, value.stage) {
            (Some(Kept { reason, until, .. }), Stage::Closed(_)) => {
                let (reason, until) = (reason.clone(), *until);
                self.forget(until, key, value.id);
                reason
            }
            (Some(Kept { alert, reason, .. }), _) => {
                *alert = *value;
                reason.clone()
            }
            (None, Stage::Opened) => {
                let (reason, until) = self.mutes.muted(key, &value.peak.detector, *time)?;
                let kept = Kept { alert: *value, reason: reason.into(), until };
                let reason = kept.reason.clone();
                self.due.insert((until, key.clone(), value.id));
                self.keys.entry(key.clone()).or_default().insert(value.id, kept);
                reason
            }
            (None, _) => return None,
        };
        self.changed.insert(key.clone(), *time);
        Some(reason)
    }

    /// Tells the alert that nothing mutes any more first.
    fn tell(&mut self, out: &mut Said) {
        let Some((time, key, id)) = self.due.first().cloned() else { return };
        let Some(Kept { alert, .. }) = self.forget(time, &key, id) else { return };
        self.changed.insert(key.clone(), time);
        let alert = Alert { stage: Stage::Opened, ..alert };
        let id = RevisionId::of(&key, time, ["told", &alert.peak.detector], 0);
        let change = Change::Confirmed(alert);
        self.confirm(Revision { id, revision: 0, time, key: key.clone(), change }, true, out);
        out.told.push(Emission { time, key, value: alert });
    }

    fn forget(&mut self, until: EventTime, key: &Key, id: AlertId) -> Option<Kept> {
        self.due.remove(&(until, key.clone(), id));
        let alerts = self.keys.get_mut(key)?;
        let kept = alerts.remove(&id);
        if alerts.is_empty() {
            self.keys.remove(key);
        }
        kept
    }

    /// What has changed since the last call: of each key when, and its state, if any of its alerts is kept back.
    pub(super) fn changes(&mut self) -> Vec<Changed> {
        let save = |key: &Key| {
            self.keys.get(key).map(|alerts| {
                let mut bytes = Vec::new();
                state::save(alerts, &mut bytes);
                bytes
            })
        };
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed.map(|(key, last)| (kept_as(KeptAs::MUTED, &key), last, save(&key))).collect()
    }

    /// Takes back what was saved of a key at what was reached.
    pub(super) fn restore(&mut self, key: Key, mut bytes: &[u8]) -> Result<(), StateError> {
        let alerts: BTreeMap<AlertId, Kept> = state::restore(MUTED, &mut bytes)?;
        // Until when they are kept back is known with the first edition, which comes before anything else.
        self.keys.insert(key, alerts);
        Ok(())
    }
}
