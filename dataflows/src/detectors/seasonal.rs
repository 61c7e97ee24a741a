//! Distance from what is usual at this time of the day or week.

mod calendar;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use self::calendar::{Calendar, Offset};
use super::{Detector, DetectorInfo, Score, BEYOND_MEASURE, CLIP, LEARNABLE, WARMUP, WARMUP_RECORDS};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::EventTime;

pub use self::calendar::Season;

/// Scores a value by its distance, in standard deviations, from the mean of its slot of the calendar: an hour of the
/// week, say, in the local time of a zone.
///
/// Each slot has a mean and a variance of its own, after Finch (2009), *Incremental calculation of weighted mean and
/// variance*, equations 124 and 143: the n-th value weighs the greater of `1/n` and `alpha`. The deviation is that of a
/// sample, but since that of few values is often much too small, it is moderated by the mean variance within all slots,
/// `common`, as in Smyth (2004), *Linear models and empirical Bayes methods for assessing differential expression in
/// microarray experiments*:
///
/// ```text
/// deviation² = (prior common + n variance) / (prior + n - 1)
/// ```
///
/// A slot of fewer than 3 records takes mean and deviation of all records alike, so that no season needs to pass before
/// the first score. The score is `|x - mean| / deviation`, at most `1e9`, before `x` is learned; once a slot has 3
/// records, a value beyond `clip` deviations is learned as if it were no further away. `lower` and `upper` are `clip`
/// deviations from the mean. A value beyond `±1e150` scores `1e9` and is not learned.
///
/// Local time follows the zone's rules: an hour that the clocks repeat counts twice, one that they skip not at all. Outside
/// the years -9999 to 9999 it is UTC.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Detector, Seasonal, Season};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Seasonal::new(Season::HourOfDay, "Europe/Berlin")?.warmup(6);
/// let mut state = detector.start(0);
/// let mut score = |hour: i64, value: f64| {
///     let time = EventTime::from_secs(1_711_666_800 + hour * 3600).unwrap(); // from midnight on 29 March 2024 on
///     detector.score(&mut state, time, &[value]).expected
/// };
/// // Ones at 00:00, and 7, 9 and 8 at 03:00: on the third day the clocks skip an hour.
/// for (hour, value) in [(0, 1.0), (3, 7.0), (24, 1.0), (27, 9.0), (48, 1.0), (50, 8.0)] {
///     score(hour, value);
/// }
/// assert_eq!([score(71, 2.0), score(74, 2.0)], [Some(1.0), Some(8.0)]); // 00:00 and 03:00 of the fourth day
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Seasonal {
    calendar: Calendar,
    alpha: f64,
    prior: f64,
    clip: f64,
    warmup: u32,
}

const SEASON: Parameter = Parameter::with_default(
    "season",
    Kind::Choice(&["minute-of-hour", "hour-of-day", "day-of-week", "hour-of-week"]),
    Literal::Text("hour-of-day"),
    "the slots of the calendar, each of which has a mean of its own",
);
const ZONE: Parameter = Parameter::with_default(
    "zone",
    Kind::Text,
    Literal::Text("UTC"),
    "the time zone of the calendar, by its IANA name",
);
const ALPHA: Parameter = Parameter::with_default(
    "alpha",
    Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
    Literal::Number(0.01),
    "least weight of each new value in its slot: the mean reaches back about 1/alpha records; 0 forgets nothing",
);
const PRIOR: Parameter = Parameter::with_default(
    "prior",
    Kind::Number(Range::NON_NEGATIVE),
    Literal::Number(10.0),
    "how many records of a slot the deviation within all slots counts for; 0 takes that of the slot alone",
);
/// Records of a slot from which on it speaks for itself.
const LEAST_RECORDS: u32 = 3;

impl Seasonal {
    /// A detector with slots of `season` in the local time of `zone`, an IANA name as in `"Europe/Berlin"`; it scores
    /// after 30 records.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if there is no such zone.
    pub fn new(season: Season, zone: &str) -> Result<Self, ParamError> {
        let refused = |_| ParamError::Refused {
            name: ZONE.name,
            expected: "a time zone, as in \"Europe/Berlin\"".to_owned(),
            found: format!("\"{zone}\""),
        };
        let zone = TimeZone::get(zone).map_err(refused)?;
        let calendar = Calendar { season, zone };
        Ok(Self { calendar, alpha: 0.01, prior: 10.0, clip: 4.0, warmup: WARMUP_RECORDS })
    }

