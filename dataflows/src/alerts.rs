//! What is worth a person's attention: an alert for each episode of anomalies.
//!
//! A detection judges records; somebody who is woken wants to hear of an *episode*: that it begins, that it becomes
//! clearly worse, that it is over. An [`Alert`] is an episode as far as it is known at a time, under an identifier that
//! stays the same as it goes on. [`Episodes`](crate::logic::Episodes) makes alerts of verdicts, in event time, so that they
//! are as final as the verdicts; [`Raise`](crate::operators::Raise) says them before.

mod finding;
mod incident;
mod muted;
#[cfg(test)]
pub(crate) mod play;
mod raised;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::event::{Describe, Fields, Ranked};
use crate::logic::Verdict;
use crate::{EventTime, Key};

pub use finding::Finding;
pub use incident::{Incident, IncidentId};
pub use muted::Muted;
pub use raised::{News, Raised, Told};

/// Names an episode: a hash of pipeline, detection, key and the time at which it opened.
///
/// So it is the same in every run, and in what is said before it is final. Two episodes of a key that open at the same
/// instant share it. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(u64);

impl AlertId {
    /// The identifier of what opens at `time` where `whose` tells pipeline, detection and key.
    pub(crate) fn of(whose: u64, time: EventTime) -> Self {
        Self(xxh3_64_with_seed(&time.micros().to_le_bytes(), whose))
    }
}

/// A hash of what the identifiers of a key's alerts have in common.
pub(crate) fn whose(pipeline: &str, detector: &str, key: &Key) -> u64 {
    let of_pipeline = xxh3_64(pipeline.as_bytes());
    xxh3_64_with_seed(key.as_str().as_bytes(), xxh3_64_with_seed(detector.as_bytes(), of_pipeline))
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// As it is written, where people read.
impl Serialize for AlertId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.collect_str(self),
            false => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for AlertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => u64::from_str_radix(&String::deserialize(deserializer)?, 16)
                .map(Self)
                .map_err(serde::de::Error::custom),
            false => u64::deserialize(deserializer).map(Self),
        }
    }
}

/// How an episode goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// It begins.
    Opened,
    /// It has become clearly worse.
    Updated,
    /// It is over.
    Closed(Cause),
}

impl Stage {
    /// What formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Closed(_) => "closed",
        }
    }

    /// Why it is over, if it is.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Closed(cause) => Some(cause),
            Self::Opened | Self::Updated => None,
        }
    }
}

/// Why an episode is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Nothing has been anomalous for a while.
    Quiet,
    /// The key that had fallen silent has a record again.
    Returned,
    /// What was anomalous has lasted so long that it is the new baseline.
    Shifted,
    /// The key has lost its state to a limit.
    Evicted,
    /// The sources have ended.
    Ended,
}

impl Cause {
    /// What formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Returned => "returned",
            Self::Shifted => "shifted",
            Self::Evicted => "evicted",
            Self::Ended => "ended",
        }
    }
}

/// How bad an episode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Some score is an anomaly's.
    Warning,
    /// Some score is as high as a pipeline calls critical.
    Critical,
}

impl Severity {
    /// What formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// An episode of anomalies of a key, as far as it is known at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Alert {
    /// Which one.
    pub id: AlertId,
    /// What happens to it.
    pub stage: Stage,
    /// How bad it has been.
    pub severity: Severity,
    /// The time of its first anomaly, at which it opened.
    pub start: EventTime,
    /// The time of its last anomaly so far.
    pub end: EventTime,
    /// How many anomalies it has so far.
    pub anomalies: u64,
    /// The time of its highest score.
    pub peak_time: EventTime,
    /// The verdict with its highest score: the first one, if there are several.
    pub peak: Verdict,
}

impl Told for Alert {
    type Id = AlertId;

    fn id(&self) -> AlertId {
        self.id
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn describe_rest(&self, fields: &mut dyn Fields) {
        let Self { severity, start, end, anomalies, peak_time, peak, .. } = self;
        fields.text("cause", self.stage.cause().map(Cause::name));
        fields.text("severity", Some(severity.name()));
        fields.text("detector", Some(&peak.detector));
        fields.time("start", *start);
        fields.time("end", *end);
        fields.integer("anomalies", Some(*anomalies));
        fields.time("peak_time", *peak_time);
        fields.number("value", peak.value);
        fields.number("score", peak.score);
        fields.number("expected", peak.expected);
        fields.number("lower", peak.lower);
        fields.number("upper", peak.upper);
        fields.text("attribution", peak.attribution.as_deref());
    }
}

impl Describe for Alert {
    fn describe(&self, fields: &mut dyn Fields) {
        self.describe_told(fields);
    }
}

impl Ranked for Alert {
    fn rank(&self, other: &Self) -> std::cmp::Ordering {
        self.peak.rank(&other.peak)
    }
    fn series(&self) -> [&str; 2] {
        ["alert", &self.peak.detector]
    }
    fn same(&self, other: &Self) -> bool {
        self == other
    }
}
