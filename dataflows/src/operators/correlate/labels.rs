//! Which incidents are open, apart from timely.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::beside::Changed;
use super::Grouping;
use crate::alerts::{Alert, AlertId, Cause, Incident, IncidentId, Stage};
use crate::event::Event;
use crate::record::KeyId;
use crate::state::{self, told, Part, StateError};
use crate::{Emission, EventTime, Key, Span};

/// An incident that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) incident: Incident,
    /// The alerts that are open; two of one identifier can be.
    alerts: BTreeMap<AlertId, u32>,
    /// Its keys, as many as are told apart.
    keys: BTreeSet<KeyId>,
    /// Which parts of their keys its alerts have in common.
    parts: Vec<usize>,
    /// When it is over: where a run goes on, that may be later than its alerts say.
    #[serde(skip)]
    pub(super) due: Option<EventTime>,
}

/// As many keys of an incident are told apart.
const KEYS: usize = 1000;

impl Open {
    fn of(grouping: &Grouping, label: &Key, Emission { time, key, value }: &Emission<Alert>) -> Self {
        let incident = Incident {
            id: IncidentId::of(&grouping.pipeline, label, *time),
            stage: Stage::Opened,
            severity: value.severity,
            start: *time,
            end: *time,
            alerts: 0,
            open: 0,
            keys: 0,
            first_key: key.clone(),
            first_detector: value.peak.detector,
            first_alert: value.id,
        };
        let parts = grouping.parts.clone();
        Self { incident, alerts: BTreeMap::new(), keys: BTreeSet::new(), parts, due: None }
    }

    /// Takes what happens to an alert; `true` if that is to be told.
    fn take(&mut self, Emission { time, key, value }: &Emission<Alert>) -> bool {
        let Self { incident, alerts, keys, .. } = self;
        let worse = value.severity > incident.severity;
        incident.severity = incident.severity.max(value.severity);
        match value.stage {
            Stage::Opened => {
                *alerts.entry(value.id).or_default() += 1;
                if keys.len() < KEYS {
                    keys.insert(key.id());
                }
                incident.alerts += 1;
                incident.open += 1;
                incident.keys = keys.len() as u64;
                incident.end = *time;
                true
            }
            Stage::Updated => worse,
            Stage::Closed(_) => {
                let left = alerts.get_mut(&value.id).map(|open| {
                    *open -= 1;
                    *open
                });
                if left == Some(0) {
                    alerts.remove(&value.id);
                }
                if left.is_some() {
                    incident.open -= 1;
                    incident.end = *time;
                }
                worse
            }
        }
    }

    /// Lets something happen to an alert of a label, where this is what is open; returns the incident, if that is to be told.
    pub(super) fn follow(
        open: &mut Option<Self>,
        grouping: &Grouping,
        label: &Key,
        alert: &Emission<Alert>,
    ) -> Option<Incident> {
        if open.is_none() && alert.value.stage == Stage::Opened {
            *open = Some(Self::of(grouping, label, alert));
        }
        let open = open.as_mut()?;
        let told = open.take(alert).then(|| open.incident.clone());
        if told.is_some() {
            open.incident.stage = Stage::Updated;
        }
        open.due = open.over(grouping.gap);
        told
    }

    /// The incident as it is told to be over, if it is before `time`.
    pub(super) fn over_before(&self, time: EventTime) -> Option<(EventTime, Incident)> {
        let due = self.due.filter(|due| *due < time)?;
        Some((due, Incident { stage: Stage::Closed(Cause::Quiet), ..self.incident.clone() }))
    }

    /// When it is over unless an alert opens until then.
    fn over(&self, gap: Span) -> Option<EventTime> {
        let latest = EventTime::MAX.saturating_sub(Span::from_micros(1));
        (self.incident.open == 0).then(|| self.incident.end.saturating_add(gap).min(latest))
    }
}

/// Tells what is in the saved state of an incident.
pub(in super::super) fn describe(bytes: &[u8]) -> Result<Vec<Part>, StateError> {
    told::parts(bytes, |bytes| state::restore::<Open>(INCIDENTS, bytes))
}

