//! Rate of change.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::{EventTime, Span};

/// Scores a value by how fast it changed: `|x - previous| / (elapsed / per)`.
///
/// The previous value is that of the last record with an earlier time, in the order of partition and offset, so that
/// records of one time are all compared with the same one and never with each other. The detector is warming until
/// there is one.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, RateOfChange};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = RateOfChange::new("1s")?;
/// let mut state = detector.start(0);
/// let mut score = |ms, value| detector.score(&mut state, EventTime::from_millis(ms).unwrap(), &[value]).score;
/// assert_eq!([score(0, 7.0), score(500, 4.0)], [None, Some(6.0)]);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RateOfChange {
    per_micros: f64,
}

const PER: Parameter =
    Parameter::with_default("per", Kind::Span, Literal::Text("1s"), "the time to which a change is scaled");

impl RateOfChange {
    /// A detector of changes, each scaled to the span `per`.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] if `per` is not positive.
    pub fn new(per: impl Into<Span>) -> Result<Self, ParamError> {
        match per.into().micros() {
            ..=0 => Err(ParamError::Conflict { name: "per", reason: "must be longer than nothing".into() }),
            micros => Ok(Self { per_micros: micros as f64 }),
        }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "rate-of-change",
            summary: "values that change too fast",
            score: "change of the value per `per`, without sign",
            threshold: None,
            cool_down: 0,
            multivariate: false,
            parameters: vec![PER],
            cost: "O(1)",
            state: "48",
            source: "elementary",
            construct: DetectorInfo::constructor(|params| Self::new(params.value::<Span>("per"))),
        }
    }
}

/// What [`RateOfChange`] remembers of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateState {
    /// The last record.
    last: Option<(EventTime, f64)>,
    /// The last record with a time before that of `last`.
    before: Option<(EventTime, f64)>,
}

impl Detector for RateOfChange {
    type State = RateState;

    fn name(&self) -> &'static str {
        "rate-of-change"
    }

    fn start(&self, _seed: u64) -> RateState {
        RateState::default()
    }

    #[inline]
    fn score(&self, state: &mut RateState, time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        if state.last.is_some_and(|(last, _)| last < time) {
            state.before = state.last;
        }
        state.last = Some((time, value));
        let Some((before, previous)) = state.before else { return Score::WARMING };
        let elapsed = time.since(before).micros() as f64;
        let rate = (value - previous).abs() / (elapsed / self.per_micros);
        // The difference of two finite numbers may overflow; a score is finite.
        Score { expected: Some(previous), ..Score::of(rate.min(f64::MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(per: &'static str, records: &[(i64, f64)]) -> Vec<Option<f64>> {
        let detector = RateOfChange::new(per).unwrap();
        let mut state = detector.start(0);
        let mut score = |&(ms, value): &(i64, f64)| {
            detector.score(&mut state, EventTime::from_millis(ms).unwrap(), &[value]).score
        };
        records.iter().map(&mut score).collect()
    }

    /// The scores, each from all records before it.
    fn scores_slow(per_ms: f64, records: &[(i64, f64)]) -> Vec<Option<f64>> {
        let score = |at: usize| {
            let (now, value) = records[at];
            let earlier = records[..at].iter().filter(|(time, _)| *time < now);
            let (then, previous) = earlier.max_by_key(|(time, _)| *time)?;
            Some((value - previous).abs() * per_ms / (now - then) as f64)
        };
        (0..records.len()).map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_search_through_all_records(
            steps in prop::collection::vec((prop_oneof![Just(0i64), 0i64..500], -1e3..1e3), 0..60),
        ) {
            let mut now = -1_000;
            let records: Vec<_> = steps.into_iter().map(|(after, value)| { now += after; (now, value) }).collect();
            for (per, per_ms) in [("1s", 1e3), ("1m", 6e4), ("5ms", 5.0)] {
                let (fast, slow) = (scores(per, &records), scores_slow(per_ms, &records));
                for (at, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
                    prop_assert_eq!(fast.is_some(), slow.is_some(), "at {}", at);
                    let (fast, slow) = (fast.unwrap_or(0.0), slow.unwrap_or(0.0));
                    prop_assert!((fast - slow).abs() <= 1e-9 * slow, "{} but {} at {}", slow, fast, at);
                }
            }
        }
    }

    #[test]
    fn a_change_is_scaled_to_the_span() {
        let records = [(0, 1.0), (500, 2.0), (2500, -4.0)];
        assert_eq!(vec![None, Some(2.0), Some(3.0)], scores("1s", &records));
        assert_eq!(vec![None, Some(120.0), Some(180.0)], scores("1m", &records));
    }

    #[test]
    fn records_of_one_time_are_compared_with_the_last_earlier_one() {
        let records = [(0, 1.0), (0, 9.0), (1000, 4.0), (1000, 10.0), (2000, 12.0)];
        assert_eq!(vec![None, None, Some(5.0), Some(1.0), Some(2.0)], scores("1s", &records));
    }

    #[test]
    fn scores_are_finite() {
        assert_eq!(vec![None, Some(f64::MAX)], scores("1s", &[(0, f64::MAX), (1, f64::MIN)]));
    }

    #[test]
    fn an_empty_span_is_refused() {
        let error = RateOfChange::new(Span::ZERO).unwrap_err();
        assert_eq!("\"per\" must be longer than nothing", error.to_string());
    }
}
