//! A window that shrinks when its mean changes.

mod window;

use serde::{Deserialize, Serialize};

use self::window::Window;
use super::{Detector, DetectorInfo, Score, ABOVE_1, BEYOND_MEASURE, LEARNABLE};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores how far apart the means of the older and the newer values are, over a window that reaches back to the last
/// change.
///
/// This is ADWIN2 of Bifet and Gavaldà (2007), *Learning from time-changing data with adaptive windowing*. The window is
/// kept as an exponential histogram. At every `clock`-th record that finds more than `warmup` values in it, each
/// boundary between buckets that leaves `min_window` values on both sides cuts it into `n0` older and `n1` newer values,
/// and the score is the greatest `|mean0 - mean1| / epsilon`, with their equation 3.1:
///
/// ```text
/// epsilon = sqrt(2/m variance ln(2 ln(n) / delta)) + 2/(3m) range ln(2 ln(n) / delta)
/// 1/m = 1 / (n0 - min_window + 1) + 1 / (n1 - min_window + 1)
/// ```
///
/// Above 1 the mean has changed, and the oldest buckets are dropped until no cut is; what is left of the older values may
/// make changes at the checks that follow. A record that makes no check scores 0. Without `range` the standard deviation
/// of the window stands in for it, so that the unit of the values makes no difference; the bound on false alarms holds
/// for values that lie in a `range`, which must then be given. `expected` is the mean of the window; there is no band,
/// since no single value makes a change.
///
/// A value beyond `±1e150` scores `1e9` and does not enter the window.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Adwin, Detector};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Adwin::new(0.002)?;
/// let mut state = detector.start(0);
/// let values = (0..640).map(|at| f64::from(at % 3) + if at < 500 { 0.0 } else { 4.0 });
/// let scores: Vec<_> = values.map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score).collect();
/// let change = scores.iter().position(|score| *score > Some(1.0));
/// assert_eq!(change, Some(511)); // the first check, one in 32, after the change at 500
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Adwin {
    delta: f64,
    range: Option<f64>,
    clock: u32,
    max_buckets: u8,
    min_window: u32,
    warmup: u32,
}

const DELTA: Parameter = Parameter::with_default(
    "delta",
    Kind::Number(Range::FRACTION),
    Literal::Number(0.002),
    "the confidence: a bound on the probability of a false alarm at a check",
);
const RANGE: Parameter = Parameter::optional(
    "range",
    Kind::Number(Range::POSITIVE),
    "the width of the range in which the values lie; left out, the standard deviation of the window stands in",
);
const CLOCK: Parameter = Parameter::with_default(
    "clock",
    Kind::Integer(1, 1_000_000),
    Literal::Integer(32),
    "one in how many records checks for a change",
);
const MAX_BUCKETS: Parameter = Parameter::with_default(
    "max_buckets",
    Kind::Integer(1, 64),
    Literal::Integer(5),
    "how many buckets of one size there may be: more find the change more exactly",
);
const MIN_WINDOW: Parameter = Parameter::with_default(
    "min_window",
    Kind::Integer(1, 1_000_000),
    Literal::Integer(5),
    "the least number of values on each side of a change",
);
const WARMUP: Parameter = Parameter::with_default(
    "warmup",
    Kind::Integer(1, u32::MAX as i64),
    Literal::Integer(10),
    "records before the first score, and values in the window before a check",
);
/// The share of the mean below which a difference is the rounding of sums.
const ROUNDING: f64 = 1e-12;

impl Adwin {
    /// A detector with the confidence `delta`, in `(0, 1]`; it checks every 32nd record, and scores after 10.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `delta` is out of range.
    pub fn new(delta: f64) -> Result<Self, ParamError> {
        let delta = DELTA.number(delta)?;
        Ok(Self { delta, range: None, clock: 32, max_buckets: 5, min_window: 5, warmup: 10 })
    }

    /// Takes the values to lie in a range of this width, above 0.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `range` is out of range.
    pub fn range(self, range: f64) -> Result<Self, ParamError> {
        Ok(Self { range: Some(RANGE.number(range)?), ..self })
    }

