//! The Page-Hinkley test for a change of the mean.

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, ABOVE_1, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores how much speaks for a change of the mean, gathered over all values since the last change.
///
/// This is the test of Page (1954), *Continuous inspection schemes*, against a running mean, as Hinkley (1971),
/// *Inference about the change-point from cumulative sum tests*, has it. With `d` the distance of a value from the mean
/// of all values since the last change, itself included,
///
/// ```text
/// up = alpha up + d - delta        rise = up - least up so far
/// down = alpha down + d + delta    fall = greatest down so far - down
/// ```
///
/// and the score is the greater of `rise` and `fall`, divided by `threshold`. Above 1 the mean has changed, and all is
/// learned anew: the scores are 0 until `warmup` more records have come. There is no band, since a change gathers over
/// several values, of which none needs to be unusual. `expected` is the mean before `x`.
///
/// Unless it is [absolute](PageHinkley::absolute), `d` is `(x - mean) / deviation`, both of the values before `x`, as in
/// the self-starting chart of Hawkins (1987), *Self-starting CUSUM charts for location and scale*, so that `delta` and
/// `threshold` count standard deviations. Then the sums begin after the first `warmup` records, and a value further than
/// 5 deviations away counts, and is learned, as if it were 5 away: where `threshold` is above 5, no single value makes a
/// change. The deviation reaches back about 100 records.
///
/// With an `alpha` below 1 the sums fade, but not their extremes: in the long run noise alone then makes changes.
///
/// A value beyond `±1e150` scores `1e9` and is not learned.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, PageHinkley};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = PageHinkley::new(0.5, 2.0)?.absolute().warmup(3);
/// let mut state = detector.start(0);
/// let scores = [0.0, 0.0, 0.0, 4.0, 4.0].map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores, [None, None, None, Some(1.25), Some(0.0)]); // it changed with the fourth
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PageHinkley {
    delta: f64,
    threshold: f64,
    alpha: f64,
    direction: Direction,
    standardise: bool,
    warmup: u32,
}

/// Which changes of a mean are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Any.
    #[default]
    Both,
    /// To greater values.
    Up,
    /// To smaller values.
    Down,
}

impl Direction {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "up" => Self::Up,
            "down" => Self::Down,
            _ => Self::Both,
        }
    }

    /// What speaks for a change, of what speaks for each.
    pub(super) fn of(self, rise: f64, fall: f64) -> f64 {
        match self {
            Self::Both => rise.max(fall),
            Self::Up => rise,
            Self::Down => fall,
        }
    }
}

const DELTA: Parameter = Parameter::with_default(
    "delta",
    Kind::Number(Range::NON_NEGATIVE),
    Literal::Number(0.25),
    "how far from the mean is still normal: about half of the change to be found",
);
const THRESHOLD: Parameter = Parameter::with_default(
    "threshold",
    Kind::Number(Range::POSITIVE),
    Literal::Number(25.0),
    "the sum of distances that makes a change",
);
const ALPHA: Parameter = Parameter::with_default(
    "alpha",
    Kind::Number(Range::FRACTION),
    Literal::Number(1.0),
    "how much of each sum is kept from record to record",
);
pub(super) const MODE: Parameter = Parameter::with_default(
    "mode",
    Kind::Choice(&["both", "up", "down"]),
    Literal::Text("both"),
    "which changes are looked for",
);
const STANDARDISE: Parameter = Parameter::with_default(
    "standardise",
    Kind::Flag,
    Literal::Flag(true),
    "whether delta and threshold count standard deviations, instead of the unit of the value",
);
/// Deviations beyond which a value counts as no further away.
const FURTHEST: f64 = 5.0;
/// The least weight of a new squared distance: without one, a spike among the first values would be felt for ever.
const LEAST_WEIGHT: f64 = 0.01;

