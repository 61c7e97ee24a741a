//! Distance from an exponentially weighted mean.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score};
use crate::params::{Default, Kind, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by its distance, in standard deviations, from an exponentially weighted moving mean.
///
/// Mean and variance follow Finch (2009), *Incremental calculation of weighted mean and variance*, equations 124
/// and 143: with `d = x - mean`, `mean += alpha d` and `variance = (1 - alpha) (variance + alpha d²)`. The score is
/// `|d| / sqrt(variance)`, before `x` is learned; 0 if neither differs, infinite distances are scored as `1e9`.
#[derive(Clone, Copy, Debug)]
pub struct EwmaZ {
    alpha: f64,
    warmup: u32,
}

const ALPHA: Parameter = Parameter::with_default(
    "alpha",
    Kind::Number(Range::FRACTION),
    Default::Number(0.05),
    "weight of each new value: the mean reaches back about 1/alpha records",
);
const WARMUP: Parameter = Parameter::with_default(
    "warmup",
    Kind::Integer(1, u32::MAX as i64),
    Default::Integer(30),
    "records before the first score",
);
/// The score of a value that differs from a series without any variance.
const BEYOND_MEASURE: f64 = 1e9;

impl EwmaZ {
    /// A detector that weighs each new value by `alpha`, in `(0, 1]`, and scores after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `alpha` is out of range.
    pub fn new(alpha: f64) -> Result<Self, ParamError> {
        Ok(Self { alpha: ALPHA.number(alpha)?, warmup: 30 })
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "ewma-z",
            summary: "values far from their exponentially weighted moving mean",
            score: "standard deviations from the mean; usually an anomaly from 4",
            parameters: vec![ALPHA, WARMUP],
            cost: "O(1)",
            state: "24",
            source: "Finch 2009, Incremental calculation of weighted mean and variance, eq. 124 and 143",
            construct: DetectorInfo::constructor(|params| {
                let warmup = params.integer("warmup").and_then(|records| u32::try_from(records).ok());
                Ok(Self { warmup: warmup.unwrap_or(30), ..Self::new(params.number("alpha"))? })
            }),
        }
    }
}

/// What [`EwmaZ`] remembers of one key.
#[derive(Clone, Copy, Debug, std::default::Default, PartialEq, Serialize, Deserialize)]
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

    fn start(&self, _seed: u64) -> EwmaState {
        EwmaState::default()
    }

    #[inline]
    fn score(&self, state: &mut EwmaState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
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