    /// Checks one in `clock` records, in `[1, 1000000]`; keeps up to `max_buckets`, in `[1, 64]`, of each size; and
    /// leaves `min_window` values, in `[1, 1000000]`, on each side of a change.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn histogram(self, clock: u32, max_buckets: u8, min_window: u32) -> Result<Self, ParamError> {
        CLOCK.integer(i64::from(clock))?;
        MAX_BUCKETS.integer(i64::from(max_buckets))?;
        MIN_WINDOW.integer(i64::from(min_window))?;
        Ok(Self { clock, max_buckets, min_window, ..self })
    }

    /// Scores after `records` records, and checks a window of more values only; with 0 as with 1.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records.max(1), ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "adwin",
            summary: "changes of the mean over a window that reaches back to the last one",
            score: "distance of the means before and after, in what chance explains; a change above 1",
            threshold: Some(ABOVE_1),
            cool_down: 0,
            multivariate: false,
            parameters: vec![DELTA, RANGE, CLOCK, MAX_BUCKETS, MIN_WINDOW, WARMUP],
            cost: "O(1), and O(max_buckets log window) at a check",
            state: "88 + 16 × buckets, of which there are about max_buckets × log2(window / max_buckets)",
            source: "Bifet and Gavaldà 2007, Learning from time-changing data with adaptive windowing",
            construct: DetectorInfo::constructor(|params| {
                let (clock, max_buckets, min_window) = (
                    params.value("clock"),
                    params.value::<u32>("max_buckets") as u8,
                    params.value("min_window"),
                );
                let detector = Self::new(params.value("delta"))?
                    .histogram(clock, max_buckets, min_window)?
                    .warmup(params.value("warmup"));
                params.optional("range").map_or(Ok(detector), |range| detector.range(range))
            }),
        }
    }

    /// The greatest distance between the means on both sides of a cut, in what chance explains.
    fn greatest_difference(&self, window: &Window) -> f64 {
        let (width, shortest) = (window.width as f64, f64::from(self.min_window));
        let variance = window.all.squares / width;
        let confidence = libm::log(2.0 * libm::log(width) / self.delta);
        let range = self.range.unwrap_or(variance.sqrt());
        let whole: f64 = window.buckets.iter().map(|bucket| bucket.total).sum();
        let rounding = ROUNDING * (whole / width).abs();
        let (mut newer, mut total, mut greatest) = (0.0, 0.0, 0.0f64);
        // From the newest on: what is left of the sum is then the greater part of it, and has its precision.
        for (bucket, size) in window.sized() {
            newer += size;
            total += bucket.total;
            let older = width - newer;
            if older < shortest {
                break;
            }
            let difference = ((whole - total) / older - total / newer).abs();
            if newer >= shortest && difference > rounding {
                let inverse = 1.0 / (older - shortest + 1.0) + 1.0 / (newer - shortest + 1.0);
                let epsilon =
                    (2.0 * inverse * variance * confidence).sqrt() + 2.0 / 3.0 * inverse * range * confidence;
                greatest = greatest.max(difference / epsilon);
            }
        }
        greatest.min(BEYOND_MEASURE)
    }
}

/// What [`Adwin`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AdwinState {
    window: Window,
    records: u64,
}

impl Detector for Adwin {
    type State = AdwinState;

