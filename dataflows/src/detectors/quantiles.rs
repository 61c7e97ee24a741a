//! Distance beyond quantiles of all values so far.

mod sketch;

use serde::{Deserialize, Serialize};

use self::sketch::{Mapping, Sketch};
use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

/// Scores a value by how far it lies beyond a band between two quantiles of all values before it.
///
/// Values are counted in the buckets of a DDSketch (Masson, Rim and Lee 2019, *DDSketch: A Fast and Fully-Mergeable
/// Quantile Sketch with Relative-Error Guarantees*), each `2 accuracy` times as wide as its values are large; the
/// quantile `q` of `n` values is the one with `⌊q (n - 1)⌋` values before it. The band reaches from the lower end of the
/// bucket with the lower quantile to the upper end of that with the upper one, so that it holds both. The score is 0 for
/// values of these buckets and those between, and outside the distance from the band in widths of it, at most `1e9`:
/// that is also the score of values beyond `±1e150`, which are not learned. Expected is the median, within `accuracy`
/// times itself.
///
/// At most [`buckets`](Self::buckets) of each sign are kept; past that, values of the least magnitudes share one, and a
/// quantile among them is taken for a greater one. Spikes count like any value, however far off they are: as long as
/// fewer values lie beyond a quantile than its share, it moves little. Nothing is forgotten, unless there is a
/// [`half_life`](Self::half_life).
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, QuantileBands};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = QuantileBands::new(0.25, 0.75)?.warmup(4);
/// let mut state = detector.start(0);
/// let values = [10.0, 20.0, 30.0, 40.0, 25.0, 80.0];
/// let scores = values.map(|value| detector.score(&mut state, EventTime::MIN, &[value]));
/// assert_eq!([scores[4].score, scores[5].score.map(f64::round)], [Some(0.0), Some(5.0)]); // the band is about [20, 30]
/// assert!((scores[5].expected.unwrap() - 25.0).abs() <= 0.25);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuantileBands {
    /// Lower, median and upper.
    quantiles: [f64; 3],
    // Not the crate `sketches-ddsketch`: it finds buckets with the standard library's logarithm, which differs between
    // platforms, and keeps all buckets between the least and the greatest value, so that one spike fills its memory.
    mapping: Mapping,
    buckets: usize,
    /// How much is counted at most: then all is halved.
    most: u32,
    warmup: u32,
}

const LOWER: Parameter = Parameter::with_default(
    "lower",
    Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
    Literal::Number(0.01),
    "the quantile at which the band begins",
);
const UPPER: Parameter = Parameter::with_default(
    "upper",
    Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
    Literal::Number(0.99),
    "the quantile at which the band ends",
);
const ACCURACY: Parameter = Parameter::with_default(
    "accuracy",
    Kind::Number(Range { from: 1e-4, to: 0.25, open: false }),
    Literal::Number(DEFAULT_ACCURACY),
    "how far a quantile may be off, as a fraction of it",
);
const BUCKETS: Parameter = Parameter::with_default(
    "buckets",
    Kind::Integer(16, 10_000),
    Literal::Integer(DEFAULT_BUCKETS as i64),
    "how many buckets of each sign are kept",
);
const HALF_LIFE: Parameter = Parameter::optional(
    "half_life",
    Kind::Integer(1, NO_HALF_LIFE as i64),
    "after how many further records a record counts half",
);
const DEFAULT_ACCURACY: f64 = 0.01;
const DEFAULT_BUCKETS: usize = 256;
/// Twice as many are as many as can be counted.
const NO_HALF_LIFE: u32 = u32::MAX / 2;
/// What is said of the buckets of the three quantiles.
const VALUES: [fn(&Mapping, i32) -> f64; 3] = [Mapping::lower, Mapping::middle, Mapping::upper];

