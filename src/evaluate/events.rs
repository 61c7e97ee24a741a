//! Alarms and windows, as a person on call counts them.

use tidewatch_dataflows::Span;

use super::Series;

/// How many alarms there were, and how many of what was anomalous they found.
///
/// An *alarm* is a longest run of anomalous records of a key. It is true if one of them is in a window; a window is found if
/// there is an anomalous record in it, with a delay from the first record in the window to the first anomalous one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// How many alarms there were.
    pub alarms: usize,
    /// How many of them were true.
    pub true_alarms: usize,
    /// How many windows there are.
    pub windows: usize,
    /// How many of them were found.
    pub found: usize,
    /// For each one that was found, how long that took; in ascending order.
    pub delays: Vec<Span>,
    /// From the first to the last record of each key, all together.
    pub observed: Span,
}

impl Events {
    /// Those of a key, with each row as anomalous whose score is at least `threshold`, or which was called so.
    pub fn of(series: &Series, threshold: Option<f64>) -> Self {
        let windows = series.windows.len() + series.unseen;
        let mut events = Self { windows, ..Self::default() };
        if let (Some(first), Some(last)) = (series.rows.first(), series.rows.last()) {
            events.observed = last.time.since(first.time);
        }
        let mut found = vec![false; series.windows.len()];
        // Whether the row before is of an alarm, and whether that is true.
        let mut alarm: Option<bool> = None;
        for (at, row) in series.rows.iter().enumerate() {
            let anomalous = threshold.map_or(row.anomalous, |threshold| row.score >= threshold);
            if !anomalous {
                events.end(alarm.take());
                continue;
            }
            let window = series.window_of(at);
            if let Some(window) = window.filter(|window| !std::mem::replace(&mut found[*window], true)) {
                let start = series.rows[series.windows[window].start].time;
                events.delays.push(row.time.since(start));
            }
            alarm = Some(alarm.unwrap_or(false) || window.is_some());
        }
        events.end(alarm);
        events.found = events.delays.len();
        events.delays.sort();
        events
    }

    fn end(&mut self, alarm: Option<bool>) {
        self.alarms += usize::from(alarm.is_some());
        self.true_alarms += usize::from(alarm == Some(true));
    }

    /// Those of several keys.
    pub fn sum<'a>(events: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for one in events {
            sum.alarms += one.alarms;
            sum.true_alarms += one.true_alarms;
            sum.windows += one.windows;
            sum.found += one.found;
            sum.delays.extend(&one.delays);
            sum.observed = Span::from_micros(sum.observed.micros().saturating_add(one.observed.micros()));
        }
        sum.delays.sort();
        sum
    }

    /// The share of alarms that were true, in `[0, 1]`; `None` without alarms.
    pub fn precision(&self) -> Option<f64> {
        share(self.true_alarms, self.alarms)
    }

    /// The share of windows that were found, in `[0, 1]`; `None` without windows.
    pub fn recall(&self) -> Option<f64> {
        share(self.found, self.windows)
    }

    /// The harmonic mean of precision and recall, in `[0, 1]`; `None` without windows. Without alarms it is 0.
    pub fn f1(&self) -> Option<f64> {
        let (precision, recall) = (self.precision().unwrap_or(0.0), self.recall()?);
        Some(if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 })
    }

    /// The median of the delays.
    pub fn median_delay(&self) -> Option<Span> {
        self.delays.get(self.delays.len().checked_sub(1)? / 2).copied()
    }

    /// Alarms per day and key.
    pub fn alarms_per_day(&self) -> Option<f64> {
        let days = self.observed.seconds() / 86_400.0;
        (days > 0.0).then(|| self.alarms as f64 / days)
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The area under the curve of precision over recall, row by row, as average precision: `Σ (R_n - R_{n-1}) P_n` over all
/// thresholds from the highest score down (Manning, Raghavan and Schütze 2008, *Introduction to Information Retrieval*,
/// section 8.4); `None` if no row is in a window.
pub(super) fn average_precision<'a>(series: impl IntoIterator<Item = &'a Series>) -> Option<f64> {
    let mut rows = Vec::new();
    for series in series {
        let row = |(at, row): (usize, &super::Row)| (row.score, series.window_of(at).is_some());
        rows.extend(series.rows.iter().enumerate().map(row));
    }
    let positive = rows.iter().filter(|(_, positive)| *positive).count();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut area, mut hits, mut alarms) = (0.0, 0, 0);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let more = tied.iter().filter(|(_, positive)| *positive).count();
        (hits, alarms) = (hits + more, alarms + tied.len());
        area += more as f64 * hits as f64 / alarms as f64;
    }
    (positive > 0).then(|| area / positive as f64)
}