    /// Weighs each new value by at least `alpha`, in `[0, 1]`, in its slot; counts the deviation within all slots for
    /// `prior` records, 0 or more, of each; and learns no value beyond `clip` deviations, in `[0, 1000]`, 0 for whatever
    /// they are.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn learning(self, alpha: f64, prior: f64, clip: f64) -> Result<Self, ParamError> {
        let (alpha, prior, clip) = (ALPHA.number(alpha)?, PRIOR.number(prior)?, CLIP.number(clip)?);
        Ok(Self { alpha, prior, clip, ..self })
    }

    /// Scores after `records` records, of whatever slots.
    pub fn warmup(self, records: u32) -> Self {
        Self { warmup: records, ..self }
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "seasonal",
            summary: "values that are unusual for their hour, weekday or minute, in local time",
            score: "standard deviations from the mean of the slot; usually an anomaly from 4",
            threshold: Some(4.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![SEASON, ZONE, ALPHA, PRIOR, CLIP, WARMUP],
            cost: "O(1)",
            state: "656 at \"hour-of-day\": 80 + 24 × slots",
            source: "Finch 2009, Incremental calculation of weighted mean and variance, eq. 124 and 143; Smyth 2004, \
                     Linear models and empirical Bayes methods for assessing differential expression",
            construct: DetectorInfo::constructor(|params| {
                Ok(Self::new(Season::named(params.value("season")), params.value("zone"))?
                    .learning(params.value("alpha"), params.value("prior"), params.value("clip"))?
                    .warmup(params.value("warmup")))
            }),
        }
    }
}

/// What [`Seasonal`] remembers of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeasonalState {
    slots: Vec<Moments>,
    /// All records as one slot.
    all: Moments,
    common: Common,
    /// Found again after a restart, perhaps with newer rules of the zone.
    #[serde(skip)]
    offset: Offset,
}

/// Number, mean and variance of weighted values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Moments {
    mean: f64,
    variance: f64,
    records: u32,
}

impl Moments {
    fn learn(&mut self, distance: f64, alpha: f64) {
        self.records = self.records.saturating_add(1);
        let weight = alpha.max(1.0 / f64::from(self.records));
        let step = weight * distance;
        self.mean += step;
        self.variance = (1.0 - weight) * (self.variance + step * distance);
    }

    /// The variance of a sample, to which `common` adds as `prior` records would.
    fn moderated(&self, prior: f64, common: f64) -> f64 {
        let records = f64::from(self.records);
        let degrees = (prior + records - 1.0).max(1.0);
        prior / degrees * common + records / degrees * self.variance
    }
}

/// The mean variance within the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Common {
    variance: f64,
    /// Degrees of freedom.
    records: u32,
}

impl Common {
    /// Learns by how much a record, not the first of its slot, has added to the sum of squares there.
    fn learn(&mut self, square: f64, alpha: f64) {
        self.records = self.records.saturating_add(1);
        self.variance += alpha.max(1.0 / f64::from(self.records)) * (square - self.variance);
    }
}

impl Detector for Seasonal {
    type State = SeasonalState;

