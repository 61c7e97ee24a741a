//! Distance of a shape from all shapes before it.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::EventTime;

/// Scores a value by how little the shape that it completes resembles any before it.
///
/// A shape is the subsequence of `length` values in a row that ends with a value, and its distance `d` is that from its
/// nearest neighbour, z-normalised and Euclidean, among the subsequences of the `history` values up to it that end more
/// than `⌈length / 4⌉` values earlier: the left matrix profile, of which discords are the peaks (Yeh et al. 2016,
/// *Matrix Profile I*; Zhu et al. 2017, *Matrix Profile VII*, for what lies to the left). With `ρ` the
/// correlation of two subsequences, `d = √(2 length (1 - ρ))` (Yeh et al. 2016, equation 1), in `[0, 2 √length]`; two
/// constant subsequences are 0 apart, and a constant one is `√length` from any other.
///
/// The score is `d` itself or, with `relative`, `d` over the mean of the distances before it: keys whose shapes never
/// repeat are as far from their neighbours as can be all the time. It is at most `1e9`: that is the score of any
/// distance where the mean is 0, and of a value beyond `±1e150`, which is not learned, because its square is beyond
/// what a number can hold.
///
/// Shapes are compared in time order alone: spacing has no part. A verdict has no expected value and no band, since it
/// is not one value that is unusual.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, Discord};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Discord::new(4, 64)?.relative(false).warmup(16);
/// let mut state = detector.start(0);
/// let mut score = |value: f64| detector.score(&mut state, EventTime::MIN, &[value]).score;
/// let season = [0.0, 1.0, 2.0, 1.0];
/// let scores = season.repeat(8).into_iter().map(&mut score).collect::<Vec<_>>();
/// assert_eq!((scores[15], scores[16], scores[31]), (None, Some(0.0), Some(0.0)));
/// assert_eq!(score(2.0), Some(8f64.sqrt())); // 1, 2, 1, 2 correlates with nothing before it
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Discord {
    length: usize,
    history: usize,
    relative: bool,
    warmup: u32,
}

const LENGTH: Parameter = Parameter::with_default(
    "length",
    Kind::Integer(3, 1024),
    Literal::Integer(8),
    "how many values make a shape",
);
const HISTORY: Parameter = Parameter::with_default(
    "history",
    Kind::Integer(6, 1_000_000),
    Literal::Integer(256),
    "how many values are remembered, twice `length` at least",
);
const RELATIVE: Parameter = Parameter::with_default(
    "relative",
    Kind::Flag,
    Literal::Flag(true),
    "whether distances are divided by the mean of those before",
);
/// How many neighbours are looked at together, so that the compiler does so in parallel.
const LANES: usize = 8;

