//! Calls a verdict an anomaly when its score is high enough.

#[cfg(doc)]
use super::Standing;
use super::{Logic, Verdict};
use crate::params::{Kind, ParamError, Parameter, Range};
use crate::state::{self, StateError};
use crate::{EventTime, Key};

/// Marks the verdicts that a threshold calls anomalous, with hysteresis, and emits those or all of them.
///
/// A key becomes anomalous with a score of at least `threshold`, and stays so until a score falls below `clear`,
/// which is `threshold` unless said otherwise, or a verdict says that what was is [over](Standing::is_over). One without a
/// score changes nothing else and is never anomalous.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    threshold: f64,
    clear: f64,
    all: bool,
    turns: bool,
}

/// Emits the verdicts with a score of at least `threshold`, marked as anomalous.
///
/// # Panics
///
/// Panics if `threshold` is NaN. Use [`Threshold::new`] for a number from outside.
pub fn above(threshold: f64) -> Threshold {
    assert!(!threshold.is_nan(), "a threshold is a number");
    Threshold { threshold, clear: threshold, all: false, turns: false }
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
            Ok(Self { threshold, clear, all: false, turns: false })
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

    /// Marks the verdicts with which a key becomes anomalous, or ceases to be ([`Verdict::turned`]), and emits also the
    /// latter: so one can tell which anomalies are open, as
    /// [`CountOpen`](crate::operators::CountOpen) does.
    pub fn and_turns(mut self) -> Self {
        self.turns = true;
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
        let was = *anomalous;
        if let Some(score) = input.score {
            *anomalous = score >= if was { self.clear } else { self.threshold };
        }
        *anomalous &= !input.standing.is_over();
        let turned = self.turns && *anomalous != was;
        let anomalous = *anomalous && input.score.is_some();
        if anomalous || turned || self.all {
            out(time, Verdict { anomalous, turned, ..*input });
        }
    }

    fn copy(&self, state: &bool) -> bool {
        *state
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
    use proptest::prelude::*;

    use super::*;

    fn marks(threshold: Threshold, scores: &[Option<f64>]) -> Vec<bool> {
        verdicts(threshold, scores).into_iter().map(|verdict| verdict.anomalous).collect()
    }

    fn verdicts(threshold: Threshold, scores: &[Option<f64>]) -> Vec<Verdict> {
        let mut state = threshold.start(&Key::new("k"));
        let mut verdicts = Vec::new();
        for score in scores {
            let verdict = Verdict::of("d".into(), *score);
            threshold
                .on_record(&mut state, EventTime::MIN, &verdict, &mut |_, verdict| verdicts.push(verdict));
        }
        verdicts
    }

    /// Whether each verdict is anomalous: the last score that was not between the two bounds says so.
    fn marks_slow(threshold: f64, clear: f64, scores: &[Option<f64>]) -> Vec<bool> {
        let decides = |score: &&f64| **score >= threshold || **score < clear;
        let mark = |at: usize| {
            let last = scores[..=at].iter().flatten().rev().find(decides);
            scores[at].is_some() && last.is_some_and(|score| *score >= threshold)
        };
        (0..scores.len()).map(mark).collect()
    }

    proptest! {
        #[test]
        fn marks_agree_with_the_last_score_that_decides(
            clear in 0i32..6, above in 0i32..4,
            scores in prop::collection::vec(prop::option::weighted(0.8, (0i32..10).prop_map(f64::from)), 0..40),
        ) {
            let (clear, threshold) = (f64::from(clear), f64::from(clear + above));
            let logic = Threshold::new(threshold, clear).unwrap();
            let expected = marks_slow(threshold, clear, &scores);
            prop_assert_eq!(&expected, &marks(logic.and_normal(), &scores));
            let anomalous: Vec<bool> = expected.into_iter().filter(|mark| *mark).collect();
            prop_assert_eq!(anomalous, marks(logic, &scores));
        }
    }

    #[test]
    fn hysteresis_holds_between_clear_and_threshold() {
        let scores = [3.9, 4.0, 3.5, 3.0, 2.9, 3.5].map(Some);
        let threshold = Threshold::new(4.0, 3.0).unwrap();
        assert_eq!(vec![false, true, true, true, false, false], marks(threshold.and_normal(), &scores));
        assert_eq!(vec![true, true, true], marks(threshold, &scores));
    }

    #[test]
    fn turns_are_the_first_verdicts_of_a_kind() {
        let scores = [Some(1.0), Some(5.0), None, Some(3.5), Some(2.0), Some(1.0), Some(6.0)];
        let threshold = Threshold::new(4.0, 3.0).unwrap();
        let turns = |threshold: Threshold| {
            let verdicts = verdicts(threshold.and_turns(), &scores).into_iter();
            verdicts.map(|verdict| (verdict.score, verdict.anomalous, verdict.turned)).collect::<Vec<_>>()
        };
        let expected = [
            (Some(5.0), true, true),
            (Some(3.5), true, false),
            (Some(2.0), false, true),
            (Some(6.0), true, true),
        ];
        assert_eq!(expected.to_vec(), turns(threshold));
        let mut all = turns(threshold.and_normal());
        assert_eq!(7, all.len());
        all.retain(|(_, anomalous, turned)| *anomalous || *turned);
        assert_eq!(expected.to_vec(), all);
        assert!(verdicts(threshold.and_normal(), &scores).iter().all(|verdict| !verdict.turned));
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
