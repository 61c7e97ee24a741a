//! Cumulative sums against a known mean.

use serde::{Deserialize, Serialize};

use super::page_hinkley::{Direction, MODE};
use super::{Detector, DetectorInfo, Score, ABOVE_1, BEYOND_MEASURE, LEARNABLE};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores how much speaks for a mean other than the one that is known to be right.
///
/// These are the sums of Page (1954), *Continuous inspection schemes*, in the tabular form of Montgomery (2013),
/// *Introduction to statistical quality control*, equations 9.2 and 9.3, of `z = (x - target) / deviation`:
///
/// ```text
/// rise = max(0, rise + z - delta)
/// fall = max(0, fall - z - delta)
/// ```
///
/// The score is the greater of both, divided by `threshold`. Above 1 the mean has changed, and the sums begin anew. It
/// learns nothing, so what is normal does not move with what is found; where the right mean is not known, the detector
/// `page-hinkley` learns it. `expected` is the target; there is no band, since a change gathers over several values. A
/// value beyond `±1e150` scores `1e9` and is not summed up.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Cusum, Detector};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Cusum::new(10.0, 2.0)?;
/// let mut state = detector.start(0);
/// let scores = [10.0, 16.0, 17.0, 10.0].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [Some(0.0), Some(0.5), Some(1.1), Some(0.0)]);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cusum {
    target: f64,
    deviation: f64,
    delta: f64,
    threshold: f64,
    direction: Direction,
}

const TARGET: Parameter =
    Parameter::required("target", Kind::Number(Range::ANY), "the mean that the values should have");
const DEVIATION: Parameter = Parameter::required(
    "deviation",
    Kind::Number(Range::POSITIVE),
    "the standard deviation that the values should have",
);
const DELTA: Parameter = Parameter::with_default(
    "delta",
    Kind::Number(Range::NON_NEGATIVE),
    Literal::Number(0.5),
    "how many deviations from the target are still normal: half of the change to be found",
);
const THRESHOLD: Parameter = Parameter::with_default(
    "threshold",
    Kind::Number(Range::POSITIVE),
    Literal::Number(5.0),
    "the sum of distances, in deviations, that makes a change",
);

impl Cusum {
    /// A detector of changes, either way, from a mean of `target` with a standard deviation of `deviation`, above 0; it
    /// sums up what is beyond half a deviation, until that makes 5.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(target: f64, deviation: f64) -> Result<Self, ParamError> {
        let (target, deviation) = (TARGET.number(target)?, DEVIATION.number(deviation)?);
        Ok(Self { target, deviation, delta: 0.5, threshold: 5.0, direction: Direction::Both })
    }

    /// Sums up what is beyond `delta` deviations, 0 or more, until that makes `threshold`, above 0.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn limits(self, delta: f64, threshold: f64) -> Result<Self, ParamError> {
        Ok(Self { delta: DELTA.number(delta)?, threshold: THRESHOLD.number(threshold)?, ..self })
    }

    /// Looks for changes in one direction alone.
    pub fn direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "cusum",
            summary: "changes from a mean that is known, by cumulative sums (CUSUM)",
            score: "cumulative distance from the target, in thresholds; a change above 1",
            threshold: Some(ABOVE_1),
            cool_down: 0,
            multivariate: false,
            parameters: vec![TARGET, DEVIATION, DELTA, THRESHOLD, MODE],
            cost: "O(1)",
            state: "16",
            source: "Page 1954, Continuous inspection schemes; Montgomery 2013, Introduction to statistical quality \
                     control, eq. 9.2 and 9.3",
            construct: DetectorInfo::constructor(|params| {
                Ok(Self::new(params.value("target"), params.value("deviation"))?
                    .limits(params.value("delta"), params.value("threshold"))?
                    .direction(Direction::named(params.value("mode"))))
            }),
        }
    }
}

/// What [`Cusum`] remembers of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CusumState {
    rise: f64,
    fall: f64,
}

