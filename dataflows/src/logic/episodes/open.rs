//! An episode that is not over.

use serde::{Deserialize, Serialize};

use super::Episodes;
use crate::alerts::{Alert, AlertId, Cause, Finding, Stage};
use crate::logic::{Standing, Verdict};
use crate::{EventTime, Lapse};

/// An episode that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// The episode so far.
    alert: Alert,
    /// The score that was last told.
    told: f64,
    /// How many verdicts with a score have not been anomalous since the last one that was.
    quiet: u32,
    /// The time of the last verdict.
    seen: EventTime,
    /// Whether it lasts until something says that it is over.
    lasts: bool,
}

/// The score of an anomaly.
fn score(verdict: &Verdict) -> f64 {
    verdict.score.unwrap_or(f64::NEG_INFINITY)
}

impl Open {
    pub(super) fn new(episodes: &Episodes, whose: u64, time: EventTime, verdict: &Verdict) -> Self {
        let alert = Alert {
            id: AlertId::of(whose, time),
            stage: Stage::Opened,
            severity: episodes.severity(score(verdict)),
            start: time,
            end: time,
            anomalies: 1,
            peak_time: time,
            peak: *verdict,
        };
        let lasts = verdict.standing == Standing::Lasting;
        Self { alert, told: score(verdict), quiet: 0, seen: time, lasts }
    }

    /// Takes a further anomaly; `true` if it is to be told.
    pub(super) fn go_on(&mut self, episodes: &Episodes, time: EventTime, verdict: &Verdict) -> bool {
        let Self { alert, .. } = self;
        (self.quiet, self.seen, alert.end) = (0, time, time);
        self.lasts |= verdict.standing == Standing::Lasting;
        alert.anomalies += 1;
        if score(verdict) > score(&alert.peak) {
            (alert.peak_time, alert.peak) = (time, *verdict);
        }
        let severity = alert.severity.max(episodes.severity(score(verdict)));
        let news = episodes.is_worse(score(verdict), self.told) || severity > alert.severity;
        alert.severity = severity;
        if news {
            self.told = score(verdict);
        }
        news
    }

    /// Takes a verdict that is no anomaly; says why the episode is over, if it is.
    pub(super) fn over(&mut self, episodes: &Episodes, time: EventTime, verdict: &Verdict) -> Option<Cause> {
        self.seen = time;
        match verdict.standing {
            Standing::Returned => return Some(Cause::Returned),
            Standing::Shifted => return Some(Cause::Shifted),
            Standing::Alone | Standing::Lasting => {}
        }
        self.quiet = self.quiet.saturating_add(u32::from(verdict.score.is_some()));
        match episodes.close_after {
            Lapse::Records(records) if self.quiet >= records && !self.lasts => Some(Cause::Quiet),
            _ => None,
        }
    }

    /// When it is over unless something is anomalous until then.
    pub(super) fn deadline(&self, episodes: &Episodes) -> Option<EventTime> {
        match episodes.close_after {
            Lapse::Time(span) if !self.lasts => {
                Some(self.alert.end.saturating_add(span)).filter(|due| *due < EventTime::MAX)
            }
            _ => None,
        }
    }

    /// The time of the last verdict.
    pub(super) fn seen(&self) -> EventTime {
        self.seen
    }

    /// What is told of it.
    pub(super) fn told(&self, stage: Stage) -> Finding {
        Finding::Alert(Box::new(Alert { stage, ..self.alert }))
    }
}
