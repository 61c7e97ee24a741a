//! Distance from the mean of all values so far.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by its distance, in standard deviations, from the mean of all values before it.
///
/// Mean and variance follow Welford (1962), *Note on a method for calculating corrected sums of squares and products*, as
/// Knuth (1998), *The Art of Computer Programming*, volume 2, section 4.2.2, equations 15 and 16, has it: with the `n`-th
/// value `x`, `mean' = mean + (x - mean) / n` and `squares' = squares + (x - mean) (x - mean')`. Instead of `squares` the
/// variance of the sample is kept, `squares / (n - 1)`, which never outgrows the squares of the values. The score is
/// `|x - mean| / sqrt(variance)`, before `x` is learned, and at most `1e9`: that is also the score of any change where the
/// variance is 0, and of a value beyond `±1e150`, which is not learned. What would have been normal reaches `deviations`
/// standard deviations to either side of the mean.
///
/// A spike is learned like any value, and nothing is ever forgotten. With [`clip`](Self::clip) a value is learned as
/// lying no further from the mean than so many standard deviations.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, WelfordZ};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = WelfordZ::new(3.0)?.warmup(3);
/// let mut state = detector.start(0);
/// let scores = [1.0, 3.0, 5.0, 9.0].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [None, None, None, Some(3.0)]); // the mean is 3, the standard deviation 2
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WelfordZ {
    deviations: f64,
    clip: Option<f64>,
    warmup: u32,
}

const DEVIATIONS: Parameter = Parameter::with_default(
    "deviations",
    Kind::Number(Range::POSITIVE),
    Literal::Number(4.0),
    "how many standard deviations from the mean the normal range ends",
);
// Below 1 the variance of values without any anomaly would shrink for ever.
const CLIP: Parameter = Parameter::optional(
    "clip",
    Kind::Number(Range { from: 1.0, to: f64::INFINITY, open: true }),
    "from how many standard deviations on a value is learned as if it were no further away",
);

impl WelfordZ {
    /// A detector whose normal range ends `deviations` standard deviations, above 0, from the mean; it scores after 30
    /// records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `deviations` is out of range.
    pub fn new(deviations: f64) -> Result<Self, ParamError> {
        Ok(Self { deviations: DEVIATIONS.number(deviations)?, clip: None, warmup: WARMUP_RECORDS })
    }

    /// Once warm, learns a value as lying at most `deviations` standard deviations, above 1, from the mean; where all
    /// values were the same, as it is.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `deviations` is out of range.
    pub fn clip(self, deviations: f64) -> Result<Self, ParamError> {
        Ok(Self { clip: Some(CLIP.number(deviations)?), ..self })
    }

    /// Scores after `records` records; the first two never have a score.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "welford-z",
            summary: "values far from the mean of all before them",
            score: "standard deviations from the mean; usually an anomaly from 4",
            threshold: Some(4.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![DEVIATIONS, CLIP, WARMUP],
            cost: "O(1)",
            state: "24",
            source: "Welford 1962, Note on a method for calculating corrected sums of squares and products",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("deviations"))?.warmup(params.value("warmup"));
                params.optional("clip").map_or(Ok(detector), |clip| detector.clip(clip))
            }),
        }
    }

    /// What is learned of a value.
    #[inline]
    fn clipped(&self, value: f64, mean: f64, deviation: f64) -> f64 {
        match self.clip {
            Some(clip) if deviation > 0.0 => value.clamp(mean - clip * deviation, mean + clip * deviation),
            _ => value,
        }
    }
}

/// What [`WelfordZ`] remembers of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WelfordState {
    mean: f64,
    variance: f64,
    records: u64,
}

impl WelfordState {
    #[inline]
    fn learn(&mut self, value: f64) {
        self.records += 1;
        let distance = value - self.mean;
        self.mean += distance / self.records as f64;
        if self.records > 1 {
            self.variance += (distance * (value - self.mean) - self.variance) / (self.records - 1) as f64;
        }
    }
}

impl Detector for WelfordZ {
    type State = WelfordState;

