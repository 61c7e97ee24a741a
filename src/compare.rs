//! Which alerts of one pipeline another one raises too, on the same records.
//!
//! Two alerts are one if they are of the same key, and of detections of the same name where that is asked for, and
//! their times overlap: both ends belong to an alert, so a common instant is enough. In order of start, each alert of
//! the first pipeline is paired with the first one of the second that overlaps it and that is not paired yet. So of
//! several alerts that overlap one, the earliest is that one, and the others appear or vanish.

mod alert;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use tidewatch_dataflows::EventTime;

pub use alert::Alert;
pub use report::{Counts, Report};

/// Which alerts may be one, if they overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// Those of the same key: of pipelines with one detection each, whatever it is called.
    OfKey,
    /// Those of the same key and of detections of the same name.
    OfKeyAndDetection,
}

/// What becomes of an alert where another pipeline takes the place of the one that raised it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate<'a> {
    /// The other one raises it too: from the same start to the same end, and as severe.
    Same(&'a Alert, &'a Alert),
    /// The other one raises it too, but it starts or ends at another time or is of another severity.
    Moved(&'a Alert, &'a Alert),
    /// The other one does not raise it.
    Vanished(&'a Alert),
    /// Only the other one raises it.
    Appeared(&'a Alert),
}

impl<'a> Fate<'a> {
    fn of(a: &'a Alert, b: &'a Alert) -> Self {
        match (a.start, a.end, a.severity) == (b.start, b.end, b.severity) {
            true => Self::Same(a, b),
            false => Self::Moved(a, b),
        }
    }

    /// The alert as the one pipeline raises it, and as the other one does.
    pub fn sides(self) -> [Option<&'a Alert>; 2] {
        match self {
            Self::Same(a, b) | Self::Moved(a, b) => [Some(a), Some(b)],
            Self::Vanished(a) => [Some(a), None],
            Self::Appeared(b) => [None, Some(b)],
        }
    }

    /// When it starts first.
    fn start(self) -> Option<EventTime> {
        self.sides().into_iter().flatten().map(|alert| alert.start).min()
    }
}

/// What becomes of the alerts of `a` where those of `b` take their place: of each one, and in any order of either, in
/// order of start and key.
///
/// # Law
///
/// Each alert of `a` is in exactly one fate, and so is each one of `b`. With `a` and `b` exchanged, what appeared has
/// vanished. No alert that has vanished overlaps one that has appeared, if the two are [`Alike`].
///
/// # Examples
///
/// ```
/// use tidewatch::compare::{compare, Alert, Alike, Fate};
///
/// let line = |start: &str, end: &str| {
///     let line = format!(
///         r#"{{"key":{{"host":"h"}},"id":"0","event":"closed","severity":"warning","detector":"slow","start":"{start}","end":"{end}"}}"#
///     );
///     Alert::read("alerts.jsonl", line.as_bytes())
/// };
/// let a = line("2024-01-01T08:00:00Z", "2024-01-01T09:00:00Z")?;
/// let b = line("2024-01-01T08:05:00Z", "2024-01-01T09:00:00Z")?;
/// assert_eq!([Fate::Moved(&a[0], &b[0])], *compare(&a, &b, Alike::OfKey));
/// # Ok::<(), tidewatch::Error>(())
/// ```
pub fn compare<'a>(a: &'a [Alert], b: &'a [Alert], alike: Alike) -> Vec<Fate<'a>> {
    let mut series: BTreeMap<_, [Vec<&Alert>; 2]> = BTreeMap::new();
    for (side, alerts) in [a, b].into_iter().enumerate() {
        for alert in alerts {
            let detection = (alike == Alike::OfKeyAndDetection).then_some(&alert.detector);
            series.entry((&alert.key, detection)).or_default()[side].push(alert);
        }
    }
    let mut fates: Vec<_> = series.into_values().flat_map(|[a, b]| pair(a, b)).collect();
    // Stable: at one time, in order of key.
    fates.sort_by_key(|fate| fate.start());
    fates
}

/// Pairs alerts that may be one.
fn pair<'a>(mut a: Vec<&'a Alert>, mut b: Vec<&'a Alert>) -> Vec<Fate<'a>> {
    a.sort_unstable();
    b.sort_unstable();
    let (mut a, mut b) = (&a[..], &b[..]);
    let mut fates = Vec::with_capacity(a.len().max(b.len()));
    loop {
        let (fate, later_a, later_b) = match (a, b) {
            ([], []) => return fates,
            ([x, a @ ..], [y, b @ ..]) if x.overlaps(y) => (Fate::of(x, y), a, b),
            ([x, a @ ..], []) => (Fate::Vanished(x), a, b),
            // All others of the second one start later still.
            ([x, a @ ..], [y, ..]) if x.end < y.start => (Fate::Vanished(x), a, b),
            (_, [y, b @ ..]) => (Fate::Appeared(y), a, b),
        };
        fates.push(fate);
        (a, b) = (later_a, later_b);
    }
}
