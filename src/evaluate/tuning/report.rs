//! What is said of configurations that were tried.

use std::fmt::Write;

use serde_json::{json, Map, Value};

use super::super::report::{nab_json, nab_line};
use super::super::{Grid, Profile, Spread, Varied};
use super::Tuning;
use crate::progress::counted;

/// How many configurations are shown to people of those that were chosen.
const SHOWN: usize = 5;

/// What is said of a detection whose configurations were tried, all of them.
pub struct Tuned<'a> {
    /// The detection.
    pub detection: &'a str,
    /// What was tried.
    pub grid: &'a Grid,
    /// What came out.
    pub tuning: &'a Tuning,
}

impl Tuned<'_> {
    /// For each parameter and each of its values, the best score of all configurations that have it.
    fn best_by_value(&self) -> Vec<(&str, Vec<(&str, f64)>)> {
        let best = |name: &str, value: &str| {
            let scores = self.grid.configurations().zip(self.tuning.scores());
            let with = scores.filter(|(one, _)| one.values().any(|pair| pair == (name, value)));
            with.map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max)
        };
        let varied = self.grid.varied().iter().map(|Varied { name, values }| {
            let values = values.iter().map(|value| (value.as_str(), best(name, value)));
            (name.as_str(), values.collect())
        });
        varied.collect()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Self { detection, grid, tuning } = self;
        let (keys, windows) = tuning.extent();
        let parameters = |number| -> Map<_, _> { grid.configuration(number).values().map(spelled).collect() };
        let best = tuning.best().map(|(number, nab)| {
            let profiles = Profile::ALL.iter().zip(&nab);
            let profiles: Map<_, _> =
                profiles.map(|(profile, nab)| (profile.name.to_owned(), nab_json(nab, None))).collect();
            json!({ "parameters": parameters(number), "nab": profiles })
        });
        let cross_validated = tuning.cross_validated().map(
            |spread| json!({ "mean": spread.mean, "deviation": spread.deviation, "halves": spread.count }),
        );
        let chosen = tuning.counts().into_iter().map(|(number, halves)| {
            json!({ "parameters": parameters(number), "halves": halves, "nab_standard": tuning.scores()[number] })
        });
        let by_value = self.best_by_value().into_iter().map(|(name, scores)| {
            let score = |(value, score)| json!({ "value": spelled((name, value)).1, "nab_standard": score });
            (name.to_owned(), scores.into_iter().map(score).collect())
        });
        json!({
            "detector": detection,
            "keys": keys,
            "windows": windows,
            "configurations": grid.count(),
            "best": best,
            "nab_cross_validated": cross_validated,
            "chosen": chosen.collect::<Vec<_>>(),
            "by_value": by_value.collect::<Map<_, Value>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { detection, grid, tuning } = self;
        let (keys, windows) = tuning.extent();
        let counted = |number: usize, one| counted(number as u64, one);
        let mut text = format!(
            "{detection}: {}, {}, {}\n\n",
            counted(grid.count(), "configuration"),
            counted(keys, "key"),
            counted(windows, "window"),
        );
        if let Some((number, nab)) = tuning.best() {
            let _ = writeln!(text, "best of all keys   {}", grid.configuration(number));
            for (profile, nab) in Profile::ALL.iter().zip(&nab) {
                let _ = writeln!(text, "{}", nab_line(profile, nab, None));
            }
        }
        match tuning.cross_validated() {
            Some(Spread { mean, deviation, count, .. }) => {
                let _ = writeln!(
                    text,
                    "cross-validated    {mean:8.3} ± {deviation:.3}: the other half of the keys, with configuration and threshold of one, over {count} halves"
                );
            }
            None => text += "cross-validated           –: that takes windows of two keys\n",
        }
        let width = self.best_by_value().iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, scores) in self.best_by_value() {
            let scores: Vec<_> = scores.iter().map(|(value, score)| format!("{value}: {score:.3}")).collect();
            let _ = writeln!(text, "best with {name:width$}  {}", scores.join(", "));
        }
        let chosen = tuning.counts();
        if !chosen.is_empty() {
            text += "\nhalves      NAB  chosen\n";
        }
        for (number, halves) in chosen.iter().take(SHOWN) {
            let (score, configuration) = (tuning.scores()[*number], grid.configuration(*number));
            let _ = writeln!(text, "{halves:6} {score:8.3}  {configuration}");
        }
        if let Some(others @ 1..) = chosen.len().checked_sub(SHOWN) {
            let halves: usize = chosen[SHOWN..].iter().map(|(_, halves)| halves).sum();
            let _ = writeln!(text, "{halves:6}           {}", counted(others, "other"));
        }
        text
    }
}

/// A parameter with its value, which is a number if it can be one.
fn spelled((name, value): (&str, &str)) -> (String, Value) {
    let number = value.parse::<i64>().map(Value::from);
    let number = number.or_else(|_| value.parse::<f64>().map(Value::from));
    // Infinity is no number to JSON.
    let value = number.ok().filter(|number| !number.is_null()).unwrap_or_else(|| value.into());
    (name.to_owned(), value)
}
