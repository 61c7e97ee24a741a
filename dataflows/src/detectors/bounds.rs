//! Fixed bounds.

use super::{Detector, DetectorInfo, Score};
use crate::params::{Kind, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by how far it lies beyond fixed bounds.
///
/// The score is 0 within the bounds, which belong to the normal range, and `1 + distance` beyond, where the distance
/// from the violated bound is in the unit of the value. It remembers nothing and scores from the first record on.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Bounds, Detector};
/// use tidewatch_dataflows::EventTime;
///
/// let bounds = Bounds::new(Some(0.0), Some(100.0))?;
/// assert_eq!(bounds.score(&mut (), EventTime::MIN, &[103.5]).score, Some(4.5));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    min: Option<f64>,
    max: Option<f64>,
}

const MIN: Parameter =
    Parameter::optional("min", Kind::Number(Range::ANY), "the least value that is still normal");
const MAX: Parameter =
    Parameter::optional("max", Kind::Number(Range::ANY), "the greatest value that is still normal");

impl Bounds {
    /// A detector of values below `min` or above `max`, of which one may be left open.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a bound is not finite, both are missing, or `min` is above `max`.
    pub fn new(min: Option<f64>, max: Option<f64>) -> Result<Self, ParamError> {
        let min = min.map(|min| MIN.number(min)).transpose()?;
        let max = max.map(|max| MAX.number(max)).transpose()?;
        match (min, max) {
            (None, None) => {
                let reason = "or \"max\" is needed: without bounds everything is normal".to_owned();
                Err(ParamError::Conflict { name: "min", reason })
            }
            (Some(min), Some(max)) if min > max => {
                let reason = format!("is {min}, which must not be above \"max\", {max}");
                Err(ParamError::Conflict { name: "min", reason })
            }
            _ => Ok(Self { min, max }),
        }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "static",
            summary: "values beyond fixed bounds",
            score: "0 within the bounds, 1 + distance beyond them; an anomaly from 1",
            threshold: Some(1.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![MIN, MAX],
            cost: "O(1)",
            state: "0",
            source: "elementary",
            construct: DetectorInfo::constructor(|params| {
                Self::new(params.optional("min"), params.optional("max"))
            }),
        }
    }
}

impl Detector for Bounds {
    type State = ();

    fn name(&self) -> &'static str {
        "static"
    }

    fn start(&self, _seed: u64) {}

    #[inline]
    fn score(&self, _state: &mut (), _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let below = self.min.map_or(0.0, |min| min - value);
        let beyond = self.max.map_or(below, |max| below.max(value - max));
        // The distance between two finite numbers may overflow; a score is finite.
        let score = if beyond > 0.0 { (1.0 + beyond).min(f64::MAX) } else { 0.0 };
        Score { score: Some(score), lower: self.min, upper: self.max, ..Score::WARMING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(min: Option<f64>, max: Option<f64>, value: f64) -> Option<f64> {
        Bounds::new(min, max).unwrap().score(&mut (), EventTime::MIN, &[value]).score
    }

    #[test]
    fn the_score_is_zero_within_the_bounds_and_grows_with_the_distance_beyond() {
        for (value, expected) in
            [(-3.0, 2.5), (-1.5, 0.0), (0.0, 0.0), (4.0, 0.0), (4.25, 1.25), (14.0, 11.0)]
        {
            assert_eq!(Some(expected), score(Some(-1.5), Some(4.0), value), "{value}");
        }
        assert_eq!((Some(0.0), Some(3.0)), (score(Some(1.0), None, 1e300), score(Some(1.0), None, -1.0)));
        assert_eq!((Some(0.0), Some(3.0)), (score(None, Some(1.0), -1e300), score(None, Some(1.0), 3.0)));
        assert_eq!(Some(f64::MAX), score(Some(f64::MAX), None, f64::MIN));
    }

    #[test]
    fn bounds_that_mean_nothing_are_refused() {
        let refused = |min, max| Bounds::new(min, max).unwrap_err().to_string();
        assert_eq!("\"min\" or \"max\" is needed: without bounds everything is normal", refused(None, None));
        assert_eq!("\"min\" is 2, which must not be above \"max\", 1", refused(Some(2.0), Some(1.0)));
        assert_eq!("\"max\" takes a number, not NaN", refused(None, Some(f64::NAN)));
    }
}