impl QuantileBands {
    /// A detector of values beyond the quantiles `lower` and `upper`, in `[0, 1]`, within 1 %, from 256 buckets of each
    /// sign; it forgets nothing, and scores after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a quantile is out of range, or `lower` is not below `upper`.
    pub fn new(lower: f64, upper: f64) -> Result<Self, ParamError> {
        let quantiles = [LOWER.number(lower)?, 0.5, UPPER.number(upper)?];
        if lower >= upper {
            let reason = format!("is {lower}, which must be below \"upper\", {upper}");
            return Err(ParamError::Conflict { name: "lower", reason });
        }
        let mapping = Mapping::new(DEFAULT_ACCURACY);
        Ok(Self {
            quantiles,
            mapping,
            buckets: DEFAULT_BUCKETS,
            most: 2 * NO_HALF_LIFE,
            warmup: WARMUP_RECORDS,
        })
    }

    /// Lets quantiles be off by `accuracy` times themselves, in `[0.0001, 0.25]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `accuracy` is out of range.
    pub fn accuracy(self, accuracy: f64) -> Result<Self, ParamError> {
        Ok(Self { mapping: Mapping::new(ACCURACY.number(accuracy)?), ..self })
    }

    /// Keeps at most `number` buckets of each sign, in `[16, 10000]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `number` is out of range.
    pub fn buckets(self, number: usize) -> Result<Self, ParamError> {
        BUCKETS.integer(i64::try_from(number).unwrap_or(i64::MAX))?;
        Ok(Self { buckets: number, ..self })
    }

    /// Halves all counts whenever they add up to twice `records`, in `[1, 2147483647]`: so a record counts half after
    /// every `records` further ones. Counts are halved after about 4 billion records in any case.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if `records` is out of range.
    pub fn half_life(self, records: u32) -> Result<Self, ParamError> {
        HALF_LIFE.integer(i64::from(records))?;
        Ok(Self { most: 2 * records, ..self })
    }

    /// Scores after `records` records, or a half-life; the first record never has a score.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "quantile-bands",
            summary: "values beyond quantiles of all before them",
            score: "distance beyond the band between the quantiles, in widths of it; usually an anomaly from 0.5",
            threshold: Some(0.5),
            cool_down: 0,
            multivariate: false,
            parameters: vec![LOWER, UPPER, ACCURACY, BUCKETS, HALF_LIFE, WARMUP],
            cost: "O(log buckets), O(buckets) for a value in a new bucket",
            state: "104 + 8 × buckets with values, at most 2 × buckets",
            source: "Masson, Rim and Lee 2019, DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error \
                     Guarantees",
            construct: DetectorInfo::constructor(|params| {
                let detector = Self::new(params.value("lower"), params.value("upper"))?
                    .accuracy(params.value("accuracy"))?
                    .buckets(params.value("buckets"))?
                    .warmup(params.value("warmup"));
                params.optional("half_life").map_or(Ok(detector), |records| detector.half_life(records))
            }),
        }
    }

    /// What is said of a value of a bucket; `None` if it is of none, being too far away.
    #[inline]
    fn say(&self, sketch: &Sketch, value: f64, bucket: Option<i32>) -> Score {
        if sketch.total() < self.warmup.clamp(1, self.most / 2) {
            return Score::WARMING;
        }
        let [lower, median, upper] = sketch.marks();
        let score = match bucket {
            None => BEYOND_MEASURE,
            Some(bucket) if lower.bucket <= bucket && bucket <= upper.bucket => 0.0,
            Some(_) => {
                let distance = (lower.value - value).max(value - upper.value);
                // Above 0 outside, however little that is.
                (distance / (upper.value - lower.value)).clamp(f64::MIN_POSITIVE, BEYOND_MEASURE)
            }
        };
        let (lower, upper) = (Some(lower.value), Some(upper.value));
        Score { expected: Some(median.value), lower, upper, ..Score::of(score) }
    }
}

/// What [`QuantileBands`] remembers of one key: how many values are in which bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantileState(Sketch);

impl Detector for QuantileBands {
    type State = QuantileState;

