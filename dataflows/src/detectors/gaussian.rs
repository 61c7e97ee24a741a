//! Tail probability under a normal distribution over a window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, LEARNABLE};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::EventTime;

/// Scores a value by its tail probability under a normal distribution fitted to a window of earlier values.
///
/// This is the detector `windowedGaussian` of the Numenta Anomaly Benchmark. The score is `1 - Q(|x - mean| / std)`
/// with `Q(z) = erfc(z / √2) / 2`: 0.5 for the mean itself, close to 1 far from it, and 0 for the very first value.
/// A value beyond `±1e150` scores 1 and is not learned, because its square is beyond what a number can hold. `std` is
/// the population's; where it is 0, `1e-6` takes its place. The window takes in every value until it holds `window` of
/// them; from then on values gather until there are `step`, which then replace the oldest as many.
///
/// The mean and the sum of squares follow Welford (1962), *Note on a method for calculating corrected sums of squares
/// and products*, with each value while the window fills, and anew over the whole window at each step.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, WindowedGaussian};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = WindowedGaussian::new(100, 10)?;
/// let mut state = detector.start(0);
/// let scores = [3.0, 3.0, 9.0].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [Some(0.0), Some(0.5), Some(1.0)]);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WindowedGaussian {
    window: usize,
    step: usize,
}

const WINDOW: Parameter = Parameter::with_default(
    "window",
    Kind::Integer(1, 1_000_000),
    Literal::Integer(6400),
    "how many values the distribution is fitted to",
);
const STEP: Parameter = Parameter::with_default(
    "step",
    Kind::Integer(1, 1_000_000),
    Literal::Integer(100),
    "by how many values a full window moves at once",
);
/// Stands in for the standard deviation of values that are all the same.
const NO_DEVIATION: f64 = 1e-6;

impl WindowedGaussian {
    /// A detector over the last `window` values, in `[1, 1000000]`, in steps of `step`, in `[1, window]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(window: usize, step: usize) -> Result<Self, ParamError> {
        let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
        WINDOW.integer(whole(window))?;
        STEP.integer(whole(step))?;
        if step > window {
            let reason = format!("is {step}, which must not be above \"window\", {window}");
            return Err(ParamError::Conflict { name: "step", reason });
        }
        Ok(Self { window, step })
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "windowed-gaussian",
            summary: "values in the tails of a normal distribution fitted to a window",
            score: "1 - tail probability, in [0.5, 1]; usually an anomaly from 0.9999",
            threshold: Some(0.9999),
            cool_down: 0,
            multivariate: false,
            parameters: vec![WINDOW, STEP],
            cost: "O(window / step)",
            state: "56 + 8 × (window + step)",
            source: "Lavin and Ahmad 2015, Evaluating Real-Time Anomaly Detection Algorithms: the Numenta Anomaly \
                     Benchmark; Welford 1962, Note on a method for calculating corrected sums of squares and products",
            construct: DetectorInfo::constructor(|params| {
                Self::new(params.value("window"), params.value("step"))
            }),
        }
    }
}

/// What [`WindowedGaussian`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GaussianState {
    /// The window, then the values that gather for the next step.
    values: VecDeque<f64>,
    moments: Moments,
}

/// Number, mean and sum of squared distances from the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Moments {
    number: u32,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn with(self, value: f64) -> Self {
        let number = self.number + 1;
        let distance = value - self.mean;
        let mean = self.mean + distance / f64::from(number);
        Self { number, mean, squares: self.squares + distance * (value - mean) }
    }

    fn deviation(&self) -> f64 {
        let deviation = (self.squares / f64::from(self.number)).sqrt();
        if deviation == 0.0 {
            NO_DEVIATION
        } else {
            deviation
        }
    }
}

impl Detector for WindowedGaussian {
    type State = GaussianState;

