//! What detections find out about a key.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Alert;
use crate::event::Ranked;
use crate::logic::Verdict;
use crate::Emission;

/// What a detection finds out about a key: something of a record, or of an episode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Finding {
    /// What it says of a record.
    Verdict(Verdict),
    /// What happens to an episode.
    Alert(Box<Alert>),
}

impl Finding {
    /// The verdict, if it is one.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Verdict(verdict) => Some(verdict),
            Self::Alert(_) => None,
        }
    }

    /// The alert, if it is one.
    pub fn alert(&self) -> Option<&Alert> {
        match self {
            Self::Verdict(_) => None,
            Self::Alert(alert) => Some(alert),
        }
    }

    fn detector(&self) -> &str {
        match self {
            Self::Verdict(verdict) => &verdict.detector,
            Self::Alert(alert) => &alert.peak.detector,
        }
    }
}

/// By detection; what one finds, in the order in which it found it.
impl Ranked for Finding {
    fn rank(&self, other: &Self) -> Ordering {
        self.detector().cmp(other.detector())
    }
    fn series(&self) -> [&str; 2] {
        match self {
            Self::Verdict(verdict) => verdict.series(),
            Self::Alert(alert) => alert.series(),
        }
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}

/// What is emitted, as something narrower, if it is that.
impl Emission<Finding> {
    /// The verdict, if it is one.
    pub fn verdict(self) -> Option<Emission<Verdict>> {
        let Self { time, key, value } = self;
        let verdict = *value.verdict()?;
        Some(Emission { time, key, value: verdict })
    }

    /// The alert, if it is one.
    pub fn alert(self) -> Option<Emission<Alert>> {
        let Self { time, key, value } = self;
        let alert = *value.alert()?;
        Some(Emission { time, key, value: alert })
    }
}