    fn name(&self) -> &'static str {
        "quantile-bands"
    }

    fn version(&self) -> u32 {
        2
    }

    fn start(&self, _seed: u64) -> QuantileState {
        QuantileState::default()
    }

    #[inline]
    fn score(&self, QuantileState(sketch): &mut QuantileState, _time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        sketch.fetch();
        if value.abs() > LEARNABLE {
            return self.say(sketch, value, None);
        }
        let bucket = self.mapping.bucket(value);
        let score = self.say(sketch, value, Some(bucket));
        if sketch.total() >= self.most {
            sketch.halve();
        }
        sketch.add(bucket, self.buckets);
        sketch.settle(&self.quantiles, VALUES.map(|value| move |bucket| value(&self.mapping, bucket)));
        score
    }

    fn memory(&self, QuantileState(sketch): &QuantileState) -> usize {
        size_of::<QuantileState>() + sketch.heap()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn scores(detector: QuantileBands, values: &[f64]) -> Vec<Score> {
        let mut state = detector.start(0);
        values.iter().map(|value| detector.score(&mut state, EventTime::MIN, &[*value])).collect()
    }

    /// A bucket by bucket account, as the definitions have it.
    #[derive(Default)]
    struct Slow(BTreeMap<i32, u32>);

    impl Slow {
        fn learn(&mut self, bucket: i32, limit: usize, most: u32) {
            if self.0.values().sum::<u32>() == most {
                let (mut up_to, mut halved) = (0, 0);
                for count in self.0.values_mut() {
                    up_to += *count;
                    *count = up_to / 2 - halved;
                    halved += *count;
                }
                self.0.retain(|_, count| *count > 0);
            }
            *self.0.entry(bucket).or_default() += 1;
            for sign in [1, -1] {
                let mut buckets: Vec<_> =
                    self.0.keys().copied().filter(|bucket| bucket.signum() == sign).collect();
                buckets.sort_by_key(|bucket| bucket.abs());
                if buckets.len() > limit {
                    let count = self.0.remove(&buckets[0]).unwrap();
                    *self.0.get_mut(&buckets[1]).unwrap() += count;
                }
            }
        }

        fn quantile(&self, quantile: f64) -> i32 {
            let each = |(bucket, count): (&i32, &u32)| std::iter::repeat_n(*bucket, *count as usize);
            let all: Vec<_> = self.0.iter().flat_map(each).collect();
            all[(quantile * (all.len() - 1) as f64) as usize]
        }
    }

    fn value() -> impl Strategy<Value = f64> {
        let wide = (-20.0..20.0, prop::bool::ANY).prop_map(|(exponent, negative)| {
            if negative {
                -libm::exp(exponent)
            } else {
                libm::exp(exponent)
            }
        });
        prop_oneof![4 => 90.0..110.0, 2 => -1.0..1.0, 2 => wide, 1 => Just(0.0), 1 => Just(5.0)]
    }

    proptest! {
        #[test]
        fn quantiles_agree_with_an_account_of_all_values(
            (lower, upper) in (0.0..0.7, 0.75..1.0), half_life in prop::option::of(1u32..60), warmup in 1u32..40,
            values in prop::collection::vec(value(), 0..250),
        ) {
            let detector = QuantileBands::new(lower, upper).unwrap().buckets(16).unwrap().warmup(warmup);
            let detector = half_life.map_or(Ok(detector), |records| detector.half_life(records)).unwrap();
            let mut slow = Slow::default();
            for (at, found) in scores(detector, &values).into_iter().enumerate() {
                let bucket = detector.mapping.bucket(values[at]);
                if at >= warmup.min(half_life.unwrap_or(u32::MAX)) as usize {
                    let [low, median, high] = [lower, 0.5, upper].map(|quantile| slow.quantile(quantile));
                    prop_assert_eq!(Some(detector.mapping.lower(low)), found.lower, "at {}", at);
                    prop_assert_eq!(Some(detector.mapping.middle(median)), found.expected, "at {}", at);
                    prop_assert_eq!(Some(detector.mapping.upper(high)), found.upper, "at {}", at);
                    prop_assert_eq!(found.score == Some(0.0), low <= bucket && bucket <= high, "at {}", at);
                } else {
                    prop_assert_eq!(Score::WARMING, found, "at {}", at);
                }
                slow.learn(bucket, 16, detector.most);
            }
        }

        #[test]
        fn quantiles_are_within_the_accuracy_of_the_exact_ones(
            accuracy in 0.001..0.1, values in prop::collection::vec(value(), 2..200),
        ) {
            let detector = QuantileBands::new(0.1, 0.9).unwrap().accuracy(accuracy).unwrap().buckets(10_000).unwrap();
            let found = scores(detector.warmup(1), &values);
            let width = 2.0 * accuracy / (1.0 - accuracy);
            for at in 1..values.len() {
                let mut sorted = values[..at].to_vec();
                sorted.sort_by(f64::total_cmp);
                let exact = |quantile: f64| sorted[(quantile * (at - 1) as f64) as usize];
                for (quantile, found, bound) in
                    [(0.1, found[at].lower, width), (0.5, found[at].expected, accuracy), (0.9, found[at].upper, width)]
                {
                    let (exact, found) = (exact(quantile), found.unwrap());
                    prop_assert!((exact - found).abs() <= (bound + 1e-9) * exact.abs(), "{} but {}", exact, found);
                }
            }
        }
    }

    #[test]
    fn a_constant_is_normal_and_a_change_after_it_is_measured_in_buckets() {
        let values: Vec<f64> = [5.0; 40].into_iter().chain([5.5]).collect();
        let found = scores(QuantileBands::new(0.01, 0.99).unwrap(), &values);
        assert_eq!((None, Some(0.0)), (found[29].score, found[39].score));
        let score = found[40].score.unwrap();
        assert!((3.0..6.0).contains(&score), "{score}");
        let zero = scores(QuantileBands::new(0.01, 0.99).unwrap(), &[[0.0; 40], [1.0; 40]].concat());
        assert_eq!((Some(0.0), Some(BEYOND_MEASURE)), (zero[39].score, zero[40].score));
    }

    #[test]
    fn spikes_of_any_size_move_the_band_little() {
        let mut values: Vec<f64> = (0..1000).map(|at| 50.0 + f64::from(at % 17)).collect();
        let score = |values: &[f64]| {
            scores(QuantileBands::new(0.01, 0.99).unwrap(), &[values, &[90.0]].concat())[1000]
        };
        let calm = score(&values);
        (0..9).for_each(|at| values[at * 100 + 50] = libm::pow(10.0, at as f64 * 16.0));
        assert_eq!(calm, score(&values));
        assert!(calm.score.unwrap() > 1.0, "{calm:?}");
    }

    #[test]
    fn with_a_half_life_a_new_level_becomes_normal() {
        let values: Vec<f64> = [50.0; 2000].into_iter().chain([100.0; 2000]).collect();
        let detector = QuantileBands::new(0.01, 0.99).unwrap();
        let last = |detector| scores(detector, &values)[3999].lower.unwrap();
        assert!(last(detector) < 51.0 && last(detector.half_life(100).unwrap()) > 95.0);
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm: Vec<f64> = (0..100).map(|at| f64::from(at % 7)).collect();
        let expected = scores(QuantileBands::new(0.01, 0.99).unwrap(), &calm);
        for at in [0, 20, 60, 100] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut values = calm.clone();
                values.insert(at, extreme);
                let mut found = scores(QuantileBands::new(0.01, 0.99).unwrap(), &values);
                let score = (at >= 30).then_some(BEYOND_MEASURE);
                assert_eq!(score, found.remove(at).score, "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn memory_counts_each_bucket() {
        let detector = QuantileBands::new(0.01, 0.99).unwrap().buckets(16).unwrap();
        let mut state = detector.start(0);
        let empty = detector.memory(&state);
        for at in 0..1000 {
            detector.score(&mut state, EventTime::MIN, &[f64::from(at)]);
            assert!(detector.memory(&state) <= empty + 17 * 8);
        }
        assert_eq!(empty + 17 * 8, detector.memory(&state));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let error = QuantileBands::new(0.5, 0.5).unwrap_err();
        assert_eq!("\"lower\" is 0.5, which must be below \"upper\", 0.5", error.to_string());
        let detector = QuantileBands::new(0.1, 0.9).unwrap();
        let error = detector.accuracy(0.5).unwrap_err();
        assert_eq!("\"accuracy\" takes a number in [0.0001, 0.25], not 0.5", error.to_string());
        let error = detector.half_life(0).unwrap_err();
        assert_eq!("\"half_life\" takes a whole number in [1, 2147483647], not 0", error.to_string());
    }
}
