//! Distance from a forecast that knows level, trend and season.

mod terms;

use serde::{Deserialize, Serialize};

use self::terms::{Smoothing, Terms};
use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, CLIP, LEARNABLE, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by its distance from a Holt-Winters forecast, in standard deviations of such distances.
///
/// The forecast follows Holt (1957), *Forecasting seasonals and trends by exponentially weighted moving averages*, and
/// Winters (1960), *Forecasting sales by exponentially weighted moving averages*, in the form of Hyndman and
/// Athanasopoulos (2018), *Forecasting: principles and practice*, section 7.3. With `s` the seasonal term of `season`
/// records ago,
///
/// ```text
/// forecast = level + trend + s
/// level'   = alpha (x - s) + (1 - alpha) (level + trend)
/// trend'   = beta (level' - level) + (1 - beta) trend
/// s'       = gamma (x - level - trend) + (1 - gamma) s
/// ```
///
/// and, [multiplicative](HoltWinters::multiplicative), `(level + trend) s` for the forecast, and quotients for the
/// differences of `x`. The first season gives the first terms: its mean is the level, the mean of its steps the trend, and
/// the distance of each value from the level (the quotient) a seasonal term. A season is counted in records, so these
/// should come at regular times; with a season of 1 there is none, and two values give level and trend.
///
/// The score is `|x - forecast| / deviation`, at most `1e9`, before `x` is learned. The square of the deviation is a mean
/// of squared residuals, in which each new one weighs `residual` (all alike, at first). A residual of more than `clip`
/// deviations is learned as one of `clip`, as in Gelper, Fried and Croux (2010), *Robust forecasting with exponential
/// and Holt-Winters smoothing*; `lower` and `upper` are `clip` deviations from the forecast. For a value beyond
/// `±1e150`, which scores `1e9`, the forecast is learned; in the first season it makes that begin anew.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, HoltWinters};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = HoltWinters::new(2)?.smoothing(0.5, 0.5, 0.5)?.warmup(1);
/// let mut state = detector.start(0);
/// let scores = [1.0, 3.0, 5.0, 10.5].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [None, None, None, Some(1.0)]); // 3 and 8.5 were expected
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HoltWinters {
    smoothing: Smoothing,
    residual: f64,
    clip: f64,
    warmup: u32,
}

const SEASON: Parameter = Parameter::with_default(
    "season",
    Kind::Integer(1, 10_000),
    Literal::Integer(24),
    "how many records a season has; 1 for none",
);
const ALPHA: Parameter = Parameter::with_default(
    "alpha",
    Kind::Number(Range::FRACTION),
    Literal::Number(0.2),
    "weight of each new value in the level",
);
const BETA: Parameter = Parameter::with_default(
    "beta",
    Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
    Literal::Number(0.02),
    "weight of each new step in the trend",
);
const GAMMA: Parameter = Parameter::with_default(
    "gamma",
    Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
    Literal::Number(0.2),
    "weight of each new value in its place in the season",
);
const MULTIPLICATIVE: Parameter = Parameter::with_default(
    "multiplicative",
    Kind::Flag,
    Literal::Flag(false),
    "whether the season is a factor, instead of a term",
);
const RESIDUAL: Parameter = Parameter::with_default(
    "residual",
    Kind::Number(Range::FRACTION),
    Literal::Number(0.05),
    "weight of each new residual in their deviation",
);
const WARMUP: Parameter = Parameter::with_default(
    "warmup",
    Kind::Integer(1, u32::MAX as i64),
    Literal::Integer(WARMUP_RECORDS as i64),
    "forecasts before the first score; the first one is made after a season",
);
/// The share of a forecast below which a residual is its rounding error.
const ROUNDING: f64 = 1e-12;

impl HoltWinters {
    /// A detector with an additive season of `season` records, in `[1, 10000]`, that scores after 30 forecasts.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `season` is out of range.
    pub fn new(season: usize) -> Result<Self, ParamError> {
        SEASON.integer(i64::try_from(season).unwrap_or(i64::MAX))?;
        let smoothing = Smoothing { season, alpha: 0.2, beta: 0.02, gamma: 0.2, multiplicative: false };
        Ok(Self { smoothing, residual: 0.05, clip: 4.0, warmup: WARMUP_RECORDS })
    }

