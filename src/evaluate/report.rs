//! What is said of a detection.

use std::fmt::{self, Write};

use serde_json::{json, Value};

use super::events::average_precision;
use super::{cross_validated, resampled, Events, Nab, Profile, Series, Spread};

/// How a detection is judged.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The score from which a record is an alarm; by default what the verdicts say, and for the score of the benchmark the
    /// best one.
    pub threshold: Option<f64>,
    /// Over how many halves of the keys the score of the benchmark is cross-validated.
    pub splits: usize,
    /// How often keys are drawn anew for intervals.
    pub samples: usize,
    /// What halves and draws follow from.
    pub seed: u64,
}

/// How well a detection agrees with labels.
#[derive(Clone, Debug)]
pub struct Report {
    detection: String,
    records: usize,
    /// For each profile the score and its interval.
    nab: Vec<(Profile, Nab, Option<Spread>)>,
    cross_validated: Option<Spread>,
    events: Events,
    precision: Option<Spread>,
    recall: Option<Spread>,
    f1: Option<Spread>,
    average_precision: Option<f64>,
    /// For each key its alarms, and its score at the threshold of the standard profile.
    keys: Vec<(String, Events, Nab)>,
}

impl Report {
    /// Judges a detection by what it says of all keys.
    pub fn of(detection: &str, series: &[Series], terms: Terms) -> Self {
        let Terms { threshold, splits, samples, seed } = terms;
        let nab = |profile: Profile| {
            let nab = match threshold {
                Some(threshold) => Nab::at(series, profile, threshold),
                None => Nab::best(series, profile),
            };
            // At one threshold a score is a sum over keys.
            let alone = |series: &Series| Nab::at([series], profile, nab.threshold);
            let alone: Vec<_> = series.iter().map(alone).collect();
            let interval = resampled(&alone, samples, seed, |drawn| {
                let windows: usize = drawn.iter().map(|nab| nab.windows).sum();
                let gain: f64 = drawn.iter().map(|nab| nab.gain).sum();
                (windows > 0).then(|| 100.0 * gain / (windows as f64 * (profile.hit + profile.miss)))
            });
            (profile, nab, interval)
        };
        let nab: Vec<_> = Profile::ALL.into_iter().map(nab).collect();
        let standard = nab[0].1.threshold;
        let events: Vec<_> = series.iter().map(|series| Events::of(series, threshold)).collect();
        let interval = |figure: fn(&Events) -> Option<f64>| {
            resampled(&events, samples, seed, |drawn| figure(&Events::sum(drawn.iter().copied())))
        };
        let (precision, recall, f1) =
            (interval(Events::precision), interval(Events::recall), interval(Events::f1));
        let cross_validated = cross_validated(series, Profile::STANDARD, splits, seed);
        let total = Events::sum(&events);
        let key = |(series, events): (&Series, Events)| {
            (series.key.clone(), events, Nab::at([series], Profile::STANDARD, standard))
        };
        Self {
            detection: detection.to_owned(),
            records: series.iter().map(|series| series.rows.len()).sum(),
            nab,
            cross_validated,
            events: total,
            precision,
            recall,
            f1,
            average_precision: average_precision(series),
            keys: series.iter().zip(events).map(key).collect(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let nab = |(profile, nab, spread): &(Profile, Nab, Option<Spread>)| {
            (profile.name.to_owned(), nab_json(nab, *spread))
        };
        let events = |events: &Events| {
            json!({
                "alarms": events.alarms,
                "true_alarms": events.true_alarms,
                "windows": events.windows,
                "found": events.found,
                "precision": events.precision(),
                "recall": events.recall(),
                "f1": events.f1(),
                "median_delay_s": events.median_delay().map(|delay| delay.seconds()),
                "alarms_per_day": events.alarms_per_day(),
            })
        };
        let key = |(key, of_key, nab): &(String, Events, Nab)| json!({ "key": key, "events": events(of_key), "nab_standard": nab.score });
        let halves = self.cross_validated.map(
            |spread| json!({ "mean": spread.mean, "deviation": spread.deviation, "halves": spread.count }),
        );
        json!({
            "detector": self.detection,
            "keys": self.keys.len(),
            "records": self.records,
            "nab": self.nab.iter().map(nab).collect::<serde_json::Map<_, _>>(),
            "nab_cross_validated": halves,
            "events": events(&self.events),
            "intervals": {
                "precision": interval(self.precision),
                "recall": interval(self.recall),
                "f1": interval(self.f1),
            },
            "average_precision": self.average_precision,
            "by_key": self.keys.iter().map(key).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let Events { alarms, true_alarms, windows, found, .. } = &self.events;
        let mut text = format!(
            "{}: {} keys, {} records, {windows} windows\n\n",
            self.detection,
            self.keys.len(),
            self.records
        );
        for (profile, nab, spread) in &self.nab {
            let _ = writeln!(text, "{}", nab_line(profile, nab, *spread));
        }
        if let Some(Spread { mean, deviation, count, .. }) = self.cross_validated {
            let _ = writeln!(
                text,
                "cross-validated    {mean:8.3} ± {deviation:.3}: the other half of the keys, over {count} halves"
            );
        }
        let _ = writeln!(
            text,
            "\nprecision          {:>8} {:<18} {true_alarms} of {alarms} alarms are true\n\
             recall             {:>8} {:<18} {found} of {windows} windows are found, after {} (median)\n\
             F1                 {:>8} {}\n\
             average precision  {:>8}\n\
             alarms             {:>8} per day and key",
            number(self.events.precision()),
            Interval(self.precision),
            number(self.events.recall()),
            Interval(self.recall),
            self.events.median_delay().map_or("–".to_owned(), |delay| delay.to_string()),
            number(self.events.f1()),
            Interval(self.f1),
            number(self.average_precision),
            number(self.events.alarms_per_day()),
        );
        let width = self.keys.iter().map(|(key, ..)| key.chars().count()).max().unwrap_or(0).max(3);
        let _ = writeln!(
            text,
            "\n{:width$}  {:>7} {:>5} {:>6} {:>5} {:>8} {:>8}  median delay",
            "key", "windows", "found", "alarms", "false", "per day", "NAB"
        );
        for (key, events, nab) in &self.keys {
            let _ = writeln!(
                text,
                "{key:width$}  {:>7} {:>5} {:>6} {:>5} {:>8} {:>8}  {}",
                events.windows,
                events.found,
                events.alarms,
                events.alarms - events.true_alarms,
                number(events.alarms_per_day()),
                number(nab.score.is_finite().then_some(nab.score)),
                events.median_delay().map_or("–".to_owned(), |delay| delay.to_string()),
            );
        }
        text
    }
}

/// The score of the benchmark in a profile, and its interval if there is one: for programs,
pub(super) fn nab_json(nab: &Nab, spread: Option<Spread>) -> Value {
    json!({
        "score": nab.score,
        "interval": interval(spread),
        "threshold": nab.threshold,
        "missed": nab.missed,
        "outside": nab.outside,
    })
}

/// and for people.
pub(super) fn nab_line(profile: &Profile, nab: &Nab, spread: Option<Spread>) -> String {
    let Nab { score, threshold, missed, outside, .. } = nab;
    format!(
        "NAB {:<14} {:>8} {:<18} threshold {threshold}, missed {missed}, alarms outside {outside}",
        profile.name,
        number(score.is_finite().then_some(*score)),
        Interval(spread),
    )
}

fn interval(spread: Option<Spread>) -> Option<[f64; 2]> {
    spread.map(|spread| [spread.lower, spread.upper])
}

fn number(number: Option<f64>) -> String {
    number.map_or("–".to_owned(), |number| format!("{number:.3}"))
}

/// Where 95 % of the draws lie.
struct Interval(Option<Spread>);

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Spread { lower, upper, .. }) => f.pad(&format!("[{lower:.3}, {upper:.3}]")),
            None => f.pad(""),
        }
    }
}