impl PageHinkley {
    /// A detector of changes by more than `delta`, 0 or more, that amount to more than `threshold`, above 0, in standard
    /// deviations; it looks both ways, forgets nothing, and scores after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(delta: f64, threshold: f64) -> Result<Self, ParamError> {
        Ok(Self {
            delta: DELTA.number(delta)?,
            threshold: THRESHOLD.number(threshold)?,
            alpha: 1.0,
            direction: Direction::Both,
            standardise: true,
            warmup: WARMUP_RECORDS,
        })
    }

    /// Keeps the share `alpha`, in `(0, 1]`, of each sum from record to record.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `alpha` is out of range.
    pub fn alpha(self, alpha: f64) -> Result<Self, ParamError> {
        Ok(Self { alpha: ALPHA.number(alpha)?, ..self })
    }

    /// Looks for changes in one direction alone.
    pub fn direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// Reads `delta` and `threshold` in the unit of the value, and learns every value whole.
    pub fn absolute(self) -> Self {
        Self { standardise: false, ..self }
    }

    /// Scores after `records` records, and looks for a change after as many since the last one.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "page-hinkley",
            summary: "changes of the mean, by the Page-Hinkley test (CUSUM against a running mean)",
            score: "cumulative distance from the mean, in thresholds; a change above 1",
            threshold: Some(ABOVE_1),
            cool_down: 0,
            multivariate: false,
            parameters: vec![DELTA, THRESHOLD, ALPHA, MODE, STANDARDISE, WARMUP],
            cost: "O(1)",
            state: "56",
            source: "Page 1954, Continuous inspection schemes; Hinkley 1971, Inference about the change-point from \
                     cumulative sum tests; Hawkins 1987, Self-starting CUSUM charts for location and scale",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("delta"), params.value("threshold"))?
                    .alpha(params.value("alpha"))?
                    .direction(Direction::named(params.value("mode")))
                    .warmup(params.value("warmup"));
                Ok(if params.value("standardise") { detector } else { detector.absolute() })
            }),
        }
    }
}

/// What [`PageHinkley`] remembers of one key, all but `warm` since the last change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PageHinkleyState {
    mean: f64,
    variance: f64,
    up: f64,
    least: f64,
    down: f64,
    greatest: f64,
    records: u32,
    /// Whether it has ever scored.
    warm: bool,
}

impl PageHinkleyState {
    /// Learns the value that lies `distance` from the mean; returns how far it lies from the mean with it.
    fn learn(&mut self, distance: f64) -> f64 {
        self.records = self.records.saturating_add(1);
        let weight = 1.0 / f64::from(self.records);
        let step = weight * distance;
        self.mean += step;
        // Finch (2009), equation 143, with equal weights at first.
        let weight = weight.max(LEAST_WEIGHT);
        self.variance = (1.0 - weight) * (self.variance + weight * distance * distance);
        distance - step
    }

    /// Adds a distance to the sums; returns what speaks for a rise and for a fall of the mean.
    fn sum_up(&mut self, distance: f64, alpha: f64, delta: f64) -> (f64, f64) {
        self.up = alpha * self.up + distance - delta;
        self.least = self.least.min(self.up);
        self.down = alpha * self.down + distance + delta;
        self.greatest = self.greatest.max(self.down);
        (self.up - self.least, self.greatest - self.down)
    }
}

impl Detector for PageHinkley {
    type State = PageHinkleyState;

