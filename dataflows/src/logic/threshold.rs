//! Calls a verdict an anomaly when its score is high enough.

use super::{Logic, Verdict};
use crate::params::{Kind, ParamError, Parameter, Range};
use crate::state::{self, StateError};
use crate::{EventTime, Key};

/// Marks the verdicts that a threshold calls anomalous, with hysteresis, and emits those or all of them.
///
/// A key becomes anomalous with a score of at least `threshold`, and stays so until a score falls below `clear`,
/// which is `threshold` unless said otherwise. A verdict without a score changes nothing and is never anomalous.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    threshold: f64,
    clear: f64,
    all: bool,
}

/// Emits the verdicts with a score of at least `threshold`, marked as anomalous.
///
/// # Panics
///
/// Panics if `threshold` is NaN. Use [`Threshold::new`] for a number from outside.
pub fn above(threshold: f64) -> Threshold {
    assert!(!threshold.is_nan(), "a threshold is a number");
    Threshold { threshold, clear: threshold, all: false }
}

impl Threshold {
    /// How a pipeline file spells the score from which a key is anomalous.
    pub const THRESHOLD: Parameter = Parameter::required(
        "threshold",
        Kind::Number(Range::ANY),
        "the score from which a record is an anomaly",
    );

    /// A threshold on the score with hysteresis: anomalous from `threshold` on, until below `clear`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is not finite, or if `clear` is above `threshold`.
    pub fn new(threshold: f64, clear: f64) -> Result<Self, ParamError> {
        let threshold = Self::THRESHOLD.number(threshold)?;
        if clear <= threshold {
            Ok(Self { threshold, clear, all: false })
        } else {
            let reason = format!("is {clear}, which must not be above the threshold, {threshold}");
            Err(ParamError::Conflict { name: "clear", reason })
        }
    }

    /// Emits every verdict, marked or not, instead of the anomalous ones alone.
    pub fn and_normal(mut self) -> Self {
        self.all = true;
        self
    }
}

impl Logic for Threshold {
    type In = Verdict;
    type Out = Verdict;
    /// Whether the key is anomalous.
    type State = bool;

    fn start(&self, _key: &Key) -> bool {
        false
    }

    #[inline]
    fn on_record(
        &self,
        anomalous: &mut bool,
        time: EventTime,
        input: &Verdict,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        if let Some(score) = input.score {
            *anomalous = score >= if *anomalous { self.clear } else { self.threshold };
        }
        let anomalous = *anomalous && input.score.is_some();
        if anomalous || self.all {
            out(time, Verdict { anomalous, ..*input });
        }
    }

    fn save(&self, state: &bool, out: &mut Vec<u8>) {
        state::save(state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<bool, StateError> {
        state::restore("threshold", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(threshold: Threshold, scores: &[Option<f64>]) -> Vec<bool> {
        let mut state = threshold.start(&Key::new("k"));
        let mut marks = Vec::new();
        for score in scores {
            let verdict = Verdict {
                detector: "d".into(),
                value: None,
                score: *score,
                expected: None,
                lower: None,
                upper: None,
                attribution: None,
                anomalous: false,
            };
            threshold.on_record(&mut state, EventTime::MIN, &verdict, &mut |_, verdict| {
                marks.push(verdict.anomalous)
            });
        }
        marks
    }

    #[test]
    fn hysteresis_holds_between_clear_and_threshold() {
        let scores = [3.9, 4.0, 3.5, 3.0, 2.9, 3.5].map(Some);
        let threshold = Threshold::new(4.0, 3.0).unwrap();
        assert_eq!(vec![false, true, true, true, false, false], marks(threshold.and_normal(), &scores));
        assert_eq!(vec![true, true, true], marks(threshold, &scores));
    }

    #[test]
    fn a_verdict_without_a_score_changes_nothing() {
        let scores = [Some(5.0), None, Some(3.5)];
        assert_eq!(vec![true, false, true], marks(Threshold::new(4.0, 3.0).unwrap().and_normal(), &scores));
    }

    #[test]
    fn clear_above_the_threshold_is_refused() {
        let error = Threshold::new(4.0, 5.0).unwrap_err();
        assert_eq!("\"clear\" is 5, which must not be above the threshold, 4", error.to_string());
    }
}
