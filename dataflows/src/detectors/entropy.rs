//! Novelty of the entropy of a window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Detector, DetectorInfo, Score, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::EventTime;

/// Scores a value by how far the entropy of the window that it completes lies beyond all entropies before it.
///
/// The last `window` values fall into `bins` equal bins over the range of what was seen, and the shares `p` of the bins
/// have the entropy `H = -Σ p ln p` (Shannon 1948, *A Mathematical Theory of Communication*, section 6). The score is 0
/// between the least and the greatest entropy of the windows before, and `distance / ln bins` beyond, a share of the
/// greatest entropy there is. A value beyond `±1e150` scores 1 and is not learned. So what scores is a new kind of
/// mixture: a flat line, a jitter, a burst of levels, wherever they lie.
///
/// The range is that of the first `freeze` values, and of as many more as it takes to have a width; then it stays, and
/// what lies outside falls into the bins at the ends. A value widens it by no more than its width, so that one spike
/// does not press all others into one bin. Each window is counted anew when the range widens.
///
/// A verdict has no expected value and no band: every value may be part of a normal window.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, EntropyNovelty};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = EntropyNovelty::new(2, 4)?.warmup(5);
/// let mut state = detector.start(0);
/// let mut score = |value: f64| detector.score(&mut state, EventTime::MIN, &[value]).score;
/// assert_eq!([0.0, 0.0, 0.0, 1.0, 1.0].map(&mut score), [None; 5]); // entropies of 0.56 and 0.69
/// assert_eq!(score(1.0), Some(0.0)); // 0.56 again
/// assert!((score(1.0).unwrap() - 0.5623 / 2f64.ln()).abs() < 1e-4); // 0
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EntropyNovelty {
    bins: usize,
    window: usize,
    freeze: u32,
    warmup: u32,
    /// `n ln n` for each number of values up to the window.
    terms: Box<[f64]>,
    /// The entropy of equal shares.
    most: f64,
}

const BINS: Parameter = Parameter::with_default(
    "bins",
    Kind::Integer(2, 256),
    Literal::Integer(5),
    "into how many equal parts the range of values is divided",
);
const WINDOW: Parameter = Parameter::with_default(
    "window",
    Kind::Integer(2, 100_000),
    Literal::Integer(24),
    "how many values have an entropy together",
);
const FREEZE: Parameter = Parameter::with_default(
    "freeze",
    Kind::Integer(1, u32::MAX as i64),
    Literal::Integer(FREEZE_RECORDS as i64),
    "how many values the range is taken from",
);
const FREEZE_RECORDS: u32 = 300;
/// Entropies that are nearer to each other are the same: sums of the same terms in another order differ by less.
const SAME: f64 = 1e-9;

impl EntropyNovelty {
    /// A detector over the last `window` values, in `[2, 100000]`, in `bins` bins, in `[2, 256]`, over the range of the
    /// first 300 values. It scores after 30 records, and not before a window is full.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(bins: usize, window: usize) -> Result<Self, ParamError> {
        let whole = |number| i64::try_from(number).unwrap_or(i64::MAX);
        BINS.integer(whole(bins))?;
        WINDOW.integer(whole(window))?;
        let term = |number: usize| number as f64 * libm::log(number.max(1) as f64);
        let terms = (0..=window).map(term).collect();
        Ok(Self {
            bins,
            window,
            freeze: FREEZE_RECORDS,
            warmup: WARMUP_RECORDS,
            terms,
            most: libm::log(bins as f64),
        })
    }

    /// Takes the range from the first `records` values.
    pub fn freeze(self, records: u32) -> Self {
        Self { freeze: records, ..self }
    }

    /// Scores after `records` records.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "entropy-novelty",
            summary: "windows whose values are mixed as never before",
            score: "distance of the entropy beyond all entropies so far, as a share of ln bins, in [0, 1]; an anomaly above 0",
            threshold: None,
            cool_down: 0,
            multivariate: false,
            parameters: vec![BINS, WINDOW, FREEZE, WARMUP],
            cost: "O(bins)",
            state: "96 + 8 × window + 4 × bins",
            source: "Shannon 1948, A Mathematical Theory of Communication, section 6",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("bins"), params.value("window"))?;
                Ok(detector.freeze(params.value("freeze")).warmup(params.value("warmup")))
            }),
        }
    }

    /// The entropy of a full window.
    fn entropy(&self, counts: &[u32]) -> f64 {
        let sum: f64 = counts.iter().map(|count| self.terms[*count as usize]).sum();
        (self.terms[self.window] - sum) / self.window as f64
    }
}

