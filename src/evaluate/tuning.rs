//! Configurations that are chosen on one half of the keys and scored on the other: nested cross-validation.
//!
//! Whoever tries many configurations and reports the best one reports luck too. So for each split of the keys into two random
//! halves, configuration and threshold are those with the best score on one half, and what counts is their score on the
//! other; then the halves change places. (Stone 1974, *Cross-validatory choice and assessment of statistical predictions*,
//! section 3; Varma and Simon 2006, *Bias in error estimation when using cross-validation for model selection*.)
//!
//! Configurations are tried one after the other, and of each nothing is kept but what a half chooses: splits are known
//! beforehand, and whether a configuration is better than those before it hangs on none that follows.

mod report;

use std::collections::BTreeMap;

use super::nab::gains;
use super::spread::halves;
use super::{Nab, Profile, Series, Spread};

pub use report::Tuned;

/// By which score configurations are chosen.
const PROFILE: Profile = Profile::STANDARD;
/// What is not better by more than this is equally good: sums of gains are rounded.
const ROUNDING: f64 = 1e-9;

/// The choice among configurations that are tried one after the other.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The number of each key.
    keys: BTreeMap<String, usize>,
    windows: usize,
    splits: Vec<Split>,
    /// Of each configuration the best score on all keys.
    scores: Vec<f64>,
    best: Option<(usize, [Nab; 3])>,
}

/// Keys that are split into two halves, 0 and 1.
#[derive(Clone, Debug)]
struct Split {
    /// Of each key, by its number, its half.
    half_of: Vec<usize>,
    /// How many windows each half has; at least one.
    windows: [usize; 2],
    /// What each half chooses.
    chosen: [Option<Chosen>; 2],
}

/// What is best on one half of the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chosen {
    /// The configuration, by its number; of equally good ones the first.
    pub configuration: usize,
    /// The threshold; of equally good ones the highest.
    pub threshold: f64,
    /// What they gain on the half that chose them.
    gain: f64,
    /// The score on the other half.
    pub score: f64,
}

/// What a key gains more with a threshold than with the next higher one.
struct Step {
    threshold: f64,
    key: usize,
    gain: f64,
}

impl Tuning {
    /// A choice by the keys of `series`, over random halves as [`cross_validated`](super::cross_validated) has them. A split of
    /// which a half has no window counts for nothing.
    pub fn new(series: &[Series], splits: usize, seed: u64) -> Self {
        let windows_of = |series: &Series| series.windows.len() + series.unseen;
        let split = |(first, second): (Vec<usize>, Vec<usize>)| {
            let mut half_of = vec![0; series.len()];
            second.iter().for_each(|key| half_of[*key] = 1);
            let windows = [first, second].map(|half| half.iter().map(|key| windows_of(&series[*key])).sum());
            (!windows.contains(&0)).then_some(Split { half_of, windows, chosen: [None; 2] })
        };
        Self {
            keys: (0..).zip(series).map(|(number, series)| (series.key.clone(), number)).collect(),
            windows: series.iter().map(windows_of).sum(),
            splits: halves(series.len(), splits, seed).filter_map(split).collect(),
            scores: Vec::new(),
            best: None,
        }
    }

    /// Tries the next configuration, by what it says of all keys.
    pub fn offer(&mut self, series: &[Series]) {
        let number = self.scores.len();
        let standard = Nab::best(series, PROFILE);
        if self.best.is_none_or(|(_, best)| standard.score > best[0].score) {
            self.best = Some((number, Profile::ALL.map(|profile| Nab::best(series, profile))));
        }
        self.scores.push(standard.score);
        let steps = self.steps(series);
        self.splits.iter_mut().for_each(|split| split.offer(number, &steps));
    }

    /// What all keys gain, from no alarm at all, which is at an infinite threshold, to the lowest one.
    fn steps(&mut self, series: &[Series]) -> Vec<Step> {
        let mut steps = Vec::new();
        for series in series {
            let key = self.number(&series.key);
            let mut before = 0.0;
            for (threshold, gain) in gains(series, PROFILE) {
                steps.push(Step { threshold, key, gain: gain - before });
                before = gain;
            }
        }
        // Those of one threshold keep their order, so that sums are the same each time.
        steps.sort_by(|a, b| b.threshold.total_cmp(&a.threshold));
        steps
    }

    /// The number of a key. One of which only some configurations speak has no window, or all would have spoken of it; it goes to one
    /// half or the other by turns.
    fn number(&mut self, key: &str) -> usize {
        if let Some(number) = self.keys.get(key) {
            return *number;
        }
        let number = self.keys.len();
        self.keys.insert(key.to_owned(), number);
        (0..).zip(&mut self.splits).for_each(|(at, split): (usize, _)| split.half_of.push((number + at) % 2));
        number
    }

    /// How many keys and labelled windows there are.
    pub fn extent(&self) -> (usize, usize) {
        (self.keys.len(), self.windows)
    }

    /// The best score of each configuration on all keys, at a threshold of its own.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The configuration with the highest of them, by its number, and its scores in all profiles, each at its best threshold.
    pub fn best(&self) -> Option<(usize, [Nab; 3])> {
        self.best
    }

    /// What each half of each split has chosen.
    pub fn chosen(&self) -> impl Iterator<Item = Chosen> + '_ {
        self.splits.iter().flat_map(|split| split.chosen).flatten()
    }

    /// How what was chosen scores on the other halves; `None` if there is no split with windows in both halves.
    pub fn cross_validated(&self) -> Option<Spread> {
        Spread::of(self.chosen().map(|chosen| chosen.score).collect())
    }

    /// How often each configuration was chosen, the most often chosen first.
    pub fn counts(&self) -> Vec<(usize, usize)> {
        let mut counts = BTreeMap::new();
        self.chosen().for_each(|chosen| *counts.entry(chosen.configuration).or_default() += 1);
        let mut counts: Vec<(usize, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

impl Split {
    /// Goes through all thresholds once, for both halves.
    fn offer(&mut self, configuration: usize, steps: &[Step]) {
        let mut gains = [0.0; 2];
        for of_one in steps.chunk_by(|a, b| a.threshold == b.threshold) {
            of_one.iter().for_each(|step| gains[self.half_of[step.key]] += step.gain);
            for half in [0, 1] {
                let (gain, elsewhere) = (gains[half], 1 - half);
                if self.chosen[half].is_none_or(|chosen| gain > chosen.gain + ROUNDING) {
                    let perfect = self.windows[elsewhere] as f64 * (PROFILE.hit + PROFILE.miss);
                    let (threshold, score) = (of_one[0].threshold, 100.0 * gains[elsewhere] / perfect);
                    self.chosen[half] = Some(Chosen { configuration, threshold, gain, score });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
