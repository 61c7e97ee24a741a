//! Alerts that belong together.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{whose, AlertId, Severity, Stage, Told};
use crate::event::{Describe, Fields, Ranked};
use crate::{EventTime, Key, Name};

/// Names an incident: a hash of pipeline, label and the time at which it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(AlertId);

impl IncidentId {
    pub(crate) fn of(pipeline: &str, label: &Key, time: EventTime) -> Self {
        Self(AlertId::of(whose(pipeline, "", label), time))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Alerts of keys with parts in common, a label, that overlap in event time, as far as they are known at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incident {
    /// Which one.
    pub id: IncidentId,
    /// What happens to it: its first alert opens; a further one does, or it becomes critical; none has been open for a while.
    pub stage: Stage,
    /// The highest severity of its alerts.
    pub severity: Severity,
    /// When its first alert opened.
    pub start: EventTime,
    /// When an alert of it last opened or closed.
    pub end: EventTime,
    /// How many alerts it has so far.
    pub alerts: u64,
    /// How many of them are open.
    pub open: u64,
    /// Of how many keys they are; those past 1,000 are not told apart.
    pub keys: u64,
    /// The key of its first alert.
    pub first_key: Key,
    /// The detection of its first alert.
    pub first_detector: Name,
    /// Its first alert.
    pub first_alert: AlertId,
}

impl Told for Incident {
    type Id = IncidentId;

    fn id(&self) -> IncidentId {
        self.id
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn describe_rest(&self, fields: &mut dyn Fields) {
        let Self { severity, start, end, alerts, open, keys, .. } = self;
        fields.text("severity", Some(severity.name()));
        fields.time("start", *start);
        fields.time("end", *end);
        fields.integer("alerts", Some(*alerts));
        fields.integer("open", Some(*open));
        fields.integer("keys", Some(*keys));
        fields.text("first_key", Some(&self.first_key.to_string()));
        fields.text("first_detector", Some(&self.first_detector));
        fields.text("first_alert", Some(&self.first_alert.to_string()));
    }
}

impl Describe for Incident {
    fn describe(&self, fields: &mut dyn Fields) {
        self.describe_told(fields);
    }
}

impl Ranked for Incident {
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