    fn name(&self) -> &'static str {
        "page-hinkley"
    }

    fn start(&self, _seed: u64) -> PageHinkleyState {
        PageHinkleyState::default()
    }

    #[inline]
    fn score(&self, state: &mut PageHinkleyState, _time: EventTime, values: &[f64]) -> Score {
        let (value, mean) = (values[0], state.mean);
        let expected = (state.records > 0).then_some(mean);
        let ready = state.records >= self.warmup;
        state.warm |= ready;
        if value.abs() > LEARNABLE {
            return match state.warm {
                true => Score { expected, ..Score::of(BEYOND_MEASURE) },
                false => Score::WARMING,
            };
        }
        let distance = match self.standardise {
            false => state.learn(value - mean),
            true if ready => {
                let deviation = state.variance.sqrt();
                let distance = if value == mean { 0.0 } else { (value - mean) / deviation };
                let distance = distance.clamp(-FURTHEST, FURTHEST);
                state.learn(distance * deviation);
                distance
            }
            true => {
                state.learn(value - mean);
                return Score { expected, score: state.warm.then_some(0.0), ..Score::WARMING };
            }
        };
        let (rise, fall) = state.sum_up(distance, self.alpha, self.delta);
        if !ready {
            return Score { expected, score: state.warm.then_some(0.0), ..Score::WARMING };
        }
        let sum = self.direction.of(rise, fall);
        if sum > self.threshold {
            *state = PageHinkleyState { warm: true, ..PageHinkleyState::default() };
        }
        Score { expected, ..Score::of((sum / self.threshold).min(BEYOND_MEASURE)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: PageHinkley, values: &[f64]) -> Vec<Option<f64>> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value]).score).collect()
    }

    /// Mean and deviation from the weights of each value as it was learned.
    fn moments_slow(learned: &[f64]) -> (f64, f64) {
        let (mut mean, mut variance) = (0.0, 0.0);
        for (at, value) in learned.iter().enumerate() {
            let weight = (1.0 / (at + 1) as f64).max(0.01);
            variance = (1.0 - weight) * variance + (1.0 - weight) * weight * (value - mean) * (value - mean);
            mean = learned[..=at].iter().sum::<f64>() / (at + 1) as f64;
        }
        (mean, variance.sqrt())
    }

    /// The distances since the last change, of which each sum takes its own.
    fn distance_slow(detector: &PageHinkley, learned: &mut Vec<f64>, value: f64) -> Option<f64> {
        let (mean, deviation) = moments_slow(learned);
        if detector.standardise && learned.len() >= detector.warmup as usize {
            let distance = if value == mean { 0.0 } else { ((value - mean) / deviation).clamp(-5.0, 5.0) };
            learned.push(mean + distance * deviation);
            return Some(distance);
        }
        learned.push(value);
        (!detector.standardise).then(|| value - moments_slow(learned).0)
    }

    /// The scores, with every sum recomputed from all distances since the last change.
    fn scores_slow(detector: PageHinkley, values: &[f64]) -> Vec<Option<f64>> {
        let (mut learned, mut distances, mut warm) = (Vec::new(), Vec::new(), false);
        let mut score = |value: &f64| {
            let ready = learned.len() >= detector.warmup as usize;
            warm |= ready;
            distances.extend(distance_slow(&detector, &mut learned, *value));
            if !ready {
                return warm.then_some(0.0);
            }
            let sums = |sign: f64| {
                let mut sums = vec![0.0];
                for at in 0..distances.len() {
                    let terms = distances[..=at].iter().rev().scan(1.0, |weight, distance| {
                        let term = *weight * (sign * distance - detector.delta);
                        *weight *= detector.alpha;
                        Some(term)
                    });
                    sums.push(terms.sum::<f64>());
                }
                sums.last().unwrap() - sums.iter().copied().fold(f64::INFINITY, f64::min)
            };
            let sum = detector.direction.of(sums(1.0), sums(-1.0));
            if sum > detector.threshold {
                learned.clear();
                distances.clear();
            }
            Some(sum / detector.threshold)
        };
        values.iter().map(&mut score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_values_since_the_last_change(
            values in prop::collection::vec(prop_oneof![4 => -1.0..1.0, 1 => 3.0..4.0, 1 => -50.0..50.0], 0..150),
            delta in 0.0..1.0, threshold in 1.0..20.0, alpha in prop_oneof![Just(1.0), 0.9..1.0],
            direction in prop::sample::select(vec![Direction::Both, Direction::Up, Direction::Down]),
            standardise in any::<bool>(), warmup in 2u32..20,
        ) {
            let detector = PageHinkley { delta, threshold, alpha, direction, standardise, warmup };
            let (fast, slow) = (scores(detector, &values), scores_slow(detector, &values));
            for (at, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
                prop_assert_eq!(fast.is_some(), slow.is_some(), "at {}", at);
                let (fast, slow) = (fast.unwrap_or(0.0), slow.unwrap_or(0.0));
                prop_assert!((fast - slow).abs() <= 1e-9 * slow.max(1.0), "{} but {} at {}", slow, fast, at);
            }
        }
    }

    fn noise(count: i32) -> impl Iterator<Item = f64> {
        (0..count).map(|at| f64::from(at * 7919 % 13 - 6))
    }

    #[test]
    fn a_step_is_found_within_records_in_its_direction_alone_and_then_learned() {
        let values: Vec<f64> = noise(200).chain(noise(200).map(|value| value + 12.0)).collect();
        for (direction, finds) in [(Direction::Both, 1), (Direction::Up, 1), (Direction::Down, 0)] {
            let found = scores(PageHinkley::new(0.25, 25.0).unwrap().direction(direction), &values);
            let changes: Vec<_> = (0..400).filter(|at| found[*at].is_some_and(|score| score > 1.0)).collect();
            assert_eq!(finds, changes.len(), "{changes:?}");
            assert!(changes.iter().all(|at| (205..220).contains(at)), "{changes:?}");
        }
    }

    #[test]
    fn one_value_makes_no_change_however_far_it_is() {
        for spike in [1e3, -1e9, 1e149] {
            let values: Vec<f64> = noise(300).chain([spike]).chain(noise(300)).collect();
            let found = scores(PageHinkley::new(0.25, 25.0).unwrap(), &values);
            assert!(found.iter().flatten().all(|score| *score < 0.5), "{spike}: {found:?}");
        }
    }

    #[test]
    fn a_spike_among_the_first_values_blinds_for_a_while_only() {
        let first = noise(10).chain([1e9]).chain(noise(19));
        let values: Vec<f64> = first.chain(noise(5000)).chain(noise(100).map(|value| value + 12.0)).collect();
        let found = scores(PageHinkley::new(0.25, 25.0).unwrap(), &values);
        assert!(found[5030..].iter().flatten().any(|score| *score > 1.0));
    }

    #[test]
    fn a_change_after_a_constant_is_found() {
        let values: Vec<f64> = [5.0; 40].into_iter().chain([6.0; 40]).collect();
        let found = scores(PageHinkley::new(0.25, 25.0).unwrap(), &values);
        let changes: Vec<_> = (0..80).filter(|at| found[*at].is_some_and(|score| score > 1.0)).collect();
        assert_eq!(vec![45], changes);
        assert_eq!((None, Some(0.0), Some(0.0)), (found[29], found[30], found[46]));
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = noise(100).chain(noise(50).map(|value| value + 30.0)).collect();
        let expected = scores(PageHinkley::new(0.25, 25.0).unwrap(), &calm);
        for at in [0, 20, 60, 104, 110] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(PageHinkley::new(0.25, 25.0).unwrap(), &values);
                assert_eq!((at >= 30).then_some(BEYOND_MEASURE), found.remove(at), "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |delta, threshold| PageHinkley::new(delta, threshold).unwrap_err().to_string();
        assert_eq!("\"delta\" takes a number of at least 0, not -1", refused(-1.0, 1.0));
        assert_eq!("\"threshold\" takes a number above 0, not 0", refused(0.0, 0.0));
        let error = PageHinkley::new(0.0, 1.0).unwrap().alpha(0.0).unwrap_err();
        assert_eq!("\"alpha\" takes a number in (0, 1], not 0", error.to_string());
    }
}