/// What [`EntropyNovelty`] remembers of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntropyState {
    /// The window.
    values: VecDeque<f64>,
    /// How many of them are in each bin.
    counts: Vec<u32>,
    /// The range that the bins divide.
    min: f64,
    max: f64,
    /// The range of the entropies of full windows.
    least: f64,
    greatest: f64,
    records: u32,
}

impl EntropyState {
    /// The last `number` values, or as many as the window holds.
    pub(super) fn last(&self, number: usize) -> impl ExactSizeIterator<Item = f64> + '_ {
        self.values.range(self.values.len().saturating_sub(number)..).copied()
    }

    /// Widens the range for a value, by no more than its width; returns whether that changed it.
    fn widen(&mut self, value: f64) -> bool {
        let width = match self.max - self.min {
            0.0 => f64::INFINITY,
            width => width,
        };
        let before = (self.min, self.max);
        self.min = self.min.min(value).max(self.min - width);
        self.max = self.max.max(value).min(self.max + width);
        before != (self.min, self.max)
    }

    fn bin(&self, value: f64, bins: usize) -> usize {
        // A cast to an integer stops at 0; it is also 0 if the range has no width.
        let bin = (value - self.min) / (self.max - self.min) * bins as f64;
        (bin as usize).min(bins - 1)
    }

    fn count(&mut self, bins: usize) {
        self.counts.clear();
        self.counts.resize(bins, 0);
        for at in 0..self.values.len() {
            let bin = self.bin(self.values[at], bins);
            self.counts[bin] += 1;
        }
    }

    /// Moves the window on by one value.
    fn learn(&mut self, value: f64, detector: &EntropyNovelty) {
        if self.values.len() == detector.window {
            let oldest = self.values.pop_front().expect("a window holds two values at least");
            let bin = self.bin(oldest, detector.bins);
            self.counts[bin] -= 1;
        }
        self.values.push_back(value);
        if self.records == 0 {
            (self.min, self.max) = (value, value);
            self.count(detector.bins);
        } else if (self.records < detector.freeze || self.min == self.max) && self.widen(value) {
            self.count(detector.bins);
        } else {
            let bin = self.bin(value, detector.bins);
            self.counts[bin] += 1;
        }
        self.records = self.records.saturating_add(1);
    }
}

impl Detector for EntropyNovelty {
    type State = EntropyState;

