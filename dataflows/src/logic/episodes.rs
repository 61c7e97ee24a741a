//! Makes alerts of verdicts.

mod open;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::open::Open;
use super::{Logic, Verdict};
use crate::alerts::{self, Cause, Finding, Severity, Stage};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::state::{self, StateError};
use crate::{EventTime, Key, Lapse, Name};

/// Emits the verdicts that it takes, and an alert when an episode of anomalies opens, becomes clearly worse, or closes.
///
/// A key's episode *opens* with an anomalous verdict. It is *updated* by an anomaly that is clearly worse than what was last
/// told of it (its score is at least `rearm` times as high or, of scores that are calibrated, its tail probability at most
/// that part), and by the first one that is critical. It *closes* when nothing has been anomalous for `close_after`: with
/// the last of so many verdicts with scores, or at that time after the last anomaly; or with a verdict that says that it is
/// [over](super::Standing::is_over), when the key loses its state to a limit, or when the sources end. What [lasts](super::Standing::Lasting) is closed by
/// nothing else. A verdict without a score says nothing.
///
/// State is 16 bytes, and some 200 of an episode that is open.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::EwmaZ;
/// use tidewatch_dataflows::logic::{above, Episodes, Logic};
/// use tidewatch_dataflows::Lapse;
///
/// let episodes = Episodes::new("api", "slow").close_after(Lapse::Records(20))?.critical(8.0);
/// let logic = EwmaZ::new(0.05)?.then(above(4.0).and_normal()).then(episodes);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Episodes {
    pipeline: Name,
    detector: Name,
    close_after: Lapse,
    rearm: f64,
    calibrated: bool,
    critical: f64,
    normal: bool,
}

impl Episodes {
    /// How a pipeline file spells when an episode is over.
    pub const CLOSE_AFTER: Parameter = Parameter::with_default(
        "close_after",
        Kind::Lapse(1, 1_000_000),
        Literal::Integer(10),
        "for how many records, or how long, nothing must be anomalous for an alert to close",
    );
    /// How many times as bad is clearly worse, unless said otherwise.
    pub const TWICE: f64 = 2.0;
    /// How a pipeline file spells what is clearly worse.
    pub const REARM: Parameter = Parameter::with_default(
        "rearm",
        Kind::Number(Range { from: 1.0, to: f64::INFINITY, open: false }),
        Literal::Number(Self::TWICE),
        "how many times as high a score, or as improbable a calibrated one, must be to be told of an open alert",
    );
    /// How a pipeline file spells what is critical.
    pub const CRITICAL: Parameter = Parameter::optional(
        "critical",
        Kind::Number(Range::ANY),
        "the score from which an alert is critical; without it, all are warnings",
    );

    /// The episodes of a detection of a pipeline: closed by ten verdicts that are not anomalous, updated at twice the
    /// score, and never critical, unless said otherwise.
    pub fn new(pipeline: impl Into<Name>, detector: impl Into<Name>) -> Self {
        Self {
            pipeline: pipeline.into(),
            detector: detector.into(),
            close_after: Lapse::Records(10),
            rearm: Self::TWICE,
            calibrated: false,
            critical: f64::INFINITY,
            normal: false,
        }
    }

    /// Closes episodes after so many verdicts that are not anomalous, in `[1, 1000000]`, or so much time without an anomaly.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if it is out of range.
    pub fn close_after(self, lapse: Lapse) -> Result<Self, ParamError> {
        Ok(Self { close_after: Self::CLOSE_AFTER.lapse(lapse)?, ..self })
    }

    /// Takes for clearly worse what is at least so many times as bad, at least 1.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if it is out of range.
    pub fn rearm(self, factor: f64) -> Result<Self, ParamError> {
        Ok(Self { rearm: Self::REARM.number(factor)?, ..self })
    }

    /// Takes scores for one minus a tail probability, as [`Calibrate`](super::Calibrate) gives them.
    pub fn calibrated(self) -> Self {
        Self { calibrated: true, ..self }
    }

    /// Takes alerts for critical that have at least this score.
    pub fn critical(self, score: f64) -> Self {
        Self { critical: score, ..self }
    }

    /// Emits also the verdicts that are not anomalous, which are dropped otherwise.
    pub fn and_normal(self) -> Self {
        Self { normal: true, ..self }
    }

    /// Whether a score is clearly worse than another.
    fn is_worse(&self, score: f64, than: f64) -> bool {
        let clearly = match self.calibrated {
            true => (1.0 - score) * self.rearm <= 1.0 - than,
            false => score >= than * self.rearm,
        };
        clearly && score > than
    }

    fn severity(&self, score: f64) -> Severity {
        if score >= self.critical {
            Severity::Critical
        } else {
            Severity::Warning
        }
    }

    fn close(
        &self,
        state: &mut Episode,
        time: EventTime,
        cause: Cause,
        out: &mut impl FnMut(EventTime, Finding),
    ) {
        if let Some(open) = state.open.take() {
            out(time, open.told(Stage::Closed(cause)));
        }
    }
}

/// What [`Episodes`] remembers of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// What the identifiers of the key's alerts have in common.
    whose: u64,
    open: Option<Box<Open>>,
}

impl Logic for Episodes {
    type In = Verdict;
    type Out = Finding;
    type State = Episode;

    fn start(&self, key: &Key) -> Episode {
        Episode { whose: alerts::whose(&self.pipeline, &self.detector, key), open: None }
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut Episode,
        time: EventTime,
        verdict: &Verdict,
        out: &mut impl FnMut(EventTime, Finding),
    ) {
        if verdict.anomalous || self.normal {
            out(time, Finding::Verdict(*verdict));
        }
        match (&mut state.open, verdict.anomalous) {
            (None, false) => {}
            (None, true) => {
                let open = Open::new(self, state.whose, time, verdict);
                out(time, open.told(Stage::Opened));
                state.open = Some(Box::new(open));
            }
            (Some(open), true) => {
                if open.go_on(self, time, verdict) {
                    out(time, open.told(Stage::Updated));
                }
            }
            (Some(open), false) => {
                if let Some(cause) = open.over(self, time, verdict) {
                    self.close(state, time, cause, out);
                }
            }
        }
    }

    #[inline]
    fn deadline(&self, state: &Episode) -> Option<EventTime> {
        state.open.as_ref()?.deadline(self)
    }

    fn on_time(&self, state: &mut Episode, time: EventTime, out: &mut impl FnMut(EventTime, Finding)) {
        self.close(state, time, Cause::Quiet, out);
    }

    fn on_end(&self, state: &mut Episode, end: EventTime, out: &mut impl FnMut(EventTime, Finding)) {
        let Some(seen) = state.open.as_ref().map(|open| open.seen()) else { return };
        self.close(state, seen.max(end), Cause::Ended, out);
    }

    fn on_evict(&self, state: &mut Episode, time: EventTime, out: &mut impl FnMut(EventTime, Finding)) {
        self.close(state, time, Cause::Evicted, out);
    }

    #[inline]
    fn memory(&self, state: &Episode) -> usize {
        size_of::<Episode>() + if state.open.is_some() { size_of::<Open>() } else { 0 }
    }

    fn copy(&self, state: &Episode) -> Episode {
        state.clone()
    }

    fn save(&self, state: &Episode, out: &mut Vec<u8>) {
        state::save(state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Episode, StateError> {
        state::restore("episodes", bytes)
    }
}
