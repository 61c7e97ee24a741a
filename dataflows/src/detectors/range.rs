//! Novelty against the range seen so far.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, WARMUP};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by how far it lies beyond every value before it.
///
/// With `r = max - min` of the values so far, the normal range is `[min - tolerance r, max + tolerance r]`. The score
/// is 0 inside and `distance / r` outside, at most `1e9`: that is also the score of any new value where `r` is 0.
/// The value is learned after it was scored, so a range that was left once has grown. With [`fade`](Self::fade) it shrinks
/// again: with each record both ends move together by `r / fade` in all.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, RunningRange};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = RunningRange::new(0.25, 2)?;
/// let mut state = detector.start(0);
/// let scores = [0.0, 4.0, 5.0, 8.75].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [None, None, Some(0.0), Some(0.5)]);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RunningRange {
    tolerance: f64,
    /// By which share of itself the range shrinks with each record.
    shrink: f64,
    warmup: u32,
}

const TOLERANCE: Parameter = Parameter::with_default(
    "tolerance",
    Kind::Number(Range::NON_NEGATIVE),
    Literal::Number(0.05),
    "how far beyond the range is still normal, as a fraction of the range",
);
const FADE: Parameter = Parameter::optional(
    "fade",
    Kind::Integer(2, u32::MAX as i64),
    "after how many records a range that nothing touches has shrunk to a third; never if not given",
);

impl RunningRange {
    /// A detector that tolerates `tolerance` times the range, 0 or more, and scores after `warmup` records, 1 or more.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(tolerance: f64, warmup: u32) -> Result<Self, ParamError> {
        WARMUP.integer(i64::from(warmup))?;
        Ok(Self { tolerance: TOLERANCE.number(tolerance)?, shrink: 0.0, warmup })
    }

    /// Lets the range shrink by one part in `records`, 2 or more, with each record, so that what is long ago is novel again.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the number is out of range.
    pub fn fade(self, records: u32) -> Result<Self, ParamError> {
        FADE.integer(i64::from(records))?;
        Ok(Self { shrink: 1.0 / f64::from(records), ..self })
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "running-range",
            summary: "values beyond all that were seen before",
            score: "distance beyond the range seen so far, in widths of that range; an anomaly above 0",
            threshold: None,
            cool_down: 0,
            multivariate: false,
            parameters: vec![TOLERANCE, FADE, WARMUP],
            cost: "O(1)",
            state: "24",
            source: "elementary",
            construct: DetectorInfo::constructor(|params| {
                let range = Self::new(params.value("tolerance"), params.value("warmup"))?;
                params.optional("fade").map_or(Ok(range), |records| range.fade(records))
            }),
        }
    }
}

/// What [`RunningRange`] remembers of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RangeState {
    min: f64,
    max: f64,
    records: u32,
}

impl Detector for RunningRange {
    type State = RangeState;