    fn name(&self) -> &'static str {
        "adwin"
    }

    fn start(&self, _seed: u64) -> AdwinState {
        AdwinState::default()
    }

    #[inline]
    fn score(&self, state: &mut AdwinState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let warm = state.records >= u64::from(self.warmup);
        let expected = (state.window.width > 0).then(|| state.window.all.total / state.window.width as f64);
        if value.abs() > LEARNABLE {
            return match warm {
                true => Score { expected, ..Score::of(BEYOND_MEASURE) },
                false => Score::WARMING,
            };
        }
        state.window.push(value, self.max_buckets);
        state.records += 1;
        let mut score = 0.0f64;
        if state.records.is_multiple_of(u64::from(self.clock)) && state.window.width > u64::from(self.warmup)
        {
            loop {
                let difference = self.greatest_difference(&state.window);
                score = score.max(difference);
                if difference <= 1.0 {
                    break;
                }
                state.window.drop_oldest();
            }
        }
        Score { expected, score: warm.then_some(score), ..Score::WARMING }
    }

    fn memory(&self, state: &AdwinState) -> usize {
        // By length, not capacity: a restored state must weigh the same.
        size_of::<AdwinState>() + size_of_val(&state.window.buckets[..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: Adwin, values: &[f64]) -> Vec<Option<f64>> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value]).score).collect()
    }

    /// The window as the values of each bucket, newest row first as in the paper, oldest bucket of a row first.
    #[derive(Default)]
    struct Slow(Vec<Vec<Vec<f64>>>);

    impl Slow {
        fn push(&mut self, value: f64, max_buckets: u8) {
            let mut carry = vec![value];
            for row in 0.. {
                if row == self.0.len() {
                    self.0.push(Vec::new());
                }
                self.0[row].push(carry);
                if self.0[row].len() <= usize::from(max_buckets) {
                    return;
                }
                carry = self.0[row].drain(..2).flatten().collect();
            }
        }

        fn buckets(&self) -> Vec<Vec<f64>> {
            self.0.iter().rev().flatten().cloned().collect()
        }

        fn drop_oldest(&mut self) {
            self.0.iter_mut().rev().find(|row| !row.is_empty()).expect("a window is not empty").remove(0);
        }

        /// The greatest difference of means over every cut, from the values themselves.
        fn greatest_difference(&self, detector: &Adwin) -> f64 {
            let buckets = self.buckets();
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let all: Vec<f64> = buckets.concat();
            let n = all.len() as f64;
            let variance = all.iter().map(|x| (x - mean(&all)) * (x - mean(&all))).sum::<f64>() / n;
            let l = libm::log(2.0 * libm::log(n) / detector.delta);
            let shortest = detector.min_window as usize;
            let difference = |cut: usize| {
                let (older, newer) = all.split_at(buckets[..cut].concat().len());
                if older.len() < shortest || newer.len() < shortest {
                    return 0.0;
                }
                let m = 1.0 / (older.len() - shortest + 1) as f64 + 1.0 / (newer.len() - shortest + 1) as f64;
                let range = detector.range.unwrap_or(variance.sqrt());
                let epsilon = (2.0 * m * variance * l).sqrt() + 2.0 / 3.0 * m * range * l;
                let difference = (mean(older) - mean(newer)).abs();
                if difference <= 1e-12 * mean(&all).abs() {
                    0.0
                } else {
                    difference / epsilon
                }
            };
            (1..buckets.len()).map(difference).fold(0.0, f64::max)
        }
    }

    fn scores_slow(detector: Adwin, values: &[f64]) -> Vec<Option<f64>> {
        let mut window = Slow::default();
        let score = |(at, value): (usize, &f64)| {
            window.push(*value, detector.max_buckets);
            let mut score = 0.0f64;
            let width = window.buckets().concat().len();
            if (at + 1) % detector.clock as usize == 0 && width > detector.warmup as usize {
                loop {
                    let difference = window.greatest_difference(&detector);
                    score = score.max(difference);
                    if difference <= 1.0 {
                        break;
                    }
                    window.drop_oldest();
                }
            }
            (at >= detector.warmup as usize).then_some(score)
        };
        values.iter().enumerate().map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_the_values_of_every_bucket(
            values in prop::collection::vec((0.0..1.0, prop::bool::weighted(0.02)), 0..200),
            range in prop::option::of(0.5..2.0), delta in 0.002..0.5,
            clock in 1u32..20, max_buckets in 1u8..8, min_window in 1u32..8, warmup in 1u32..30,
        ) {
            let mut level = 0.0;
            let mut shift = |(value, shifts): (f64, bool)| {
                level += if shifts { 1.5 } else { 0.0 };
                value + level
            };
            let values: Vec<f64> = values.into_iter().map(&mut shift).collect();
            let detector = Adwin { delta, range, clock, max_buckets, min_window, warmup };
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
    fn the_unit_of_the_values_makes_no_difference_without_a_range() {
        let values: Vec<f64> = noise(300).chain(noise(300).map(|value| value + 8.0)).collect();
        let changes = |factor: f64, offset: f64| {
            let values: Vec<f64> = values.iter().map(|value| value * factor + offset).collect();
            let found = scores(Adwin::new(0.002).unwrap(), &values);
            (0..600).filter(|at| found[*at] > Some(1.0)).collect::<Vec<_>>()
        };
        let expected = changes(1.0, 0.0);
        assert!(expected.first().is_some_and(|at| (300..352).contains(at)), "{expected:?}");
        for (factor, offset) in [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e6), (-1e3, -5.0)] {
            assert_eq!(expected, changes(factor, offset), "{factor} {offset}");
        }
    }

    #[test]
    fn a_constant_never_changes() {
        for value in [0.0, 0.1, -1e149, 1e-300] {
            let found = scores(Adwin::new(1.0).unwrap(), &[value; 5000]);
            assert!(found.iter().flatten().all(|score| *score == 0.0), "{value}");
        }
    }

    #[test]
    fn memory_grows_with_the_logarithm_of_the_window() {
        let detector = Adwin::new(0.002).unwrap();
        let mut state = detector.start(0);
        for value in noise(100_000) {
            detector.score(&mut state, EventTime::MIN, &[value]);
        }
        assert_eq!(100_000, state.window.width);
        assert!(detector.memory(&state) <= 88 + 16 * 5 * 16, "{}", detector.memory(&state));
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = noise(100).chain(noise(50).map(|value| value + 30.0)).collect();
        let detector = Adwin::new(0.002).unwrap();
        let expected = scores(detector, &calm);
        assert!(expected.iter().any(|score| *score > Some(1.0)));
        for at in [0, 5, 60, 110] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(detector, &values);
                assert_eq!((at >= 10).then_some(BEYOND_MEASURE), found.remove(at), "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let detector = Adwin::new(0.002).unwrap();
        let refused = |result: Result<Adwin, ParamError>| result.unwrap_err().to_string();
        assert_eq!("\"delta\" takes a number in (0, 1], not 2", refused(Adwin::new(2.0)));
        assert_eq!("\"range\" takes a number above 0, not 0", refused(detector.range(0.0)));
        let clock = refused(detector.histogram(0, 5, 5));
        assert_eq!("\"clock\" takes a whole number in [1, 1000000], not 0", clock);
        let buckets = refused(detector.histogram(1, 0, 5));
        assert_eq!("\"max_buckets\" takes a whole number in [1, 64], not 0", buckets);
        let window = refused(detector.histogram(1, 1, 0));
        assert_eq!("\"min_window\" takes a whole number in [1, 1000000], not 0", window);
    }
}
