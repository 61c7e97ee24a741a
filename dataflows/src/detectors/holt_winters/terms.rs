//! Level, trend and season, and how they follow each other.

use serde::{Deserialize, Serialize};

use super::super::LEARNABLE;

/// How level, trend and season are smoothed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Smoothing {
    pub(super) season: usize,
    pub(super) alpha: f64,
    pub(super) beta: f64,
    pub(super) gamma: f64,
    pub(super) multiplicative: bool,
}

/// Where a forecast has run away, which only values near [`LEARNABLE`] or unstable weights can do: there is none.
const RUN_AWAY: f64 = 1e250;

impl Smoothing {
    /// Puts a seasonal term on a value.
    fn with(&self, value: f64, seasonal: f64) -> f64 {
        if self.multiplicative {
            value * seasonal
        } else {
            value + seasonal
        }
    }

    /// Takes a level, or a seasonal term, out of a value; there is nothing to learn from a quotient by next to nothing.
    fn without(&self, value: f64, term: f64) -> Option<f64> {
        let rest = if self.multiplicative { value / term } else { value - term };
        Some(rest).filter(|rest| rest.abs() <= 2.0 * LEARNABLE)
    }
}

/// Level, trend and season of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// The seasonal terms; the first values, until there are enough.
    pub(super) season: Vec<f64>,
    level: f64,
    trend: f64,
    /// Which seasonal term is next.
    at: u16,
    /// Whether the first values were enough.
    begun: bool,
}

impl Terms {
    /// Takes one of the first values; finds level, trend and season when there are enough.
    pub(super) fn begin(&mut self, value: f64, by: &Smoothing) {
        self.season.push(value);
        let number = self.season.len();
        if number < by.season.max(2) {
            return;
        }
        self.level = self.season.iter().sum::<f64>() / number as f64;
        self.trend = (self.season[number - 1] - self.season[0]) / (number - 1) as f64;
        let none = if by.multiplicative { 1.0 } else { 0.0 };
        if by.season == 1 {
            self.season = vec![none];
        } else {
            let level = self.level;
            self.season.iter_mut().for_each(|value| *value = by.without(*value, level).unwrap_or(none));
        }
        self.begun = true;
    }

    /// What the next value should be, unless that is not known yet, or has run away.
    #[inline]
    pub(super) fn forecast(&self, by: &Smoothing) -> Option<f64> {
        let forecast = || by.with(self.level + self.trend, self.season[usize::from(self.at)]);
        self.begun.then(forecast).filter(|forecast| forecast.abs() < RUN_AWAY)
    }

    /// Learns the next value.
    #[inline]
    pub(super) fn learn(&mut self, value: f64, by: &Smoothing) {
        let at = usize::from(self.at);
        let (seasonal, ahead) = (self.season[at], self.level + self.trend);
        let level = by.alpha * by.without(value, seasonal).unwrap_or(ahead) + (1.0 - by.alpha) * ahead;
        self.trend = by.beta * (level - self.level) + (1.0 - by.beta) * self.trend;
        self.level = level;
        if by.season > 1 {
            let new = by.without(value, ahead).unwrap_or(seasonal);
            self.season[at] = by.gamma * new + (1.0 - by.gamma) * seasonal;
            self.at = if at + 1 == by.season { 0 } else { self.at + 1 };
        }
    }

    /// Whether there are forecasts, or were before they ran away.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The forecasts from the equations, with every term of the past kept.
    fn forecasts_slow(by: &Smoothing, values: &[f64]) -> Vec<Option<f64>> {
        let first = by.season.max(2);
        let mut forecasts = vec![None; first.min(values.len())];
        if values.len() < first {
            return forecasts;
        }
        let mean = values[..first].iter().sum::<f64>() / first as f64;
        let steps: f64 = values[..first].windows(2).map(|pair| pair[1] - pair[0]).sum();
        let (mut level, mut trend) = (vec![mean], vec![steps / (first - 1) as f64]);
        let term = |value: &f64| match (by.season, by.multiplicative) {
            (1, true) => 1.0,
            (1, false) => 0.0,
            (_, true) => value / mean,
            (_, false) => value - mean,
        };
        let mut seasonal: Vec<f64> = values[..first].iter().map(term).collect();
        for x in &values[first..] {
            let (l, b) = (level[level.len() - 1], trend[trend.len() - 1]);
            let s = seasonal[seasonal.len() - by.season];
            let (forecast, rest, share) = match by.multiplicative {
                true => ((l + b) * s, x / s, x / (l + b)),
                false => (l + b + s, x - s, x - l - b),
            };
            forecasts.push(Some(forecast));
            level.push(by.alpha * rest + (1.0 - by.alpha) * (l + b));
            trend.push(by.beta * (level[level.len() - 1] - l) + (1.0 - by.beta) * b);
            seasonal.push(if by.season == 1 { s } else { by.gamma * share + (1.0 - by.gamma) * s });
        }
        forecasts
    }

    proptest! {
        #[test]
        fn forecasts_agree_with_a_recomputation_from_all_terms_of_the_past(
            season in 1usize..8, multiplicative in any::<bool>(),
            alpha in 0.05..0.9, beta in 0.0..0.5, gamma in 0.0..0.5,
            values in prop::collection::vec(-1.0..1.0, 0..80),
        ) {
            let by = Smoothing { season, alpha, beta, gamma, multiplicative };
            let value = |(at, value): (usize, f64)| 20.0 + (at % season) as f64 + value;
            let values: Vec<f64> = values.into_iter().enumerate().map(value).collect();
            let mut terms = Terms::default();
            for (at, (value, slow)) in values.iter().zip(forecasts_slow(&by, &values)).enumerate() {
                let fast = terms.forecast(&by);
                prop_assert_eq!(slow.is_some(), fast.is_some(), "at {}", at);
                let (slow, fast) = (slow.unwrap_or(0.0), fast.unwrap_or(0.0));
                prop_assert!((slow - fast).abs() <= 1e-9 * slow.abs().max(1.0), "{} but {} at {}", slow, fast, at);
                if terms.begun() {
                    terms.learn(*value, &by);
                } else {
                    terms.begin(*value, &by);
                }
            }
        }
    }
}
