//! When keys were anomalous.

use std::ops::Range;
use std::path::Path;

use tidewatch_connectors::format::TimeFormat;
use tidewatch_dataflows::EventTime;

use super::Row;
use crate::Error;

/// A window of event time, both ends included, in which a key was anomalous.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The key, its parts with slashes between them.
    pub key: String,
    /// When it began.
    pub start: EventTime,
    /// When it ended.
    pub end: EventTime,
    line: u64,
}

impl Label {
    /// Its rows: from the first one that is not before its start, to the first one at its end, or the last before it.
    pub(super) fn rows(&self, rows: &[Row]) -> Range<usize> {
        let from = rows.partition_point(|row| row.time < self.start);
        let until = rows.partition_point(|row| row.time < self.end);
        let has_end = rows.get(until).is_some_and(|row| row.time == self.end);
        from..until + usize::from(has_end)
    }
}

/// The labels of a file: comma-separated values with the columns `key`, `start` and `end`, times as RFC 3339 says.
#[derive(Clone, Debug)]
pub struct Labels {
    path: String,
    /// By key, then by start.
    labels: Vec<Label>,
}

impl Labels {
    /// Reads a file of labels.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], with the line, if it is none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let path_ = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(Error::unreadable("file of labels", &path_))?;
        Self::parse(path_, &text)
    }

    /// The labels in the text of a file.
    ///
    /// # Errors
    ///
    /// As [`Labels::read`].
    pub fn parse(path: String, text: &str) -> Result<Self, Error> {
        let refuse = |line: u64, reason: String| Error::Usage(format!("{path}:{line}: {reason}"));
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().map_err(|error| refuse(1, error.to_string()))?.clone();
        let column = |name: &str| {
            let at = headers.iter().position(|header| header == name);
            at.ok_or_else(|| refuse(1, format!("there is no column \"{name}\": labels have key,start,end")))
        };
        let (key, start, end) = (column("key")?, column("start")?, column("end")?);
        let mut labels = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| {
                refuse(error.position().map_or(1, csv::Position::line), error.to_string())
            })?;
            let line = record.position().map_or(1, csv::Position::line);
            let time = |at: usize| {
                let format = TimeFormat::Rfc3339;
                format.parse(&record[at]).map_err(|refusal| refuse(line, format.explain(refusal)))
            };
            let label = Label { key: record[key].to_owned(), start: time(start)?, end: time(end)?, line };
            if label.end < label.start {
                return Err(refuse(line, "the window ends before it starts".to_owned()));
            }
            labels.push(label);
        }
        labels.sort();
        Ok(Self { path, labels })
    }

    /// All labels, by key, then by start.
    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter()
    }

    pub(super) fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Label> {
        self.labels.iter().filter(move |label| label.key == key)
    }

    pub(super) fn refuse(&self, label: &Label, reason: &str) -> Error {
        let Label { key, start, end, line } = label;
        Error::Usage(format!("{}:{line}: {reason}: \"{key}\" from {start} to {end}", self.path))
    }
}
