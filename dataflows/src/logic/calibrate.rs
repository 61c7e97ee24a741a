//! Says what a score means: how often one as high was seen, or is to be expected.

mod tail;

use serde::{Deserialize, Serialize};

use self::tail::{Counts, Tail};
use super::{Logic, Verdict};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::state::{self, StateError};
use crate::{EventTime, Key};

/// Replaces each score by one minus its tail probability: the share of a key's scores that are at least as high.
///
/// So a score of 0.999 means one record in a thousand, whatever the detector and its unit, if its scores have no upper bound; those
/// that are probabilities already lie too close together at their upper end to be told apart. Of the scores before this one,
/// all are counted in buckets a sixteenth of an octave wide. Up to the score that one in twenty exceeds, the probability is
/// the share of earlier scores in the same bucket or above, this one included; beyond it, the tail follows a generalised
/// Pareto distribution (Balkema and de Haan 1974; Pickands 1975), whose shape and scale are Pickands' estimators from
/// the median and the upper quartile of what exceeds it: so a few spikes, however high, neither stretch the tail nor blind it. All
/// counts are halved when they add up to 20,000, so that what a key did long ago is forgotten.
///
/// A higher score never has a lower calibrated one at the same moment, and all are in `[0, 1]`. Until a key has had `warmup` scores,
/// its verdicts have none, as if the detector were warming. Expected values and bands stay as they are.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::RunningRange;
/// use tidewatch_dataflows::logic::{above, Calibrate, Logic};
///
/// let once_in_ten_thousand = RunningRange::new(0.05, 30)?.then(Calibrate::new(200)?).then(above(0.9999));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Calibrate {
    warmup: u32,
}

impl Calibrate {
    /// How a pipeline file spells how many scores it takes to say what one means.
    pub const CALIBRATE: Parameter = Parameter::with_default(
        "calibrate",
        Kind::Integer(20, MOST as i64),
        Literal::Integer(200),
        "after how many scores of a key each is replaced by one minus its tail probability",
    );

    /// Calibrates scores once a key has had `warmup` of them, in `[20, 10000]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the number is out of range.
    pub fn new(warmup: u32) -> Result<Self, ParamError> {
        Self::CALIBRATE.integer(i64::from(warmup))?;
        Ok(Self { warmup })
    }
}

/// Counts that add up to twice as many are halved.
const MOST: u32 = 10_000;

/// What [`Calibrate`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    counts: Counts,
    tail: Tail,
    /// With how many scores the tail is to be fitted anew.
    fit_at: u32,
}

impl Calibration {
    /// How many scores it knows; once there were 20,000, half of what it knew.
    pub(crate) fn scores(&self) -> u32 {
        self.counts.total()
    }

    /// The bytes on the heap.
    pub(crate) fn heap(&self) -> usize {
        self.counts.heap()
    }

    /// The tail probability of a score, in `[0, 1]`, by the scores so far.
    pub(crate) fn probability(&self, score: f64) -> f64 {
        self.tail
            .probability(score, self.scores())
            .unwrap_or_else(|| f64::from(self.counts.at_least(score) + 1) / f64::from(self.scores() + 1))
    }

    pub(crate) fn learn(&mut self, score: f64) {
        self.counts.add(score);
        if self.counts.total() >= 2 * MOST {
            self.counts.halve();
            self.fit_at = 0;
        }
        // Often while there are few scores, and with each sixteenth more from then on.
        if self.counts.total() >= self.fit_at {
            self.tail = Tail::of(&self.counts);
            self.fit_at = self.counts.total() + self.counts.total() / 16 + 1;
        }
    }
}

impl Logic for Calibrate {
    type In = Verdict;
    type Out = Verdict;
    type State = Calibration;

    fn start(&self, _key: &Key) -> Calibration {
        Calibration::default()
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut Calibration,
        time: EventTime,
        input: &Verdict,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let is_warm = state.scores() >= self.warmup;
        let score = input.score.filter(|_| is_warm).map(|score| 1.0 - state.probability(score));
        if let Some(score) = input.score {
            state.learn(score);
        }
        out(time, Verdict { score, ..*input });
    }

    fn memory(&self, state: &Calibration) -> usize {
        size_of::<Calibration>() + state.heap()
    }

    fn copy(&self, state: &Calibration) -> Calibration {
        state.clone()
    }

    fn save(&self, state: &Calibration, out: &mut Vec<u8>) {
        state::save(state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Calibration, StateError> {
        state::restore("calibration", bytes)
    }
}

#[cfg(test)]
mod tests;