/// Whose state it is.
const INCIDENTS: &str = "incidents";

/// The incidents of some labels, in event time.
pub(super) struct Labels {
    grouping: Grouping,
    open: BTreeMap<Key, Open>,
    due: BTreeSet<(EventTime, Key)>,
    /// What has come and is not before any frontier yet.
    waiting: BTreeMap<EventTime, Vec<Emission<Alert>>>,
    /// The labels whose incident has changed since the last boundary, with when.
    changed: BTreeMap<Key, EventTime>,
}

impl Labels {
    pub(super) fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    pub(super) fn accept(&mut self, alert: Emission<Alert>) {
        self.waiting.entry(alert.time).or_default().push(alert);
    }

    /// Comes to `limit`: takes all alerts before it, each time's in the order of their keys and detections, and closes what is
    /// over before it.
    pub(super) fn advance(&mut self, limit: EventTime, out: &mut impl FnMut(Emission<Incident>)) {
        loop {
            let alerts = self.waiting.first_key_value().map(|(time, _)| *time).filter(|time| *time < limit);
            let over = self.due.first().map(|(time, _)| *time).filter(|time| *time < limit);
            // What opens at the time at which one would be over goes on with it.
            match (alerts, over) {
                (Some(time), over) if over.is_none_or(|over| time <= over) => self.take(time, out),
                (_, Some(_)) => self.close(out),
                _ => return,
            }
        }
    }

    fn take(&mut self, time: EventTime, out: &mut impl FnMut(Emission<Incident>)) {
        let mut alerts = self.waiting.remove(&time).unwrap_or_default();
        alerts.sort_by(Event::order);
        for alert in alerts {
            let label = self.grouping.label(&alert.key);
            let mut open = self.open.remove(&label);
            if let Some(due) = open.as_mut().and_then(|open| open.due.take()) {
                self.due.remove(&(due, label.clone()));
            }
            if let Some(value) = Open::follow(&mut open, &self.grouping, &label, &alert) {
                out(Emission { time, key: label.clone(), value });
            }
            let Some(open) = open else { continue };
            self.due.extend(open.due.map(|due| (due, label.clone())));
            self.open.insert(label.clone(), open);
            self.changed.insert(label, time);
        }
    }

    /// Closes the incident that is over first.
    fn close(&mut self, out: &mut impl FnMut(Emission<Incident>)) {
        let Some((_, label)) = self.due.pop_first() else { return };
        let over = self.open.remove(&label).and_then(|open| open.over_before(EventTime::MAX));
        let Some((time, value)) = over else { return };
        self.changed.insert(label.clone(), time);
        out(Emission { time, key: label, value });
    }

    /// What is open of a label.
    pub(super) fn open(&self, label: &Key) -> Option<&Open> {
        self.open.get(label)
    }

    /// What is open of each label.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Open)> {
        self.open.iter()
    }

    /// What has changed since the last call: of each label when, and its state, if its incident is open.
    pub(super) fn changes(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let save = |label: &Key| {
            self.open.get(label).map(|open| {
                let mut bytes = Vec::new();
                state::save(open, &mut bytes);
                bytes
            })
        };
        changed.map(|(label, last)| (self.grouping.kept_as(&label), last, save(&label))).collect()
    }

    /// Takes back what was saved of a label at `boundary`. What is over there already, because alerts are grouped in another
    /// way than they were, is over at the boundary.
    pub(super) fn restore(
        &mut self,
        label: Key,
        mut bytes: &[u8],
        boundary: EventTime,
    ) -> Result<(), StateError> {
        let mut open: Open = state::restore(INCIDENTS, &mut bytes)?;
        open.due = match open.parts == self.grouping.parts {
            true => open.over(self.grouping.gap).map(|due| due.max(boundary)),
            false => Some(boundary),
        };
        self.due.extend(open.due.map(|due| (due, label.clone())));
        self.open.insert(label, open);
        Ok(())
    }
}
