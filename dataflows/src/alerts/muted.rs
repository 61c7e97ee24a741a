//! Alerts that are kept back.

use serde::{Deserialize, Serialize};

use super::Alert;
use crate::event::{Describe, Fields, Ranked};

/// An alert that is kept back, as far as it is known at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Muted {
    /// The alert.
    pub alert: Alert,
    /// Why it is kept back: what the list of mutes says.
    pub reason: Box<str>,
}

impl Describe for Muted {
    fn describe(&self, fields: &mut dyn Fields) {
        self.alert.describe(fields);
        fields.text("reason", Some(&self.reason));
    }
}

impl Ranked for Muted {
    fn rank(&self, other: &Self) -> std::cmp::Ordering {
        self.alert.rank(&other.alert)
    }
    fn series(&self) -> [&str; 2] {
        ["muted", &self.alert.peak.detector]
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