    /// Weighs each new value by `alpha`, in `(0, 1]`, in the level; by `beta`, in `[0, 1]`, in the trend; and by `gamma`,
    /// in `[0, 1]`, in the season.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn smoothing(self, alpha: f64, beta: f64, gamma: f64) -> Result<Self, ParamError> {
        let (alpha, beta, gamma) = (ALPHA.number(alpha)?, BETA.number(beta)?, GAMMA.number(gamma)?);
        Ok(Self { smoothing: Smoothing { alpha, beta, gamma, ..self.smoothing }, ..self })
    }

    /// Takes the season for a factor, as suits values above 0 whose swings grow with their level.
    pub fn multiplicative(self) -> Self {
        Self { smoothing: Smoothing { multiplicative: true, ..self.smoothing }, ..self }
    }

    /// Weighs each new residual by `residual`, in `(0, 1]`, and learns none beyond `clip` deviations, in `[0, 1000]`, 0
    /// for whatever they are.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn residuals(self, residual: f64, clip: f64) -> Result<Self, ParamError> {
        Ok(Self { residual: RESIDUAL.number(residual)?, clip: CLIP.number(clip)?, ..self })
    }

    /// Scores after `forecasts` forecasts; the first one never has a score.
    pub fn warmup(self, forecasts: u32) -> Self {
        Self { warmup: forecasts.max(1), ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "holt-winters",
            summary: "values far from a forecast by level, trend and season (Holt-Winters)",
            score: "standard deviations from the forecast; usually an anomaly from 4",
            threshold: Some(4.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![SEASON, ALPHA, BETA, GAMMA, MULTIPLICATIVE, RESIDUAL, CLIP, WARMUP],
            cost: "O(1)",
            state: "64 + 8 × season",
            source: "Holt 1957, Forecasting seasonals and trends by exponentially weighted moving averages; Winters \
                     1960, Forecasting sales by exponentially weighted moving averages; Gelper, Fried and Croux 2010, \
                     Robust forecasting with exponential and Holt-Winters smoothing",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("season"))?
                    .smoothing(params.value("alpha"), params.value("beta"), params.value("gamma"))?
                    .residuals(params.value("residual"), params.value("clip"))?
                    .warmup(params.value("warmup"));
                Ok(if params.value("multiplicative") { detector.multiplicative() } else { detector })
            }),
        }
    }
}

/// What [`HoltWinters`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HoltWintersState {
    terms: Terms,
    /// The mean of squared residuals.
    variance: f64,
    /// How many forecasts were compared with a value.
    forecasts: u32,
}

impl Detector for HoltWinters {
    type State = HoltWintersState;

