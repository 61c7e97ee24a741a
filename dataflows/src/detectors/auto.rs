//! Novelty of a metric that nobody has described.

mod season;

use serde::{Deserialize, Serialize};

use self::season::Slots;
use super::entropy::EntropyState;
use super::range::RangeState;
use super::{Detector, DetectorInfo, EntropyNovelty, RunningRange, Score, BEYOND_MEASURE, LEARNABLE, WARMUP};
use crate::params::ParamError;
use crate::EventTime;

/// Scores a record by how new it makes what a series does, as the most novel of three views of it.
///
/// * *Level*: the mean of the last 24 values.
/// * *Season*: how far the value lies from the mean of its hour of the day or of its hour of the week (in UTC), whichever
///   is nearer; each mean moves a tenth of the way to a new value.
/// * *Mixture*: the entropy of the last 72 values in 5 bins, as [`EntropyNovelty`] has it.
///
/// Of level and season the novelty is its distance beyond the range of all its earlier values, in widths of that range, of which
/// 5 % are tolerated; the range shrinks by one part in 10,000 with each record ([`RunningRange`]). The mixture's is
/// the distance of its entropy beyond all earlier ones, as a fraction of the greatest entropy that 5 bins can have. The score
/// is the greatest novelty, at most `1e9`; an anomaly is what scores 0.0175 or more. A view has none before it has had `warmup`
/// values. A value beyond `±1e150` scores `1e9` and is not learned.
///
/// A view learns what it has scored, so a level that shifts is said once, and becomes normal. In pipeline files a cool-down of 50
/// records ([`CoolDown`](crate::logic::CoolDown)) follows unless they say otherwise, so that what goes on is said when it
/// begins, and when it becomes worse.
///
/// The expected value is that of the season; there is no band, since a value can be new in three ways.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Auto, Detector};
/// use tidewatch_dataflows::EventTime;
///
/// let detector = Auto::new(30)?;
/// let mut state = detector.start(0);
/// let mut score = |at: i64, value: f64| {
///     detector.score(&mut state, EventTime::from_secs(300 * at).unwrap(), &[value]).score
/// };
/// let calm: Vec<_> = (0..1000).map(|at| score(at, f64::from((at % 12) as u32))).collect();
/// assert_eq!((calm[0], calm[999]), (None, Some(0.0)));
/// assert!(score(1000, 60.0).unwrap() > 0.0175);
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auto {
    range: RunningRange,
    entropy: EntropyNovelty,
    warmup: u32,
}

/// How many values make a level.
const LEVEL: usize = 24;
/// How many values make a mixture, and into how many bins they fall.
const MIXTURE: usize = 72;
const BINS: usize = 5;
const TOLERANCE: f64 = 0.05;
/// How far sums of values are off, as a fraction of them.
const ROUNDING: f64 = 1e-12;
const FADE: u32 = 10_000;

impl Auto {
    /// A detector whose views score after `warmup` values each, 1 or more.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the number is out of range.
    pub fn new(warmup: u32) -> Result<Self, ParamError> {
        Ok(Self {
            range: RunningRange::new(TOLERANCE, warmup)?.fade(FADE)?,
            entropy: EntropyNovelty::new(BINS, MIXTURE)?,
            warmup,
        })
    }

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "auto",
            summary: "whatever a series has not done before: levels, seasons and mixtures",
            score: "how far beyond all before it, in widths of its range, the most novel view is; an anomaly from 0.0175",
            threshold: Some(0.0175),
            cool_down: 50,
            multivariate: false,
            parameters: vec![WARMUP],
            cost: "O(1)",
            state: "176 + 8 × 264 + 20",
            source: "own; Shannon 1948, A Mathematical Theory of Communication, for the mixture",
            construct: DetectorInfo::constructor(|params| Self::new(params.value("warmup"))),
        }
    }

    /// How far a view lies beyond all its earlier values; what differs from them by no more than sums of such values are rounded by
    /// is not beyond.
    fn beyond(&self, range: &mut RangeState, time: EventTime, view: f64, value: f64) -> Option<f64> {
        let Score { score, lower, upper, .. } = self.range.score(range, time, &[view]);
        let distance = (lower? - view).max(view - upper?);
        score.map(|score| if distance > ROUNDING * value.abs() { score } else { 0.0 })
    }
}

/// What [`Auto`] remembers of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoState {
    slots: Slots,
    entropy: EntropyState,
    /// Of the level and the season.
    ranges: [RangeState; 2],
    records: u32,
}

impl Detector for Auto {
    type State = AutoState;

