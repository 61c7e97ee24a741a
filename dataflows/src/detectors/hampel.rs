//! Distance from the median of a window.

mod window;

use serde::{Deserialize, Serialize};

use self::window::Window;
use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by its distance from the median of a window of earlier values, in units of their median absolute
/// deviation.
///
/// This is the rule of Hampel (1974), *The influence curve and its role in robust estimation*, with the modified z-score of
/// Iglewicz and Hoaglin (1993), *How to detect and handle outliers*: with `MAD` the median of `|x - median|` over the last
/// `window` values, the score is `0.6745 |x - median| / MAD`, where 0.6745 is the upper quartile of the standard normal
/// distribution: for normal values the unit is the standard deviation. The median of an even number of values is the mean
/// of the middle two. Where `MAD` is 0, since more than half of the values are the same, the unit is `√(π/2)` times the
/// mean of `|x - median|`, which is a standard deviation too; where that is 0, any change scores `1e9`, which is the most.
/// Values beyond `±1e150` score as much and are not learned. What would have been normal reaches `deviations` units to
/// either side of the median.
///
/// Spikes are learned as they are: as long as fewer than half of the window are, they hardly move the median.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, Hampel};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Hampel::new(5)?.warmup(5);
/// let mut state = detector.start(0);
/// let values = [1.0, 5.0, 900.0, 4.0, 3.0, 7.0];
/// let scores = values.map(|value| detector.score(&mut state, EventTime::MIN, &[value]).score);
/// assert_eq!(scores[5], Some(3.0 / (1.0 / 0.6744897501960817))); // the median is 4, the median distance from it 1
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Hampel {
    window: usize,
    deviations: f64,
    warmup: u32,
}

const WINDOW: Parameter = Parameter::with_default(
    "window",
    Kind::Integer(3, 10_000),
    Literal::Integer(64),
    "how many values the median is taken of",
);
const DEVIATIONS: Parameter = Parameter::with_default(
    "deviations",
    Kind::Number(Range::POSITIVE),
    Literal::Number(NORMAL_UNITS),
    "how many units from the median the normal range ends",
);
const NORMAL_UNITS: f64 = 3.5;

impl Hampel {
    /// A detector over the last `window` values, in `[3, 10000]`, whose normal range ends 3.5 units from the median; it
    /// scores after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `window` is out of range.
    pub fn new(window: usize) -> Result<Self, ParamError> {
        WINDOW.integer(i64::try_from(window).unwrap_or(i64::MAX))?;
        Ok(Self { window, deviations: NORMAL_UNITS, warmup: WARMUP_RECORDS })
    }

    /// Ends the normal range `deviations` units, above 0, from the median.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `deviations` is out of range.
    pub fn deviations(self, deviations: f64) -> Result<Self, ParamError> {
        Ok(Self { deviations: DEVIATIONS.number(deviations)?, ..self })
    }

    /// Scores after `records` records, or once the window is full; the first record never has a score.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "hampel",
            summary: "values far from the median of a window, however many spikes are in it",
            score: "median absolute deviations from the median, scaled as standard deviations; usually an anomaly from 3.5",
            threshold: Some(3.5),
            cool_down: 0,
            multivariate: false,
            parameters: vec![WINDOW, DEVIATIONS, WARMUP],
            cost: "O(log window) comparisons, O(window) bytes read and moved",
            state: "56 + 10 × window",
            source: "Hampel 1974, The influence curve and its role in robust estimation; Iglewicz and Hoaglin 1993, How to \
                     detect and handle outliers",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("window"))?.warmup(params.value("warmup"));
                detector.deviations(params.value("deviations"))
            }),
        }
    }

    fn is_warm(&self, window: &Window) -> bool {
        window.len() >= self.window.min(self.warmup.max(1) as usize)
    }
}

/// What [`Hampel`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HampelState(Window);

impl Detector for Hampel {
    type State = HampelState;

