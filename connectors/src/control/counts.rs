//! What a run counts.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::flow::tally::Counter;
use tidewatch_dataflows::flow::Tally;
use tidewatch_dataflows::EventTime;

/// What ingest counts, over all workers of a process.
#[derive(Debug)]
pub struct Counts {
    /// Records read, whatever became of them.
    pub records: Counter,
    /// Records behind their partition's watermark.
    pub late: Counter,
    /// Records that could not be decoded, or were dated in the future.
    pub malformed: Counter,
    /// How much has been read, in the unit of [`Source::size`](crate::Source::size).
    pub position: Counter,
    /// Places where a recording was found damaged.
    pub damages: Counter,
    /// Records that were no longer there when they were to be read.
    pub lost: Counter,
    earliest: AtomicI64,
    latest: AtomicI64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            late: Counter::default(),
            malformed: Counter::default(),
            position: Counter::default(),
            damages: Counter::default(),
            lost: Counter::default(),
            earliest: AtomicI64::new(i64::MAX),
            latest: AtomicI64::new(i64::MIN),
        }
    }
}

impl Counts {
    /// Widens the span of event time that was read.
    pub fn saw(&self, earliest: EventTime, latest: EventTime) {
        self.earliest.fetch_min(earliest.micros(), Ordering::Relaxed);
        self.latest.fetch_max(latest.micros(), Ordering::Relaxed);
    }

    /// The earliest and latest event times that were read, if any.
    pub fn span(&self) -> Option<(EventTime, EventTime)> {
        let (earliest, latest) = (self.earliest.load(Ordering::Relaxed), self.latest.load(Ordering::Relaxed));
        (earliest <= latest).then(|| (EventTime::from_micros(earliest), EventTime::from_micros(latest)))
    }
}

/// What has been counted until now, by one process or by all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Records read, whatever became of them.
    pub records: u64,
    /// Records behind their partition's watermark.
    pub late: u64,
    /// Records that could not be decoded, or were dated in the future.
    pub malformed: u64,
    /// How much has been read, in the unit of [`Source::size`](crate::Source::size).
    pub position: u64,
    /// Places where a recording was found damaged.
    pub damages: u64,
    /// Records that were no longer there when they were to be read.
    pub lost: u64,
    /// Records that the frontier has passed and a logic has seen.
    pub scored: u64,
    /// Keys with state.
    pub keys: u64,
    /// Keys evicted by a limit.
    pub evicted: u64,
    /// Verdicts that a threshold calls anomalies.
    pub anomalies: u64,
    /// Alerts that have opened.
    pub alerts: u64,
    /// Alerts that have opened and were kept back, because they were muted.
    pub muted: u64,
    /// The earliest and the latest event time.
    pub span: Option<(EventTime, EventTime)>,
}

impl Totals {
    pub(super) fn of(counts: &Counts, tally: &Tally) -> Self {
        Self {
            records: counts.records.get(),
            late: counts.late.get(),
            malformed: counts.malformed.get(),
            position: counts.position.get(),
            damages: counts.damages.get(),
            lost: counts.lost.get(),
            scored: tally.scored.get(),
            keys: tally.keys.get(),
            evicted: tally.evicted.get(),
            anomalies: tally.anomalies.get(),
            alerts: tally.alerts.get(),
            muted: tally.muted.get(),
            span: counts.span(),
        }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        let span = match (self.span, other.span) {
            (Some(one), Some(two)) => Some((one.0.min(two.0), one.1.max(two.1))),
            (one, two) => one.or(two),
        };
        Self {
            records: self.records + other.records,
            late: self.late + other.late,
            malformed: self.malformed + other.malformed,
            position: self.position + other.position,
            damages: self.damages + other.damages,
            lost: self.lost + other.lost,
            scored: self.scored + other.scored,
            keys: self.keys + other.keys,
            evicted: self.evicted + other.evicted,
            anomalies: self.anomalies + other.anomalies,
            alerts: self.alerts + other.alerts,
            muted: self.muted + other.muted,
            span,
        }
    }
}