    fn name(&self) -> &'static str {
        "auto"
    }

    fn start(&self, seed: u64) -> AutoState {
        AutoState {
            slots: Slots::default(),
            entropy: self.entropy.start(seed),
            ranges: Default::default(),
            records: 0,
        }
    }

    fn score(&self, state: &mut AutoState, time: EventTime, values: &[f64]) -> Score {
        let value = values[0];
        if value.abs() > LEARNABLE {
            let warm = state.records >= self.warmup;
            return if warm { Score::of(BEYOND_MEASURE) } else { Score::WARMING };
        }
        state.records = state.records.saturating_add(1);
        let [level, season] = &mut state.ranges;
        let mixture = self.entropy.score(&mut state.entropy, time, values).score;
        let mixture = mixture.filter(|_| state.records >= self.warmup.saturating_add(MIXTURE as u32));
        let last = state.entropy.last(LEVEL);
        let mean = (last.len() == LEVEL).then(|| last.sum::<f64>() / LEVEL as f64);
        let level = mean.and_then(|mean| self.beyond(level, time, mean, value));
        let expected = state.slots.expect(time, value);
        let season = expected.and_then(|expected| self.beyond(season, time, value - expected, value));
        Score {
            score: [level, season, mixture].into_iter().flatten().reduce(f64::max),
            expected,
            ..Score::WARMING
        }
    }

    fn memory(&self, state: &AutoState) -> usize {
        // What each takes beside its own size, which is part of that of the whole.
        size_of::<AutoState>()
            + state.slots.heap()
            + (self.entropy.memory(&state.entropy) - size_of::<EntropyState>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(at: i64) -> EventTime {
        EventTime::from_secs(300 * at).unwrap()
    }

    /// A daily season with a little noise.
    fn value(at: i64) -> f64 {
        let hour = (at % 288) as f64 / 12.0;
        let noise = (at * 7919 % 101) as f64 / 101.0;
        20.0 + (hour - 12.0).abs() + noise
    }

    fn scores(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let detector = Auto::new(30).unwrap();
        let mut state = detector.start(0);
        let score = |(at, value)| detector.score(&mut state, minute(at), &[value]).score.unwrap_or(0.0);
        (0..).zip(values).map(score).collect()
    }

    #[test]
    fn what_is_new_is_said_and_what_was_there_before_is_not() {
        let weeks = 4 * 7 * 288;
        let calm = scores((0..weeks).map(value));
        let loud = calm[2 * 7 * 288..].iter().filter(|score| **score >= 0.0175).count();
        assert!(loud < 10, "{loud} anomalies in two weeks like those before");
        for (what, at, change) in [
            ("a spike", 8_000, (|_, value| value + 30.0) as fn(i64, f64) -> f64),
            ("a level", 7_800, |_, value| value + 8.0),
            ("a flat line", 7_700, |_, _| 26.0),
            ("a jitter", 7_700, |at, value| value + 6.0 * (at % 2) as f64),
        ] {
            let end = if what == "a spike" { at + 1 } else { weeks };
            let changed =
                (0..weeks)
                    .map(|now| if (at..end).contains(&now) { change(now, value(now)) } else { value(now) });
            let found = scores(changed)[at as usize..(at as usize + 100).min(weeks as usize)]
                .iter()
                .any(|score| *score >= 0.0175);
            assert!(found, "{what} is not found");
        }
    }

    #[test]
    fn the_level_that_a_series_has_shifted_to_becomes_normal() {
        let values = (0..6_000).map(|at| value(at) + if at >= 3_000 { 50.0 } else { 0.0 });
        let found = scores(values);
        assert!(found[3_000] > 0.5, "{}", found[3_000]);
        let loud = found[3_600..].iter().filter(|score| **score >= 0.0175).count();
        assert!(loud < 10, "{loud} anomalies after two days of it");
    }

    #[test]
    fn a_value_that_cannot_be_learned_leaves_no_trace() {
        let mut values: Vec<_> = (0..1_000).map(value).collect();
        let expected = scores(values.clone());
        // Beside one that can, at the same time.
        values.insert(500, 1e200);
        let detector = Auto::new(30).unwrap();
        let mut state = detector.start(0);
        let score = |(at, value): (usize, &f64)| {
            let time = minute(at as i64 - i64::from(at >= 500));
            detector.score(&mut state, time, &[*value]).score.unwrap_or(0.0)
        };
        let mut found: Vec<_> = values.iter().enumerate().map(score).collect();
        assert_eq!(BEYOND_MEASURE, found.remove(500));
        assert_eq!(expected, found);
    }

    #[test]
    fn memory_is_bounded() {
        let detector = Auto::new(30).unwrap();
        let mut state = detector.start(0);
        for at in 0..3_000 {
            detector.score(&mut state, minute(at), &[value(at)]);
        }
        let bytes = detector.memory(&state);
        assert!(bytes <= 4_096, "{bytes}");
    }
}
