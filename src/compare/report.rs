//! What is said of two pipelines.

use std::fmt::Write;

use indicatif::HumanCount;
use serde_json::{json, Value};
use tidewatch_dataflows::EventTime;

use super::{Alert, Fate};
use crate::progress::counted;

/// How many alerts have which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Both pipelines raise them, alike.
    pub same: u64,
    /// Both raise them, at other times or of another severity.
    pub moved: u64,
    /// Only the second one raises them.
    pub appeared: u64,
    /// Only the first one raises them.
    pub vanished: u64,
}

impl Counts {
    /// Counts fates.
    pub fn of(fates: &[Fate<'_>]) -> Self {
        let mut counts = Self::default();
        for fate in fates {
            *match fate {
                Fate::Same(..) => &mut counts.same,
                Fate::Moved(..) => &mut counts.moved,
                Fate::Appeared(_) => &mut counts.appeared,
                Fate::Vanished(_) => &mut counts.vanished,
            } += 1;
        }
        counts
    }

    /// How many alerts each pipeline raises.
    pub fn alerts(self) -> [u64; 2] {
        let Self { same, moved, appeared, vanished } = self;
        [same + moved + vanished, same + moved + appeared]
    }
}

/// How the alerts of two pipelines differ.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What the pipelines are called.
    pub files: [&'a str; 2],
    /// What becomes of the alerts, in the order in which it is told.
    pub fates: &'a [Fate<'a>],
}

impl Report<'_> {
    fn differences(&self) -> impl Iterator<Item = &Fate<'_>> {
        self.fates.iter().filter(|fate| !matches!(fate, Fate::Same(..)))
    }

    /// For programs: an object for each difference, and one with the counts.
    pub fn json(&self) -> Vec<Value> {
        let Counts { same, moved, appeared, vanished } = Counts::of(self.fates);
        let [a, b] = Counts::of(self.fates).alerts();
        let [file_a, file_b] = self.files;
        let counts = json!({
            "a": { "file": file_a, "alerts": a },
            "b": { "file": file_b, "alerts": b },
            "same": same,
            "moved": moved,
            "appeared": appeared,
            "vanished": vanished,
        });
        self.differences().map(difference).chain([counts]).collect()
    }

    /// For people: a line for each difference, and one with the counts.
    pub fn text(&self) -> String {
        let mut text = table(self.differences().map(row).collect());
        let Counts { same, moved, appeared, vanished } = Counts::of(self.fates);
        let [a, b] = Counts::of(self.fates).alerts();
        let [file_a, file_b] = self.files;
        let count = HumanCount;
        let _ = write!(
            text,
            "{} in {file_a}, {} in {file_b}: {} the same, {} moved, {} appeared, {} vanished",
            counted(a, "alert"),
            count(b),
            count(same),
            count(moved),
            count(appeared),
            count(vanished),
        );
        text
    }
}

/// What the fates that are differences are called.
fn name(fate: &Fate<'_>) -> &'static str {
    match fate {
        Fate::Same(..) => "same",
        Fate::Moved(..) => "moved",
        Fate::Appeared(_) => "appeared",
        Fate::Vanished(_) => "vanished",
    }
}

fn difference(fate: &Fate<'_>) -> Value {
    let [a, b] = fate.sides();
    let key = a.or(b).map(|alert| alert.key.join("/"));
    let side = |alert: &Alert| {
        json!({
            "id": alert.id,
            "detector": alert.detector,
            "start": alert.start.to_string(),
            "end": alert.end.to_string(),
            "severity": alert.severity.name(),
        })
    };
    let later_s = |time: fn(&Alert) -> EventTime| {
        a.zip(b).map(|(a, b)| time(b).since(time(a)).seconds() - time(a).since(time(b)).seconds())
    };
    json!({
        "difference": name(fate),
        "key": key,
        "a": a.map(side),
        "b": b.map(side),
        "start_later_s": later_s(|alert| alert.start),
        "end_later_s": later_s(|alert| alert.end),
    })
}

/// The cells of a line: of an alert that has moved, as it was and how it differs now; last what may be long.
fn row(fate: &Fate<'_>) -> [String; 5] {
    let (mark, alert, how) = match fate {
        Fate::Same(a, _) => ("=", a, a.severity.name().to_owned()),
        Fate::Moved(a, b) => ("~", a, moved(a, b)),
        Fate::Appeared(b) => ("+", b, b.severity.name().to_owned()),
        Fate::Vanished(a) => ("-", a, a.severity.name().to_owned()),
    };
    let key = alert.key.join("/");
    [format!("{mark} {}", alert.start), alert.end.to_string(), alert.detector.clone(), how, key]
}

/// How an alert differs from what it was, in words.
fn moved(a: &Alert, b: &Alert) -> String {
    let shifted = |end: &str, from: EventTime, to: EventTime| match from.cmp(&to) {
        std::cmp::Ordering::Less => Some(format!("{end} {} later", to.since(from))),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(format!("{end} {} earlier", from.since(to))),
    };
    let severity =
        (a.severity != b.severity).then(|| format!("{} → {}", a.severity.name(), b.severity.name()));
    let changes = [shifted("start", a.start, b.start), shifted("end", a.end, b.end), severity];
    changes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Lines under a header and before an empty one, with columns as wide as what is in them; nothing without lines.
fn table(rows: Vec<[String; 5]>) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let header = ["  start", "end", "detector", "severity or change", "key"].map(str::to_owned);
    let rows: Vec<_> = [header].into_iter().chain(rows).map(|row| row.map(shown)).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text.push('\n');
    text
}

/// A text without what could steer a terminal.
fn shown(text: String) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
