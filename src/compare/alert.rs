//! Alerts as a pipeline writes them, when they are over.

use std::borrow::Cow;
use std::io::BufRead;

use tidewatch_dataflows::alerts::Severity;
use tidewatch_dataflows::EventTime;

use crate::said::{self, Parts};
use crate::Error;

/// An alert that is over. In order: by start first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// The time of its first anomaly.
    pub start: EventTime,
    /// The time of its last anomaly.
    pub end: EventTime,
    /// How bad it has been.
    pub severity: Severity,
    /// The parts of its key.
    pub key: Vec<String>,
    /// The name of the detection that raised it.
    pub detector: String,
    /// What it is called in the stream.
    pub id: String,
}

impl Alert {
    /// Reads lines of the stream `alerts`, of which all but those that close one are passed over; `path` names them.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], with the number of the line, if it says nothing of an alert.
    pub fn read(path: &str, lines: impl BufRead) -> Result<Vec<Self>, Error> {
        let mut alerts = Vec::new();
        said::each("file of alerts", path, lines, |line| {
            let line: Line<'_> =
                serde_json::from_str(line).map_err(|error| format!("is no alert: {error}"))?;
            if line.event != "closed" {
                return Ok(());
            }
            let severities = [Severity::Warning, Severity::Critical];
            let severity = severities.into_iter().find(|severity| severity.name() == line.severity);
            let (start, end) = (said::time(line.start)?, said::time(line.end)?);
            if end < start {
                return Err("is no alert: it ends before it starts".to_owned());
            }
            alerts.push(Self {
                start,
                end,
                severity: severity.ok_or_else(|| format!("is no alert: no severity is {}", line.severity))?,
                key: line.key.0,
                detector: line.detector.into_owned(),
                id: line.id.to_owned(),
            });
            Ok(())
        })?;
        Ok(alerts)
    }

    /// Whether there is an instant at which both last.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    key: Parts,
    id: &'a str,
    event: &'a str,
    severity: &'a str,
    #[serde(borrow)]
    detector: Cow<'a, str>,
    start: &'a str,
    end: &'a str,
}