    fn name(&self) -> &'static str {
        "welford-z"
    }

    fn start(&self, _seed: u64) -> WelfordState {
        WelfordState::default()
    }

    #[inline]
    fn score(&self, state: &mut WelfordState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let WelfordState { mean, variance, records } = *state;
        let warm = records >= u64::from(self.warmup.max(2));
        let deviation = variance.sqrt();
        let learnable = value.abs() <= LEARNABLE;
        if learnable {
            state.learn(if warm { self.clipped(value, mean, deviation) } else { value });
        }
        if !warm {
            return Score::WARMING;
        }
        let distance = (value - mean).abs();
        let score = match learnable {
            true if distance == 0.0 => 0.0,
            true => (distance / deviation).min(BEYOND_MEASURE),
            false => BEYOND_MEASURE,
        };
        // The band of two finite numbers may overflow.
        let band = self.deviations * deviation;
        let (lower, upper) = ((mean - band).max(f64::MIN), (mean + band).min(f64::MAX));
        Score { expected: Some(mean), lower: Some(lower), upper: Some(upper), ..Score::of(score) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn detector(warmup: u32, clip: Option<f64>) -> WelfordZ {
        let detector = WelfordZ::new(3.0).unwrap().warmup(warmup);
        clip.map_or(Ok(detector), |clip| detector.clip(clip)).unwrap()
    }

    fn scores(detector: WelfordZ, values: &[f64]) -> Vec<Score> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value])).collect()
    }

    /// Mean and standard deviation in two passes.
    fn moments_slow(values: &[f64]) -> (f64, f64) {
        let number = values.len() as f64;
        let mean = values.iter().sum::<f64>() / number;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        (mean, (squares / (number - 1.0)).sqrt())
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_values(
            clip in prop::option::of(1.5..5.0), warmup in 2u32..10,
            values in prop::collection::vec(prop_oneof![8 => -1e3..1e3, 1 => -1e5..1e5], 3..120),
        ) {
            let fast = scores(detector(warmup, clip), &values);
            let mut learned = Vec::new();
            for (at, (value, found)) in values.iter().zip(&fast).enumerate() {
                if at < warmup as usize {
                    prop_assert_eq!(*found, Score::WARMING, "at {}", at);
                    learned.push(*value);
                    continue;
                }
                let (mean, deviation) = moments_slow(&learned);
                let score = (value - mean).abs() / deviation;
                let reach = clip.unwrap_or(f64::INFINITY) * deviation;
                learned.push(value.clamp(mean - reach, mean + reach));
                for (slow, fast) in [
                    (mean, found.expected),
                    (mean - 3.0 * deviation, found.lower),
                    (mean + 3.0 * deviation, found.upper),
                    (score, found.score),
                ] {
                    let fast = fast.unwrap();
                    prop_assert!((slow - fast).abs() <= 1e-9 * slow.abs().max(1e3), "{} but {} at {}", slow, fast, at);
                }
            }
        }
    }

    #[test]
    fn a_spike_is_learned_no_further_away_than_said() {
        let mut values: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).collect();
        values.extend([1e6, 12.0]);
        let last = |clip| scores(detector(30, clip), &values)[101].score.unwrap();
        assert!(last(None) < 0.2 && last(Some(4.0)) > 4.0, "{} {}", last(None), last(Some(4.0)));
    }

    #[test]
    fn a_change_after_a_constant_has_a_bounded_score_and_is_learned() {
        for clip in [None, Some(3.0)] {
            let values: Vec<f64> = [5.0; 31].into_iter().chain([6.0, 6.0]).collect();
            let scores = scores(detector(30, clip), &values);
            let score = |at: usize| scores[at].score;
            assert_eq!((None, Some(0.0), Some(BEYOND_MEASURE)), (score(29), score(30), score(31)));
            assert!(score(32).unwrap() < 10.0, "{:?}", scores[32]);
        }
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).chain([100.0]).collect();
        let expected = scores(detector(30, None), &calm);
        assert!(expected[100].score.unwrap() > 4.0);
        for at in [0, 20, 60, 100] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(detector(30, None), &values);
                let score = (at >= 30).then_some(BEYOND_MEASURE);
                assert_eq!(score, found.remove(at).score, "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn a_band_that_overflows_ends_at_the_greatest_number() {
        let detector = WelfordZ::new(f64::MAX).unwrap().warmup(2);
        let found = scores(detector, &[-1e150, 1e150, 0.0])[2];
        assert_eq!((Some(f64::MIN), Some(f64::MAX)), (found.lower, found.upper));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let error = WelfordZ::new(0.0).unwrap_err();
        assert_eq!("\"deviations\" takes a number above 0, not 0", error.to_string());
        let error = WelfordZ::new(3.0).unwrap().clip(0.5).unwrap_err();
        assert_eq!("\"clip\" takes a number above 1, not 0.5", error.to_string());
    }
}