impl Discord {
    /// A detector of shapes of `length` values, in `[3, 1024]`, among the last `history` values, in
    /// `[2 length, 1000000]`. It scores relative to the mean, after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(length: usize, history: usize) -> Result<Self, ParamError> {
        let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
        LENGTH.integer(whole(length))?;
        HISTORY.integer(whole(history))?;
        if history < 2 * length {
            let reason = format!("is {history}, which must be twice \"length\", {length}, at least");
            return Err(ParamError::Conflict { name: "history", reason });
        }
        Ok(Self { length, history, relative: true, warmup: WARMUP_RECORDS })
    }

    /// Scores the distance over the mean of those before it, or the distance itself.
    pub fn relative(self, relative: bool) -> Self {
        Self { relative, ..self }
    }

    /// Scores after `records` records, and not before there is an earlier shape.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "discord",
            summary: "shapes that resemble none before them",
            score: "distance from the nearest earlier shape, over the mean of such distances; usually an anomaly from 3",
            threshold: Some(3.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![LENGTH, HISTORY, RELATIVE, WARMUP],
            cost: "O(history × length)",
            state: "64 + 16 × history",
            source: "Yeh et al. 2016, Matrix Profile I; Zhu et al. 2017, Matrix Profile VII",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("length"), params.value("history"))?;
                Ok(detector.relative(params.value("relative")).warmup(params.value("warmup")))
            }),
        }
    }

    /// Learns a value; the distance of the subsequence that it completes from its nearest neighbour, if there is one.
    fn learn(&self, state: &mut DiscordState, value: f64) -> Option<f64> {
        if state.values.len() == self.history {
            // A short move: to compare with all of them takes far longer.
            state.values.remove(0);
            state.scales.remove(0);
        }
        state.values.push(value);
        if state.values.len() < self.length {
            return None;
        }
        state.scales.push(scale(&state.values[state.values.len() - self.length..]));
        self.distance(state)
    }

    /// The distance of the last subsequence from its nearest neighbour, if there is an earlier one.
    fn distance(&self, state: &DiscordState) -> Option<f64> {
        let last = state.scales.len().checked_sub(1)?;
        // Trivial matches: those that start up to a quarter of the length earlier.
        let neighbours = last.checked_sub(self.length.div_ceil(4)).filter(|neighbours| *neighbours > 0)?;
        let scales = &state.scales[..neighbours];
        let scale = state.scales[last];
        let correlation = if scale == 0.0 {
            if scales.contains(&0.0) {
                1.0
            } else {
                UNRELATED
            }
        } else {
            self.correlation(&state.values, scales, scale)
        };
        let beyond = 1.0 - correlation.clamp(-1.0, 1.0);
        let beyond = if beyond < ROUNDING { 0.0 } else { beyond };
        Some((2.0 * self.length as f64 * beyond).sqrt())
    }

    /// The greatest correlation of the last subsequence, whose scale is `scale`, with those that `scales` belong to.
    ///
    /// With its mean taken from one of two factors, their product is the covariance, whatever is taken from the other: so that
    /// rounding is that of distances, not of values, it is the same.
    #[inline]
    fn correlation(&self, values: &[f64], scales: &[f64], scale: f64) -> f64 {
        let shape = &values[values.len() - self.length..];
        let mean = mean(shape);
        let mut greatest = [f64::NEG_INFINITY; LANES];
        let chunks = scales.chunks_exact(LANES);
        for (at, lag) in chunks.remainder().iter().enumerate() {
            let start = scales.len() - chunks.remainder().len() + at;
            let pairs = shape.iter().zip(&values[start..]);
            let product = pairs.fold(0.0, |sum, (value, other)| sum + (value - mean) * (other - mean));
            greatest[0] = greatest[0].max(correlate(product, *lag, scale));
        }
        for (at, scales) in chunks.enumerate() {
            let mut products = [0.0; LANES];
            for (value, after) in shape.iter().zip(at * LANES..) {
                let others = values[after..].first_chunk::<LANES>().expect("the last shape comes after them");
                for (product, other) in products.iter_mut().zip(others) {
                    *product += (value - mean) * (other - mean);
                }
            }
            for ((greatest, product), lag) in greatest.iter_mut().zip(products).zip(scales) {
                *greatest = greatest.max(correlate(product, *lag, scale));
            }
        }
        greatest.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A correlation this near to 1 is 1.
const ROUNDING: f64 = 1e-12;
/// What stands for the correlation with a constant subsequence.
const UNRELATED: f64 = 0.5;

#[inline]
fn correlate(product: f64, scale: f64, other: f64) -> f64 {
    if scale == 0.0 {
        UNRELATED
    } else {
        product * scale * other
    }
}

#[inline]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// 1 over the distance of a subsequence from its mean, or 0 where that is 0, or too little for its square.
#[inline]
fn scale(values: &[f64]) -> f64 {
    if values.iter().all(|value| *value == values[0]) {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    if squares < f64::MIN_POSITIVE {
        return 0.0;
    }
    1.0 / squares.sqrt()
}

/// What [`Discord`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiscordState {
    values: Vec<f64>,
    /// One for each subsequence, in their order.
    scales: Vec<f64>,
    /// The mean of the distances.
    mean: f64,
    distances: u32,
    records: u32,
}

impl Detector for Discord {
    type State = DiscordState;

    fn name(&self) -> &'static str {
        "discord"
    }

    fn start(&self, _seed: u64) -> DiscordState {
        DiscordState::default()
    }

    #[inline]
    fn score(&self, state: &mut DiscordState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let warm = state.records >= self.warmup && state.distances > 0;
        let scored = |score| if warm { Score::of(score) } else { Score::WARMING };
        if value.abs() > LEARNABLE {
            return scored(BEYOND_MEASURE);
        }
        state.records = state.records.saturating_add(1);
        let Some(distance) = self.learn(state, value) else { return Score::WARMING };
        let score = match () {
            () if !self.relative || distance == 0.0 => distance,
            () => (distance / state.mean).min(BEYOND_MEASURE),
        };
        state.distances = state.distances.saturating_add(1);
        state.mean += (distance - state.mean) / f64::from(state.distances);
        scored(score)
    }

    fn memory(&self, state: &DiscordState) -> usize {
        // By length, not capacity: a restored state must weigh the same.
        size_of::<DiscordState>() + (state.values.len() + state.scales.len()) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: Discord, values: &[f64]) -> Vec<Option<f64>> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value]).score).collect()
    }

    /// The subsequence with mean 0 and standard deviation 1; `None` if it is constant.
    fn normalise_slow(values: &[f64]) -> Option<Vec<f64>> {
        let number = values.len() as f64;
        let mean = values.iter().sum::<f64>() / number;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / number;
        let varied = values.iter().any(|value| *value != values[0]);
        varied.then(|| values.iter().map(|value| (value - mean) / variance.sqrt()).collect())
    }

    fn distance_slow(one: &[f64], other: &[f64]) -> f64 {
        let squares: f64 = match (normalise_slow(one), normalise_slow(other)) {
            (Some(one), Some(other)) => {
                one.iter().zip(&other).map(|(one, other)| (one - other) * (one - other)).sum()
            }
            (None, None) => 0.0,
            _ => one.len() as f64,
        };
        if squares < 2.0 * one.len() as f64 * ROUNDING {
            return 0.0;
        }
        squares.sqrt()
    }

    /// The distance of each subsequence, by its end, from the nearest of all before it.
    fn distances_slow(length: usize, history: usize, values: &[f64]) -> Vec<Option<f64>> {
        let distance = |at: usize| {
            let oldest = (at + 1).saturating_sub(history);
            let start = (at + 1).checked_sub(length)?;
            let before = oldest..start.saturating_sub(length.div_ceil(4));
            before
                .map(|other| distance_slow(&values[start..=at], &values[other..other + length]))
                .reduce(f64::min)
        };
        (0..values.len()).map(distance).collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![4 => -9.0..9.0, 1 => Just(1.0), 1 => -1e3..1e3]
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_comparison_with_all_shapes_before(
            (length, history) in (3usize..20).prop_flat_map(|length| (Just(length), 2 * length..60)),
            values in prop::collection::vec(value(), 0..120), relative: bool,
        ) {
            let fast = scores(Discord::new(length, history).unwrap().relative(relative).warmup(0), &values);
            let (mut sum, mut number) = (0.0, 0.0);
            for (at, slow) in distances_slow(length, history, &values).into_iter().enumerate() {
                let expected = slow.filter(|_| number > 0.0).map(|distance| match relative && distance > 0.0 {
                    true => (distance / (sum / number)).min(BEYOND_MEASURE),
                    false => distance,
                });
                prop_assert_eq!(expected.is_some(), fast[at].is_some(), "at {}", at);
                let (expected, found) = (expected.unwrap_or(0.0), fast[at].unwrap_or(0.0));
                prop_assert!((expected - found).abs() <= 1e-6 * expected.max(1.0), "{} but {} at {}", expected, found, at);
                if let Some(distance) = slow {
                    sum += distance;
                    number += 1.0;
                }
            }
        }
    }

    #[test]
    fn a_shape_upside_down_is_far_and_the_same_shape_at_another_height_is_near() {
        let shape = |at: i32| f64::from((at * at) % 13);
        let mut values: Vec<f64> = (0..130).map(shape).collect();
        values.extend((0..26).map(|at| 100.0 + 5.0 * shape(at)));
        values.extend((0..26).map(|at| -shape(at)));
        let scores = scores(Discord::new(8, 128).unwrap().relative(false), &values);
        let most = |scores: &[Option<f64>]| scores.iter().flatten().copied().fold(0.0, f64::max);
        assert!(most(&scores[138..156]) < 1e-6, "{scores:?}");
        assert!(most(&scores[164..]) > 1.0, "{scores:?}");
    }

    #[test]
    fn a_constant_repeats_itself_and_a_change_after_it_is_new() {
        let values: Vec<f64> = [0.1; 40].into_iter().chain([0.2]).collect();
        let detector = Discord::new(8, 64).unwrap();
        assert_eq!([Some(0.0), Some(BEYOND_MEASURE)], scores(detector, &values)[39..]);
        assert_eq!([Some(0.0), Some(8f64.sqrt())], scores(detector.relative(false), &values)[39..]);
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at * at % 17)).collect();
        let detector = Discord::new(8, 64).unwrap();
        let expected = scores(detector, &calm);
        for at in [0, 20, 60] {
            let mut values = calm.clone();
            values.insert(at, 1e151);
            let mut found = scores(detector, &values);
            assert_eq!((at >= 30).then_some(BEYOND_MEASURE), found.remove(at), "at {at}");
            assert_eq!(expected, found, "at {at}");
        }
    }

    #[test]
    fn a_spike_leaves_no_trace_once_it_is_forgotten() {
        let calm: Vec<f64> = (0..300).map(|at| f64::from(at * at % 17) + f64::from(at) / 100.0).collect();
        let mut spiked = calm.clone();
        spiked[100] = 1e149;
        let detector = Discord::new(8, 64).unwrap().relative(false);
        assert_eq!(scores(detector, &calm)[200..], scores(detector, &spiked)[200..]);
    }

    #[test]
    fn memory_counts_each_value_and_each_shape() {
        let (detector, mut state) = (Discord::new(8, 256).unwrap(), DiscordState::default());
        for at in 0..1000 {
            detector.score(&mut state, EventTime::MIN, &[f64::from(at % 7)]);
        }
        assert_eq!(size_of::<DiscordState>() + (256 + 249) * 8, detector.memory(&state));
    }

    #[test]
    fn a_history_that_is_too_short_is_refused() {
        let error = Discord::new(8, 15).unwrap_err();
        assert_eq!("\"history\" is 15, which must be twice \"length\", 8, at least", error.to_string());
    }
}
