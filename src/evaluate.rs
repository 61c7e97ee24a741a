//! How well detections agree with labels: windows of event time in which a key was anomalous.
//!
//! Two ways to judge the same verdicts. [`Nab`] is the score of the Numenta Anomaly Benchmark, which pays for early
//! detection and tries every threshold; [`Events`] counts alarms and windows as a person on call would, at the thresholds of the
//! pipeline. [`Spread`] says how far a figure would move with other keys of the same sort. [`Tuning`] tries the configurations of
//! a [`Grid`].

mod events;
mod grid;
mod labels;
mod nab;
mod report;
mod spread;
mod tuning;
mod verdicts;

use std::collections::BTreeMap;
use std::ops::Range;

use tidewatch_dataflows::EventTime;

pub use events::Events;
pub use grid::{Configuration, Grid, Varied};
pub use labels::{Label, Labels};
pub use nab::{Nab, Profile, Worth};
pub use report::{Report, Terms};
pub use spread::{cross_validated, resampled, Spread};
pub use tuning::{Chosen, Tuned, Tuning};
pub use verdicts::{Listener, Verdicts};

use crate::Error;

/// What a detection says of one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// When it was observed.
    pub time: EventTime,
    /// How anomalous it is; below all numbers where there is no score.
    pub score: f64,
    /// Whether the detection calls it an anomaly.
    pub anomalous: bool,
}

/// What a detection says of a key, and when that was anomalous.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The key, its parts with slashes between them.
    pub key: String,
    /// One per record, in time order.
    pub rows: Vec<Row>,
    /// The rows of each labelled window: in order, none empty, none overlapping.
    pub windows: Vec<Range<usize>>,
    /// How many labelled windows have no row, which are missed.
    pub unseen: usize,
}

impl Series {
    /// The window that a row is in, by its number.
    fn window_of(&self, row: usize) -> Option<usize> {
        let window = self.windows.partition_point(|window| window.end <= row);
        self.windows.get(window).filter(|found| found.contains(&row)).map(|_| window)
    }
}

/// Finds the rows of each window; for each detection its series, in the order of their keys.
///
/// # Errors
///
/// [`Error::Usage`] if a label names a key or a time of which no detection says anything, or if windows of a key overlap.
pub fn match_up(verdicts: Verdicts, labels: &Labels) -> Result<BTreeMap<String, Vec<Series>>, Error> {
    let verdicts = verdicts.into_detections();
    for label in labels.iter() {
        let of_key: Vec<_> = verdicts.values().filter_map(|keys| keys.get(&label.key)).collect();
        if of_key.is_empty() {
            return Err(labels.refuse(label, "nothing was said of the key"));
        }
        if of_key.iter().all(|rows| label.rows(rows).is_empty()) {
            return Err(labels.refuse(label, "nothing was said of the key at this time"));
        }
    }
    let mut detections = BTreeMap::new();
    for (detection, mut keys) in verdicts {
        for label in labels.iter() {
            // One that speaks only when something is wrong.
            keys.entry(label.key.clone()).or_default();
        }
        let mut all = Vec::new();
        for (key, rows) in keys {
            let (mut windows, mut unseen): (Vec<Range<usize>>, _) = (Vec::new(), 0);
            for label in labels.of(&key) {
                let window = label.rows(&rows);
                if window.is_empty() {
                    unseen += 1;
                    continue;
                }
                if windows.last().is_some_and(|before| before.end > window.start) {
                    return Err(labels.refuse(label, "overlaps the window before it"));
                }
                windows.push(window);
            }
            all.push(Series { key, rows, windows, unseen });
        }
        detections.insert(detection, all);
    }
    Ok(detections)
}

#[cfg(test)]
mod tests;