    fn name(&self) -> &'static str {
        "entropy-novelty"
    }

    fn start(&self, _seed: u64) -> EntropyState {
        EntropyState {
            values: VecDeque::new(),
            counts: Vec::new(),
            min: 0.0,
            max: 0.0,
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            records: 0,
        }
    }

    #[inline]
    fn score(&self, state: &mut EntropyState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let warm = state.records >= self.warmup && state.least <= state.greatest;
        let scored = |score| if warm { Score::of(score) } else { Score::WARMING };
        if value.abs() > LEARNABLE {
            return scored(1.0);
        }
        state.learn(value, self);
        if state.values.len() < self.window {
            return Score::WARMING;
        }
        let entropy = self.entropy(&state.counts);
        let distance = (state.least - entropy).max(entropy - state.greatest);
        state.least = state.least.min(entropy);
        state.greatest = state.greatest.max(entropy);
        scored(if distance > SAME { distance / self.most } else { 0.0 })
    }

    fn memory(&self, state: &EntropyState) -> usize {
        // By length, not capacity: a restored state must weigh the same.
        size_of::<EntropyState>()
            + state.values.len() * size_of::<f64>()
            + state.counts.len() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(detector: &EntropyNovelty, values: &[f64]) -> Vec<Option<f64>> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value]).score).collect()
    }

    /// The range after each value.
    fn ranges_slow(freeze: usize, values: &[f64]) -> Vec<(f64, f64)> {
        let mut range = (values[0], values[0]);
        let next = |(at, value): (usize, &f64)| {
            let (min, max) = range;
            let width = max - min;
            if width == 0.0 {
                range = (min.min(*value), max.max(*value));
            } else if at < freeze {
                range = (min.min(value.max(min - width)), max.max(value.min(max + width)));
            }
            range
        };
        values.iter().enumerate().map(next).collect()
    }

    /// The scores, each from the shares of all windows up to its own.
    fn scores_slow(detector: &EntropyNovelty, values: &[f64]) -> Vec<Option<f64>> {
        let ranges = ranges_slow(detector.freeze as usize, values);
        let entropy = |at: usize| {
            let (min, max) = ranges[at];
            let bin = |value: f64| ((value - min) / (max - min) * detector.bins as f64).floor();
            let bin = |value| bin(value).clamp(0.0, (detector.bins - 1) as f64);
            let window = &values[at + 1 - detector.window..=at];
            let share = |of: usize| {
                let inside = |value: &&f64| min == max && of == 0 || bin(**value) == of as f64;
                window.iter().filter(inside).count() as f64 / detector.window as f64
            };
            (0..detector.bins).map(share).filter(|p| *p > 0.0).map(|p| -p * libm::log(p)).sum::<f64>()
        };
        let first = detector.window - 1;
        let score = |at: usize| {
            if at <= first || at < detector.warmup as usize {
                return None;
            }
            let before: Vec<f64> = (first..at).map(entropy).collect();
            let least = before.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let distance = (least - entropy(at)).max(entropy(at) - greatest);
            Some(if distance > SAME { distance / libm::log(detector.bins as f64) } else { 0.0 })
        };
        (0..values.len()).map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_windows(
            bins in 2usize..9, window in 2usize..20, freeze in 1u32..60, warmup in 0u32..30,
            values in prop::collection::vec(prop_oneof![-9.0..9.0, Just(1.0), -1e3..1e3], 1..80),
        ) {
            let detector = EntropyNovelty::new(bins, window).unwrap().freeze(freeze).warmup(warmup);
            let (fast, slow) = (scores(&detector, &values), scores_slow(&detector, &values));
            for (at, (fast, slow)) in fast.into_iter().zip(slow).enumerate() {
                prop_assert_eq!(fast.is_some(), slow.is_some(), "at {}", at);
                let (fast, slow) = (fast.unwrap_or(0.0), slow.unwrap_or(0.0));
                prop_assert!((fast - slow).abs() <= 1e-9 * slow.max(1.0), "{} but {} at {}", slow, fast, at);
            }
        }
    }

    #[test]
    fn a_flat_line_among_varied_values_is_new() {
        let detector = EntropyNovelty::new(5, 24).unwrap();
        let mut values: Vec<f64> = (0..400).map(|at| f64::from(at * at % 17)).collect();
        values.extend([8.0; 30]);
        let scores = scores(&detector, &values);
        assert!(scores[200..400].iter().all(|score| *score == Some(0.0)), "{scores:?}");
        assert!(scores[400..].iter().flatten().any(|score| *score > 0.1), "{scores:?}");
    }

    #[test]
    fn a_spike_widens_the_range_by_no_more_than_its_width() {
        let detector = EntropyNovelty::new(5, 24).unwrap();
        let mut state = detector.start(0);
        for value in [0.0, 1.0, 1e9, 0.5, -1e9] {
            detector.score(&mut state, EventTime::MIN, &[value]);
        }
        assert_eq!((-2.0, 2.0), (state.min, state.max));
    }

    #[test]
    fn a_change_after_a_constant_is_new() {
        let detector = EntropyNovelty::new(2, 4).unwrap().warmup(4);
        let scores = scores(&detector, &[0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2]);
        assert_eq!((None, Some(0.0)), (scores[3], scores[4]));
        // The entropies are 0, that of a quarter, and ln 2.
        let sum = scores[5].unwrap() + scores[6].unwrap();
        assert!(scores[5] > Some(0.8) && (sum - 1.0).abs() < 1e-12, "{scores:?}");
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let detector = EntropyNovelty::new(5, 24).unwrap();
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at * at % 17)).collect();
        let expected = scores(&detector, &calm);
        for at in [0, 20, 60] {
            let mut values = calm.clone();
            values.insert(at, f64::MIN);
            let mut found = scores(&detector, &values);
            assert_eq!((at >= 30).then_some(1.0), found.remove(at), "at {at}");
            assert_eq!(expected, found, "at {at}");
        }
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |bins, window| EntropyNovelty::new(bins, window).unwrap_err().to_string();
        assert_eq!("\"bins\" takes a whole number in [2, 256], not 1", refused(1, 24));
        assert_eq!("\"window\" takes a whole number in [2, 100000], not 1", refused(5, 1));
    }
}