    fn name(&self) -> &'static str {
        "holt-winters"
    }

    fn start(&self, _seed: u64) -> HoltWintersState {
        HoltWintersState::default()
    }

    #[inline]
    fn score(&self, state: &mut HoltWintersState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let learnable = value.abs() <= LEARNABLE;
        let Some(forecast) = state.terms.forecast(&self.smoothing) else {
            if state.terms.begun() || !learnable {
                *state = HoltWintersState::default();
            }
            if learnable {
                state.terms.begin(value, &self.smoothing);
            }
            return Score::WARMING;
        };
        let warm = state.forecasts >= self.warmup;
        if !learnable {
            // The season goes on.
            state.terms.learn(forecast, &self.smoothing);
            return Score {
                expected: Some(forecast),
                score: warm.then_some(BEYOND_MEASURE),
                ..Score::WARMING
            };
        }
        let mut residual = value - forecast;
        if residual.abs() <= ROUNDING * forecast.abs() {
            residual = 0.0;
        }
        let deviation = state.variance.sqrt();
        let score = if residual == 0.0 { 0.0 } else { (residual.abs() / deviation).min(BEYOND_MEASURE) };
        // Where no residual has been seen, there is no measure for one.
        let reach = Some(self.clip * deviation).filter(|reach| warm && *reach > 0.0);
        let learned = match reach {
            Some(reach) if residual.abs() > reach => {
                residual = residual.clamp(-reach, reach);
                forecast + residual
            }
            _ => value,
        };
        state.forecasts = state.forecasts.saturating_add(1);
        let weight = self.residual.max(1.0 / f64::from(state.forecasts));
        let bounded = residual.clamp(-LEARNABLE, LEARNABLE);
        state.variance += weight * (bounded * bounded - state.variance);
        state.terms.learn(learned, &self.smoothing);
        if !warm {
            return Score { expected: Some(forecast), ..Score::WARMING };
        }
        Score {
            expected: Some(forecast),
            lower: reach.map(|reach| forecast - reach),
            upper: reach.map(|reach| forecast + reach),
            ..Score::of(score)
        }
    }

    fn memory(&self, state: &HoltWintersState) -> usize {
        // By length, not capacity: a restored state must weigh the same.
        size_of::<HoltWintersState>() + size_of_val(&state.terms.season[..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: HoltWinters, values: &[f64]) -> Vec<Score> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value])).collect()
    }

    /// The scores, from the forecasts and the weight of each residual that was learned, oldest first.
    fn scores_slow(detector: HoltWinters, values: &[f64]) -> Vec<(Option<f64>, Option<f64>)> {
        let (mut terms, mut residuals) = (Terms::default(), Vec::<f64>::new());
        let mut score = |value: &f64| {
            let Some(forecast) = terms.forecast(&detector.smoothing) else {
                terms.begin(*value, &detector.smoothing);
                return (None, None);
            };
            let (mut squares, mut left) = (0.0, 1.0);
            for (at, residual) in residuals.iter().enumerate().rev() {
                let weight = detector.residual.max(1.0 / (at + 1) as f64);
                squares += left * weight * residual * residual;
                left *= 1.0 - weight;
            }
            let (distance, reach) = (value - forecast, detector.clip * f64::sqrt(squares));
            let warm = residuals.len() >= detector.warmup as usize;
            let learned = if warm && reach > 0.0 { distance.clamp(-reach, reach) } else { distance };
            terms.learn(forecast + learned, &detector.smoothing);
            residuals.push(learned);
            (Some(forecast), warm.then_some(distance.abs() / squares.sqrt()))
        };
        values.iter().map(&mut score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_residuals(
            season in 1usize..8, residual in 0.02..1.0, clip in prop_oneof![Just(0.0), 1.0..5.0], warmup in 1u32..20,
            values in prop::collection::vec((-1.0..1.0, prop::bool::weighted(0.05)), 0..80),
        ) {
            let at = |(at, (value, spike)): (usize, (f64, bool))| {
                20.0 + (at % season) as f64 + value + if spike { 5.0 } else { 0.0 }
            };
            let values: Vec<f64> = values.into_iter().enumerate().map(at).collect();
            let detector = HoltWinters::new(season).unwrap().residuals(residual, clip).unwrap().warmup(warmup);
            let (fast, slow) = (scores(detector, &values), scores_slow(detector, &values));
            for (at, (fast, (forecast, score))) in fast.into_iter().zip(slow).enumerate() {
                for (fast, slow) in [(fast.expected, forecast), (fast.score, score)] {
                    prop_assert_eq!(fast.is_some(), slow.is_some(), "at {}", at);
                    let (fast, slow) = (fast.unwrap_or(0.0), slow.unwrap_or(0.0));
                    prop_assert!((fast - slow).abs() <= 1e-6 * slow.abs().max(1.0), "{} but {} at {}", slow, fast, at);
                }
            }
        }
    }

    /// A day of 24 records with some noise on a rising level.
    fn days(count: u32) -> Vec<f64> {
        let value = |at: u32| {
            let hour = f64::from(at % 24) - 12.0;
            100.0 + 0.01 * f64::from(at) + hour * hour / 10.0 + f64::from(at * 7919 % 13) / 13.0
        };
        (0..count).map(value).collect()
    }

    #[test]
    fn a_season_is_normal_and_a_value_out_of_season_is_not() {
        let mut values = days(400);
        values[300] = values[300 - 12];
        let found = scores(HoltWinters::new(24).unwrap(), &values);
        assert!(found[53].score.is_none() && found[54].score.is_some());
        for (at, score) in found.iter().enumerate().skip(54) {
            assert_eq!(at == 300, score.score.unwrap() > 4.0, "{score:?} at {at}");
            let (lower, upper) = (score.lower.unwrap(), score.upper.unwrap());
            assert_eq!(at == 300, values[at] < lower || values[at] > upper, "{score:?} at {at}");
        }
    }

    #[test]
    fn a_spike_hardly_moves_the_forecast_and_a_new_level_is_learned() {
        let calm = scores(HoltWinters::new(24).unwrap(), &days(600));
        let mut values = days(600);
        values[300] = 1e6;
        let spiked = scores(HoltWinters::new(24).unwrap(), &values);
        for at in 301..600 {
            assert!((calm[at].expected.unwrap() - spiked[at].expected.unwrap()).abs() < 1.0, "{at}");
        }
        values.iter_mut().skip(300).for_each(|value| *value += 1e4);
        let shifted = scores(HoltWinters::new(24).unwrap(), &values);
        assert!(shifted[500..].iter().all(|score| score.score.unwrap() < 4.0));
    }

    #[test]
    fn a_change_after_a_constant_has_a_bounded_score_and_is_learned() {
        let additive = HoltWinters::new(24).unwrap();
        for detector in [additive, additive.multiplicative()] {
            let values: Vec<f64> = [0.1; 100].into_iter().chain([0.2; 200]).collect();
            let found = scores(detector, &values);
            assert!((54..100).all(|at| found[at].score == Some(0.0)), "{found:?}");
            assert_eq!(Some(BEYOND_MEASURE), found[100].score);
            assert!((found[299].expected.unwrap() - 0.2).abs() < 0.02);
        }
    }

    #[test]
    fn any_values_have_finite_scores_in_the_multiplicative_form() {
        let extremes = [0.0, 1e150, -1e150, 1e-300, -1e-12, 5e-324, 1.0];
        for first in 0..extremes.len() * extremes.len() {
            let value = |at: usize| extremes[(first * at * at + first / 7 + at) % 7];
            let values: Vec<f64> = (0..200).map(value).collect();
            for season in [1, 2, 3] {
                let detector = HoltWinters::new(season).unwrap().multiplicative().warmup(1);
                for score in scores(detector.smoothing(1.0, 1.0, 1.0).unwrap(), &values) {
                    let numbers = [score.score, score.expected, score.lower, score.upper];
                    assert!(numbers.into_iter().flatten().all(f64::is_finite), "{score:?}");
                }
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_hardly_moves_the_forecast() {
        let calm = scores(HoltWinters::new(24).unwrap(), &days(200));
        for at in [24, 40, 53, 54, 100] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = days(200);
                values[at] = extreme;
                let found = scores(HoltWinters::new(24).unwrap(), &values);
                assert_eq!((at >= 54).then_some(BEYOND_MEASURE), found[at].score, "{extreme} at {at}");
                for (calm, found) in calm.iter().zip(&found) {
                    let (calm, found) = (calm.expected.unwrap_or(0.0), found.expected.unwrap_or(0.0));
                    assert!((calm - found).abs() < 0.5, "{calm} but {found} with {extreme} at {at}");
                }
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_learned_makes_the_first_season_begin_anew() {
        let values: Vec<f64> = days(10).into_iter().chain([f64::MAX]).chain(days(100)).collect();
        let found = scores(HoltWinters::new(24).unwrap(), &values);
        assert_eq!(scores(HoltWinters::new(24).unwrap(), &days(100)), found[11..]);
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |result: Result<HoltWinters, ParamError>| result.unwrap_err().to_string();
        let detector = HoltWinters::new(24).unwrap();
        assert_eq!("\"season\" takes a whole number in [1, 10000], not 0", refused(HoltWinters::new(0)));
        assert_eq!("\"alpha\" takes a number in (0, 1], not 0", refused(detector.smoothing(0.0, 0.1, 0.1)));
        assert_eq!("\"gamma\" takes a number in [0, 1], not 2", refused(detector.smoothing(0.1, 0.1, 2.0)));
        assert_eq!("\"clip\" takes a number in [0, 1000], not -1", refused(detector.residuals(0.1, -1.0)));
    }
}