    fn name(&self) -> &'static str {
        "running-range"
    }

    fn start(&self, _seed: u64) -> RangeState {
        RangeState::default()
    }

    #[inline]
    fn score(&self, state: &mut RangeState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        if state.records == 0 {
            *state = RangeState { min: value, max: value, records: 1 };
            return Score::WARMING;
        }
        let RangeState { min, max, records } = *state;
        let half = self.shrink * (max / 2.0 - min / 2.0);
        *state = RangeState {
            min: (min + half).min(value),
            max: (max - half).max(value),
            records: records.saturating_add(1),
        };
        if records < self.warmup {
            return Score::WARMING;
        }
        // Two products, since the range of two finite numbers may overflow; or one, if it is they that do.
        let margin = self.tolerance * max - self.tolerance * min;
        let margin = if margin.is_nan() { self.tolerance * (max - min) } else { margin };
        let (lower, upper) = ((min - margin).max(f64::MIN), (max + margin).min(f64::MAX));
        let distance = (lower - value).max(value - upper);
        let widths = match max - min {
            f64::INFINITY => distance / 2.0 / (max / 2.0 - min / 2.0),
            range => distance / range,
        };
        // Above 0 outside, however little that is.
        let score = if distance > 0.0 { widths.clamp(f64::MIN_POSITIVE, BEYOND_MEASURE) } else { 0.0 };
        Score { lower: Some(lower), upper: Some(upper), ..Score::of(score) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(tolerance: f64, warmup: u32, values: &[f64]) -> Vec<Option<f64>> {
        let detector = RunningRange::new(tolerance, warmup).unwrap();
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value]).score).collect()
    }

    /// The scores, each from all values before it.
    fn scores_slow(tolerance: f64, warmup: usize, values: &[f64]) -> Vec<Option<f64>> {
        let score = |at: usize| {
            let before = &values[..at];
            let min = before.iter().copied().fold(f64::INFINITY, f64::min);
            let max = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (value, range) = (values[at], max - min);
            let beyond = (min - value).max(value - max) - tolerance * range;
            match () {
                () if at < warmup => None,
                () if beyond <= 0.0 => Some(0.0),
                () if range == 0.0 => Some(BEYOND_MEASURE),
                () => Some((beyond / range).min(BEYOND_MEASURE)),
            }
        };
        (0..values.len()).map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_the_range_of_all_values_before(
            tolerance in prop_oneof![Just(0.0), 0.0..2.0], warmup in 1u32..20,
            values in prop::collection::vec(prop_oneof![-1e3..1e3, Just(1.0)], 0..60),
        ) {
            let (fast, slow) = (scores(tolerance, warmup, &values), scores_slow(tolerance, warmup as usize, &values));
            for (at, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
                prop_assert_eq!(fast.is_some(), slow.is_some(), "at {}", at);
                let (fast, slow) = (fast.unwrap_or(0.0), slow.unwrap_or(0.0));
                prop_assert!((fast - slow).abs() <= 1e-6 * slow.max(1.0), "{} but {} at {}", slow, fast, at);
            }
        }
    }

    #[test]
    fn a_range_fades_to_what_is_still_seen() {
        let detector = RunningRange::new(0.0, 1).unwrap().fade(100).unwrap();
        let mut state = detector.start(0);
        let mut score = |value| detector.score(&mut state, EventTime::MIN, &[value]).score.unwrap_or(0.0);
        assert_eq!([0.0, BEYOND_MEASURE, 0.0], [0.0, 100.0, 90.0].map(&mut score));
        (0..200).for_each(|at| assert_eq!(0.0, score(49.0 + 2.0 * f64::from(at % 2))));
        // Of 100, exp(-2) are left.
        assert!((2.0..3.0).contains(&score(90.0)));
        assert_eq!(0.0, score(90.0));
    }

    #[test]
    fn the_score_is_the_distance_beyond_the_range_in_ranges() {
        let expected = vec![None, None, Some(0.0), Some(0.75), Some(0.0), Some(2.75)];
        assert_eq!(expected, scores(0.25, 2, &[0.0, 4.0, 5.0, -5.0, -5.0, 35.0]));
    }

    #[test]
    fn a_change_after_a_constant_has_a_bounded_score() {
        let expected = vec![None, Some(0.0), Some(BEYOND_MEASURE), Some(0.0)];
        assert_eq!(expected, scores(0.05, 1, &[3.0, 3.0, 3.5, 3.25]));
    }

    #[test]
    fn a_value_beyond_a_range_that_overflows_is_scored() {
        let found = scores(0.0, 1, &[-1e308, 1e308, 1.7e308]);
        assert!((0.3..0.4).contains(&found[2].unwrap()), "{found:?}");
        assert_eq!(Some(f64::MIN_POSITIVE), scores(0.0, 1, &[-1e308, 0.0, f64::from_bits(1)])[2]);
        let score = |value| {
            let (detector, mut state) = (RunningRange::new(1e308, 1).unwrap(), RangeState::default());
            [1e10, 1e10, value].map(|value| detector.score(&mut state, EventTime::MIN, &[value]))[2]
        };
        assert_eq!((Some(0.0), Some(1e10), Some(1e10)), {
            let Score { score, lower, upper, .. } = score(1e10);
            (score, lower, upper)
        });
        assert_eq!(Some(BEYOND_MEASURE), score(2e10).score);
    }

    #[test]
    fn extreme_values_have_a_number_as_score() {
        for score in scores(0.0, 1, &[f64::MIN, f64::MAX, f64::MIN, 0.0]).into_iter().flatten() {
            assert!((0.0..=BEYOND_MEASURE).contains(&score), "{score}");
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |tolerance, warmup| RunningRange::new(tolerance, warmup).unwrap_err().to_string();
        assert_eq!("\"tolerance\" takes a number of at least 0, not -1", refused(-1.0, 1));
        assert_eq!("\"warmup\" takes a whole number in [1, 4294967295], not 0", refused(0.0, 0));
    }
}