impl Detector for Cusum {
    type State = CusumState;

    fn name(&self) -> &'static str {
        "cusum"
    }

    fn start(&self, _seed: u64) -> CusumState {
        CusumState::default()
    }

    #[inline]
    fn score(&self, state: &mut CusumState, _time: EventTime, values: &[f64]) -> Score {
        let (value, expected) = (values[0], Some(self.target));
        if value.abs() > LEARNABLE {
            return Score { expected, ..Score::of(BEYOND_MEASURE) };
        }
        // What is further away makes a change by itself, and adds up without overflow.
        let distance = ((value - self.target) / self.deviation).clamp(-f64::MAX / 4.0, f64::MAX / 4.0);
        state.rise = (state.rise + distance - self.delta).max(0.0);
        state.fall = (state.fall - distance - self.delta).max(0.0);
        let sum = self.direction.of(state.rise, state.fall);
        if sum > self.threshold {
            *state = CusumState::default();
        }
        Score { expected, ..Score::of((sum / self.threshold).min(BEYOND_MEASURE)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: Cusum, values: &[f64]) -> Vec<f64> {
        let mut state = detector.start(0);
        let mut score = |value: &f64| detector.score(&mut state, EventTime::MIN, &[*value]).score;
        values.iter().map(|value| score(value).expect("it never warms")).collect()
    }

    /// The greatest sum over any number of the newest values since the last change, each way.
    fn scores_slow(detector: Cusum, values: &[f64]) -> Vec<f64> {
        let mut begin = 0;
        let score = |at: usize| {
            let greatest = |sign: f64| {
                let term =
                    |value: &f64| sign * (value - detector.target) / detector.deviation - detector.delta;
                let sum = |from: usize| values[from..=at].iter().map(term).sum::<f64>();
                (begin..=at).map(sum).fold(0.0, f64::max)
            };
            let sum = detector.direction.of(greatest(1.0), greatest(-1.0));
            if sum > detector.threshold {
                begin = at + 1;
            }
            sum / detector.threshold
        };
        (0..values.len()).map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_the_greatest_sum_over_any_of_the_newest_values(
            values in prop::collection::vec(prop_oneof![4 => 5.0..15.0, 1 => 12.0..18.0, 1 => -50.0..50.0], 0..80),
            target in 5.0..15.0, deviation in 0.5..5.0, delta in 0.0..2.0, threshold in 1.0..20.0,
            direction in prop::sample::select(vec![Direction::Both, Direction::Up, Direction::Down]),
        ) {
            let detector = Cusum { target, deviation, delta, threshold, direction };
            let (fast, slow) = (scores(detector, &values), scores_slow(detector, &values));
            for (at, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
                prop_assert!((fast - slow).abs() <= 1e-9 * slow.max(1.0), "{} but {} at {}", slow, fast, at);
            }
        }
    }

    #[test]
    fn whatever_came_before_a_change_is_found() {
        for before in [1e149, -1e149, 1e150, f64::MIN, f64::MAX] {
            for deviation in [1e-300, 1.0, 1e300] {
                let detector = Cusum::new(0.0, deviation).unwrap();
                let values: Vec<f64> = [before; 20].into_iter().chain([1.5 * deviation; 6]).collect();
                let found = scores(detector, &values);
                assert!(found.iter().all(|score| (0.0..=BEYOND_MEASURE).contains(score)), "{found:?}");
                if values[20] < LEARNABLE {
                    assert!(found[20..].iter().any(|score| *score > 1.0), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let error = Cusum::new(0.0, 0.0).unwrap_err().to_string();
        assert_eq!("\"deviation\" takes a number above 0, not 0", error);
        let error = Cusum::new(0.0, 1.0).unwrap().limits(-1.0, 1.0).unwrap_err().to_string();
        assert_eq!("\"delta\" takes a number of at least 0, not -1", error);
    }
}