    fn name(&self) -> &'static str {
        "windowed-gaussian"
    }

    fn version(&self) -> u32 {
        2
    }

    fn start(&self, _seed: u64) -> GaussianState {
        GaussianState::default()
    }

    fn score(&self, state: &mut GaussianState, _time: EventTime, values: &[f64]) -> Score {
        let (value, moments) = (values[0], state.moments);
        let expected = (moments.number > 0).then_some(moments.mean);
        if value.abs() > LEARNABLE {
            return Score { expected, ..Score::of(1.0) };
        }
        let score = if moments.number == 0 {
            Score::of(0.0)
        } else {
            let z = (value - moments.mean).abs() / moments.deviation();
            let tail = 0.5 * libm::erfc(z / std::f64::consts::SQRT_2);
            Score { expected, ..Score::of(1.0 - tail) }
        };
        state.values.push_back(value);
        if state.values.len() <= self.window {
            state.moments = moments.with(value);
        } else if state.values.len() == self.window + self.step {
            state.values.drain(..self.step);
            state.moments = state.values.iter().fold(Moments::default(), |sum, value| sum.with(*value));
        }
        score
    }

    fn memory(&self, state: &GaussianState) -> usize {
        // By length, not capacity: a restored state must weigh the same.
        size_of::<GaussianState>() + state.values.len() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The scores as the benchmark's own program finds them: two passes over the window whenever it changes.
    fn scores_slow(window: usize, step: usize, values: &[f64]) -> Vec<f64> {
        let (mut seen, mut gathered, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        for value in values {
            if seen.is_empty() {
                scores.push(0.0);
            } else {
                let number = seen.len() as f64;
                let mean = seen.iter().sum::<f64>() / number;
                let variance = seen.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / number;
                let deviation = if variance == 0.0 { NO_DEVIATION } else { variance.sqrt() };
                let mirrored = if *value < mean { mean + (mean - value) } else { *value };
                scores.push(1.0 - 0.5 * libm::erfc((mirrored - mean) / deviation / 2f64.sqrt()));
            }
            if seen.len() < window {
                seen.push(*value);
            } else {
                gathered.push(*value);
                if gathered.len() == step {
                    seen.drain(..step);
                    seen.append(&mut gathered);
                }
            }
        }
        scores
    }

    fn scores(detector: WindowedGaussian, values: &[f64]) -> Vec<f64> {
        let mut state = detector.start(0);
        let mut score = |value: &f64| detector.score(&mut state, EventTime::MIN, &[*value]).score;
        values.iter().map(|value| score(value).expect("it never warms")).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_the_window(
            (window, step) in (1usize..40).prop_flat_map(|window| (Just(window), 1..=window)),
            values in prop::collection::vec(prop_oneof![-1e3..1e3, 990.0..1010.0, Just(1000.0)], 0..200),
        ) {
            let fast = scores(WindowedGaussian::new(window, step).unwrap(), &values);
            let slow = scores_slow(window, step, &values);
            prop_assert_eq!(slow.len(), fast.len());
            for (at, (slow, fast)) in slow.iter().zip(&fast).enumerate() {
                prop_assert!((slow - fast).abs() <= 1e-9, "{} but {} at {}", slow, fast, at);
            }
        }
    }

    #[test]
    fn snapshot_and_restore_of_a_full_window_changes_nothing() {
        let detector = WindowedGaussian::new(10, 4).unwrap();
        let values: Vec<f64> = (0..60).map(|at| f64::from(at * at % 17)).collect();
        let mut state = detector.start(0);
        let mut restored = Vec::new();
        for value in &values {
            let mut bytes = Vec::new();
            crate::state::save(&state, &mut bytes);
            state = crate::state::restore("gaussian", &mut &bytes[..]).unwrap();
            restored.extend(detector.score(&mut state, EventTime::MIN, &[*value]).score);
        }
        assert_eq!(scores(detector, &values), restored);
    }

    #[test]
    fn a_constant_scores_one_half_and_a_change_after_it_scores_one() {
        let values: Vec<f64> = [0.1; 500].into_iter().chain([0.2]).collect();
        let scores = scores(WindowedGaussian::new(100, 10).unwrap(), &values);
        assert_eq!((0.0, 0.5, 0.5, 1.0), (scores[0], scores[1], scores[499], scores[500]));
    }

    #[test]
    fn a_value_that_cannot_be_learned_scores_one_and_leaves_no_trace() {
        let detector = WindowedGaussian::new(20, 5).unwrap();
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).chain([100.0]).collect();
        let expected = scores(detector, &calm);
        assert!(expected[100] > 0.9999);
        for at in [0, 1, 10, 50, 100] {
            for extreme in [1.7e308, f64::MIN, 1e151] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(detector, &values);
                assert_eq!(1.0, found.remove(at), "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn memory_counts_each_value_of_the_window() {
        let detector = WindowedGaussian::new(10, 5).unwrap();
        let mut state = detector.start(0);
        let empty = detector.memory(&state);
        for _ in 0..100 {
            detector.score(&mut state, EventTime::MIN, &[1.0]);
            assert!(detector.memory(&state) <= empty + 14 * 8);
        }
        assert_eq!(empty + 10 * 8, detector.memory(&state));
    }

    #[test]
    fn a_step_beyond_the_window_is_refused() {
        let error = WindowedGaussian::new(10, 11).unwrap_err();
        assert_eq!("\"step\" is 11, which must not be above \"window\", 10", error.to_string());
    }
}