    fn name(&self) -> &'static str {
        "seasonal"
    }

    fn start(&self, _seed: u64) -> SeasonalState {
        let slots = vec![Moments::default(); self.calendar.season.slots()];
        SeasonalState { slots, all: Moments::default(), common: Common::default(), offset: Offset::default() }
    }

    #[inline]
    fn score(&self, state: &mut SeasonalState, time: EventTime, values: &[f64]) -> Score {
        let (value, all) = (values[0], state.all);
        let slot = &mut state.slots[self.calendar.slot(&mut state.offset, time)];
        let known = slot.records >= LEAST_RECORDS;
        let (mean, variance) = match known {
            true => (slot.mean, slot.moderated(self.prior, state.common.variance)),
            false => (all.mean, all.moderated(0.0, 0.0)),
        };
        let deviation = variance.sqrt();
        let warm = all.records >= self.warmup;
        let expected = (all.records > 0).then_some(mean);
        if value.abs() > LEARNABLE {
            return Score { expected, score: warm.then_some(BEYOND_MEASURE), ..Score::WARMING };
        }
        let distance = value - mean;
        let score = if distance == 0.0 { 0.0 } else { (distance.abs() / deviation).min(BEYOND_MEASURE) };
        // Where all were the same, there is no measure for another.
        let reach = Some(self.clip * deviation).filter(|reach| warm && *reach > 0.0);
        let learned = match reach {
            Some(reach) if known && distance.abs() > reach => mean + distance.clamp(-reach, reach),
            _ => value,
        };
        // As far back, in seasons, as each slot.
        let alpha = self.alpha / self.calendar.season.slots() as f64;
        let (new, before) = (slot.records == 0, slot.mean);
        slot.learn(learned - before, self.alpha);
        if !new {
            state.common.learn((learned - before) * (learned - slot.mean), alpha);
        }
        state.all.learn(learned - all.mean, alpha);
        if !warm {
            return Score { expected, ..Score::WARMING };
        }
        Score {
            expected,
            lower: reach.map(|reach| mean - reach),
            upper: reach.map(|reach| mean + reach),
            ..Score::of(score)
        }
    }

    fn memory(&self, state: &SeasonalState) -> usize {
        size_of::<SeasonalState>() + state.slots.len() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::calendar::tests::{slot_slow, SEASONS, ZONES};
    use super::*;

    fn scores(detector: &Seasonal, records: &[(EventTime, f64)]) -> Vec<Score> {
        let mut state = detector.start(0);
        records.iter().map(|(time, value)| detector.score(&mut state, *time, &[*value])).collect()
    }

    /// The weighted mean of values, oldest first, and that of their squared distances from it.
    fn moments_slow(values: &[f64], alpha: f64) -> (f64, f64) {
        let (mut weights, mut left) = (Vec::new(), 1.0);
        for number in (1..=values.len()).rev() {
            let weight = alpha.max(1.0 / number as f64);
            weights.push(left * weight);
            left *= 1.0 - weight;
        }
        weights.reverse();
        let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
            weights.iter().zip(values).map(|(weight, value)| weight * of(*value)).sum()
        };
        let mean = sum(&|value| value);
        (mean, sum(&|value| (value - mean) * (value - mean)))
    }

    /// Mean and score of each record, from all that its slot, and the others, have learned.
    fn scores_slow(detector: &Seasonal, records: &[(EventTime, f64)]) -> Vec<(f64, f64)> {
        let (mut learned, mut squares) = (Vec::<(usize, f64)>::new(), Vec::new());
        let alpha = detector.alpha / detector.calendar.season.slots() as f64;
        let score = |&(time, value): &(EventTime, f64)| {
            let slot = slot_slow(&detector.calendar, time);
            let own = learned.iter().filter(|(at, _)| *at == slot).map(|(_, value)| *value);
            let mut own: Vec<f64> = own.collect();
            let (before, variance) = moments_slow(&own, detector.alpha);
            let (mean, deviation, known) = match own.len() {
                0..=2 => {
                    let all: Vec<f64> = learned.iter().map(|(_, value)| *value).collect();
                    let (mean, variance) = moments_slow(&all, alpha);
                    let number = all.len() as f64;
                    (mean, (variance * number / (number - 1.0)).sqrt(), false)
                }
                number => {
                    let (number, prior) = (number as f64, detector.prior);
                    let sample = variance * number / (number - 1.0);
                    let common = moments_slow(&squares, alpha).0;
                    let variance = (prior * common + (number - 1.0) * sample) / (prior + number - 1.0);
                    (before, variance.sqrt(), true)
                }
            };
            let reach = detector.clip * deviation;
            let clips = known && learned.len() >= detector.warmup as usize && reach > 0.0;
            let new = if clips { value.clamp(mean - reach, mean + reach) } else { value };
            learned.push((slot, new));
            own.push(new);
            if own.len() > 1 {
                squares.push((new - before) * (new - moments_slow(&own, detector.alpha).0));
            }
            (mean, (value - mean).abs() / deviation)
        };
        records.iter().map(score).collect()
    }

    proptest! {
        #[test]
        fn scores_agree_with_a_recomputation_from_all_records_of_each_slot(
            season in prop::sample::select(SEASONS.to_vec()), zone in prop::sample::select(ZONES.to_vec()),
            alpha in prop_oneof![Just(0.0), 0.0..0.5], prior in prop_oneof![Just(0.0), 0.0..30.0],
            clip in prop_oneof![Just(0.0), 1.0..4.0],
            start in 0i64..2_000_000_000, step in prop::sample::select(vec![60, 600, 7_200, 90_000, 1_000_000]),
            records in prop::collection::vec((0i64..200, -1.0..1.0), 0..120),
        ) {
            let detector = Seasonal::new(season, zone).unwrap().learning(alpha, prior, clip).unwrap().warmup(5);
            let mut seconds = start;
            let mut record = |(share, value): (i64, f64)| {
                seconds += step * share / 100;
                (EventTime::from_secs(seconds).unwrap(), value + (seconds % 50_000) as f64 / 1e4)
            };
            let records: Vec<_> = records.into_iter().map(&mut record).collect();
            let (fast, slow) = (scores(&detector, &records), scores_slow(&detector, &records));
            for (at, (fast, (mean, score))) in fast.into_iter().zip(slow).enumerate().skip(5) {
                let expected = fast.expected.unwrap();
                prop_assert!((mean - expected).abs() <= 1e-9, "{} but {} at {}", mean, expected, at);
                let found = fast.score.unwrap();
                // Close values make a deviation that is the difference of close numbers.
                prop_assert!((score - found).abs() <= 1e-6 * score.max(1.0), "{} but {} at {}", score, found, at);
            }
        }
    }

    #[test]
    fn the_common_variance_is_that_within_the_slots_by_their_degrees_of_freedom() {
        let detector = Seasonal::new(Season::HourOfDay, "UTC").unwrap().learning(0.0, 0.0, 0.0).unwrap();
        let mut state = detector.start(0);
        for (time, value) in hours(24 * 9 + 7) {
            detector.score(&mut state, time, &[value]);
        }
        let squares: f64 = state.slots.iter().map(|slot| slot.variance * f64::from(slot.records)).sum();
        let degrees: u32 = state.slots.iter().map(|slot| slot.records - 1).sum();
        assert_eq!(degrees, state.common.records);
        assert!((squares / f64::from(degrees) - state.common.variance).abs() < 1e-9);
    }

    fn hours(count: i64) -> Vec<(EventTime, f64)> {
        let value = |hour: i64| (hour % 24 * 10 + hour * 7919 % 13) as f64;
        (0..count).map(|hour| (EventTime::from_secs(hour * 3600).unwrap(), value(hour))).collect()
    }

    #[test]
    fn what_is_usual_at_another_hour_is_unusual_at_this_one() {
        let mut records = hours(24 * 21);
        let at = 24 * 15 + 3;
        records[at].1 = records[at + 12].1;
        let found = scores(&Seasonal::new(Season::HourOfDay, "UTC").unwrap(), &records);
        assert!(found[29].score.is_none() && found[30].score.is_some());
        for (hour, score) in found.iter().enumerate().skip(24 * 6) {
            assert_eq!(hour == at, score.score.unwrap() > 4.0, "{score:?} at {hour}");
            let value = records[hour].1;
            assert_eq!(hour == at, value < score.lower.unwrap() || value > score.upper.unwrap(), "{score:?}");
        }
    }

    #[test]
    fn a_spike_is_hardly_learned_and_a_new_level_is() {
        let mut records = hours(24 * 300);
        let calm = scores(&Seasonal::new(Season::HourOfDay, "UTC").unwrap(), &records);
        records[24 * 20].1 = 1e9;
        let spiked = scores(&Seasonal::new(Season::HourOfDay, "UTC").unwrap(), &records);
        for (calm, spiked) in calm.iter().zip(&spiked) {
            assert!((calm.expected.unwrap_or(0.0) - spiked.expected.unwrap_or(0.0)).abs() < 5.0);
        }
        records.iter_mut().skip(24 * 30).for_each(|(_, value)| *value += 1e4);
        let shifted = scores(&Seasonal::new(Season::HourOfDay, "UTC").unwrap(), &records);
        assert!(shifted[24 * 290..].iter().all(|score| score.score.unwrap() < 4.0));
    }

    #[test]
    fn a_value_that_cannot_be_learned_is_as_anomalous_as_can_be_and_leaves_no_trace() {
        let calm = hours(100);
        let detector = Seasonal::new(Season::HourOfDay, "UTC").unwrap();
        let expected = scores(&detector, &calm);
        for at in [0, 20, 60, 99] {
            for extreme in [1e200, f64::MAX, f64::MIN, -1.1e150] {
                let mut records = calm.clone();
                records.insert(at, (calm[at].0, extreme));
                let mut found = scores(&detector, &records);
                assert_eq!((at >= 30).then_some(BEYOND_MEASURE), found.remove(at).score, "{extreme} at {at}");
                assert_eq!(expected, found, "{extreme} at {at}");
            }
        }
    }

    #[test]
    fn a_zone_that_does_not_exist_is_refused() {
        let error = Seasonal::new(Season::HourOfDay, "Europe/Berln").unwrap_err();
        let message = "\"zone\" takes a time zone, as in \"Europe/Berlin\", not \"Europe/Berln\"";
        assert_eq!(message, error.to_string());
        let detector = Seasonal::new(Season::HourOfDay, "UTC").unwrap();
        let error = detector.learning(2.0, 0.0, 0.0).unwrap_err();
        assert_eq!("\"alpha\" takes a number in [0, 1], not 2", error.to_string());
    }
}