    fn name(&self) -> &'static str {
        "hampel"
    }

    fn start(&self, _seed: u64) -> HampelState {
        HampelState::default()
    }

    #[inline]
    fn score(&self, HampelState(window): &mut HampelState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        let learnable = value.abs() <= LEARNABLE;
        let places = window.places(value);
        let mut found = Score::WARMING;
        if self.is_warm(window) {
            let median = window.median();
            let (unit, distance) = (window.unit(median), (value - median).abs());
            let score = match learnable {
                true if distance == 0.0 => 0.0,
                true => (distance / unit).min(BEYOND_MEASURE),
                false => BEYOND_MEASURE,
            };
            // The band of two finite numbers may overflow.
            let band = self.deviations * unit;
            let (lower, upper) = ((median - band).max(f64::MIN), (median + band).min(f64::MAX));
            found =
                Score { expected: Some(median), lower: Some(lower), upper: Some(upper), ..Score::of(score) };
        }
        if learnable {
            window.learn(value, places, self.window);
        }
        found
    }

    fn memory(&self, HampelState(window): &HampelState) -> usize {
        size_of::<HampelState>() + window.heap()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::window::{MEAN_DEVIATION, QUARTILE};
    use super::*;

    fn scores(detector: Hampel, values: &[f64]) -> Vec<Score> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value])).collect()
    }

    fn median_slow(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        if values.len() % 2 == 1 {
            values[half]
        } else {
            (values[half - 1] + values[half]) / 2.0
        }
    }

    /// Median and unit, by sorting values and distances.
    fn measure_slow(values: &[f64]) -> (f64, f64) {
        let median = median_slow(values.to_vec());
        let mut distances: Vec<_> = values.iter().map(|value| (value - median).abs()).collect();
        let deviation = median_slow(distances.clone());
        if deviation > 0.0 {
            return (median, deviation / QUARTILE);
        }
        distances.sort_by(f64::total_cmp);
        (median, MEAN_DEVIATION * distances.iter().sum::<f64>() / distances.len() as f64)
    }

    proptest! {
        #[test]
        fn scores_agree_with_sorting_the_window(
            window in prop_oneof![3usize..40, 100usize..200], warmup in 0u32..50,
            values in prop::collection::vec(prop_oneof![-1e3..1e3, Just(1.0), Just(-0.0), 0.9..1.1, -1e149..1e149], 0..300),
        ) {
            let fast = scores(Hampel::new(window).unwrap().warmup(warmup), &values);
            for (at, (value, found)) in values.iter().zip(&fast).enumerate() {
                let seen = &values[at.saturating_sub(window)..at];
                if seen.is_empty() || seen.len() < window.min(warmup as usize) {
                    prop_assert_eq!(*found, Score::WARMING, "at {}", at);
                    continue;
                }
                let (median, unit) = measure_slow(seen);
                prop_assert_eq!(Some(median), found.expected, "at {}", at);
                let distance = (value - median).abs();
                let slow = if distance == 0.0 { 0.0 } else { (distance / unit).min(BEYOND_MEASURE) };
                for (slow, fast) in
                    [(slow, found.score), (median - 3.5 * unit, found.lower), (median + 3.5 * unit, found.upper)]
                {
                    let fast = fast.unwrap();
                    prop_assert!((slow - fast).abs() <= 1e-12 * slow.abs(), "{} but {} at {}", slow, fast, at);
                }
            }
        }

        #[test]
        fn a_state_is_restored_in_both_orders(values in prop::collection::vec(prop_oneof![-5.0..5.0, Just(-0.0)], 0..30)) {
            let detector = Hampel::new(10).unwrap();
            let mut state = detector.start(0);
            for value in values {
                detector.score(&mut state, EventTime::MIN, &[value]);
                let mut bytes = Vec::new();
                crate::state::save(&state, &mut bytes);
                prop_assert_eq!(&state, &crate::state::restore("hampel", &mut &bytes[..]).unwrap());
            }
        }
    }

    #[test]
    fn spikes_that_are_fewer_than_half_hide_no_other() {
        let values: Vec<f64> = (0..64).map(|at| if at % 3 == 0 { 1e6 } else { f64::from(at % 7) }).collect();
        let last = scores(Hampel::new(64).unwrap(), &[&values[..], &[50.0]].concat())[64];
        assert!(last.score.unwrap() > 5.0, "{last:?}");
    }

    #[test]
    fn where_most_values_are_the_same_the_mean_deviation_is_the_unit() {
        let values = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 9.0, 9.0];
        let found = scores(Hampel::new(8).unwrap().warmup(7), &values);
        assert_eq!(Some(BEYOND_MEASURE), found[7].score);
        assert_eq!(Some(4.0 / (MEAN_DEVIATION * 0.5)), found[8].score);
        assert_eq!(Some(5.0 + 3.5 * MEAN_DEVIATION * 0.5), found[8].upper);
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).chain([100.0]).collect();
        let expected = scores(Hampel::new(20).unwrap(), &calm);
        for at in [0, 15, 60, 100] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(Hampel::new(20).unwrap(), &values);
                let score = (at >= 20).then_some(BEYOND_MEASURE);
                assert_eq!(score, found.remove(at).score, "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn memory_counts_each_value_of_the_window_and_its_slot() {
        let detector = Hampel::new(10).unwrap();
        let mut state = detector.start(0);
        let empty = detector.memory(&state);
        for _ in 0..100 {
            detector.score(&mut state, EventTime::MIN, &[1.0]);
        }
        assert_eq!(empty + 10 * 10, detector.memory(&state));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let error = Hampel::new(2).unwrap_err();
        assert_eq!("\"window\" takes a whole number in [3, 10000], not 2", error.to_string());
        let error = Hampel::new(3).unwrap().deviations(-1.0).unwrap_err();
        assert_eq!("\"deviations\" takes a number above 0, not -1", error.to_string());
    }
}
