//! Distance from an exponentially weighted mean.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by its distance, in standard deviations, from an exponentially weighted moving mean.
///
/// Mean and variance follow Finch (2009), *Incremental calculation of weighted mean and variance*, equations 124
/// and 143: with `d = x - mean`, `mean += alpha d` and `variance = (1 - alpha) (variance + alpha d²)`. The score is
/// `|d| / sqrt(variance)`, before `x` is learned, and at most `1e9`: that is also the score of any change where the
/// variance is 0, and of a value beyond `±1e150`, which is not learned, because its square is beyond what a number can
/// hold.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, EwmaZ};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = EwmaZ::new(0.5)?.warmup(2);
/// let mut state = detector.start(0);
/// let scores = [1.0, 3.0, 5.0].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [None, None, Some(3.0)]); // the mean is 2, the standard deviation 1
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EwmaZ {
    alpha: f64,
    warmup: u32,
}

const ALPHA: Parameter = Parameter::with_default(
    "alpha",
    Kind::Number(Range::FRACTION),
    Literal::Number(0.05),
    "weight of each new value: the mean reaches back about 1/alpha records",
);

impl EwmaZ {
    /// A detector that weighs each new value by `alpha`, in `(0, 1]`, and scores after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `alpha` is out of range.
    pub fn new(alpha: f64) -> Result<Self, ParamError> {
        Ok(Self { alpha: ALPHA.number(alpha)?, warmup: WARMUP_RECORDS })
    }

    /// Scores after `records` records; the first one never has a score.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "ewma-z",
            summary: "values far from their exponentially weighted moving mean",
            score: "standard deviations from the mean; usually an anomaly from 4",
            threshold: Some(4.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![ALPHA, WARMUP],
            cost: "O(1)",
            state: "24",
            source: "Finch 2009, Incremental calculation of weighted mean and variance, eq. 124 and 143",
            construct: DetectorInfo::constructor(|params| {
                Ok(Self::new(params.value("alpha"))?.warmup(params.value("warmup")))
            }),
        }
    }
}

/// What [`EwmaZ`] remembers of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EwmaState {
    mean: f64,
    variance: f64,
    records: u32,
}

impl Detector for EwmaZ {
    type State = EwmaState;

    fn name(&self) -> &'static str {
        "ewma-z"
    }

    fn version(&self) -> u32 {
        2
    }

    fn start(&self, _seed: u64) -> EwmaState {
        EwmaState::default()
    }

    #[inline]
    fn score(&self, state: &mut EwmaState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        if value.abs() > LEARNABLE {
            return match state.records >= self.warmup {
                true => Score { expected: Some(state.mean), ..Score::of(BEYOND_MEASURE) },
                false => Score::WARMING,
            };
        }
        if state.records == 0 {
            *state = EwmaState { mean: value, variance: 0.0, records: 1 };
            return Score::WARMING;
        }
        let (mean, deviation) = (state.mean, state.variance.sqrt());
        let distance = value - mean;
        let score = if distance == 0.0 { 0.0 } else { (distance.abs() / deviation).min(BEYOND_MEASURE) };
        let warm = state.records >= self.warmup;
        let step = self.alpha * distance;
        state.mean = mean + step;
        state.variance = (1.0 - self.alpha) * (state.variance + distance * step);
        state.records = state.records.saturating_add(1);
        if !warm {
            return Score::WARMING;
        }
        Score { score: Some(score), expected: Some(mean), ..Score::WARMING }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: EwmaZ, values: &[f64]) -> Vec<Score> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value])).collect()
    }

    /// Mean and standard deviation from the weights themselves: `alpha (1 - alpha)^age`, and `(1 - alpha)^age` for the
    /// first value (Finch 2009, section 9).
    fn moments_slow(alpha: f64, values: &[f64]) -> (f64, f64) {
        let mut weights = vec![1.0];
        for _ in 1..values.len() {
            weights.iter_mut().for_each(|weight| *weight *= 1.0 - alpha);
            weights.push(alpha);
        }
        let weighted = || weights.iter().zip(values);
        let mean: f64 = weighted().map(|(weight, value)| weight * value).sum();
        let variance: f64 = weighted().map(|(weight, value)| weight * (value - mean) * (value - mean)).sum();
        (mean, variance.sqrt())
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_weights(
            alpha in 0.005..0.9,
            values in prop::collection::vec(-1e3..1e3, 3..120),
        ) {
            let fast = scores(EwmaZ::new(alpha).unwrap().warmup(2), &values);
            for at in 2..values.len() {
                let (mean, deviation) = moments_slow(alpha, &values[..at]);
                let slow = (values[at] - mean).abs() / deviation;
                let (score, expected) = (fast[at].score.unwrap(), fast[at].expected.unwrap());
                prop_assert!((mean - expected).abs() <= 1e-9 * 1e3, "{} but {} at {}", mean, expected, at);
                prop_assert!((slow - score).abs() <= 1e-9 * slow.max(1.0), "{} but {} at {}", slow, score, at);
            }
        }
    }

    #[test]
    fn a_change_after_a_constant_has_a_bounded_score() {
        let values: Vec<f64> = [5.0; 31].into_iter().chain([6.0]).collect();
        let scores = scores(EwmaZ::new(0.05).unwrap(), &values);
        let score = |at: usize| scores[at].score;
        assert_eq!((None, Some(0.0), Some(BEYOND_MEASURE)), (score(29), score(30), score(31)));
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).chain([100.0]).collect();
        let expected = scores(EwmaZ::new(0.05).unwrap(), &calm);
        assert!(expected[100].score.unwrap() > 4.0);
        for at in [0, 20, 60, 100] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(EwmaZ::new(0.05).unwrap(), &values);
                let score = (at >= 30).then_some(BEYOND_MEASURE);
                assert_eq!(score, found.remove(at).score, "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn alpha_beyond_one_is_refused() {
        let error = EwmaZ::new(1.5).unwrap_err();
        assert_eq!("\"alpha\" takes a number in (0, 1], not 1.5", error.to_string());
    }
}
