//! Verdicts as a pipeline writes them, by detection and key.

use std::collections::BTreeMap;
use std::io::BufRead;

use tidewatch_dataflows::EventTime;

use super::Row;
use crate::said::{self, Parts};
use crate::Error;

/// What detections say of keys.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(BTreeMap<String, BTreeMap<String, Vec<Row>>>);

impl Verdicts {
    /// Reads lines of the stream `verdicts`; `what` names them. Each key's are in time order, as they are written.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`], with the number of the line, if it is no verdict, or earlier than the one before it of its key.
    pub fn read(what: &str, lines: impl BufRead) -> Result<Self, Error> {
        let mut verdicts = Self::default();
        said::each("file of verdicts", what, lines, |line| verdicts.add(line))?;
        Ok(verdicts)
    }

    /// Adds a line.
    pub(super) fn add(&mut self, line: &str) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| format!("is no verdict: {error}"))?;
        let (key, time) = (line.key.0.join("/"), said::time(line.time)?);
        self.push(line.detector.as_ref(), &key, time, line.score, line.anomalous)
    }

    fn push(
        &mut self,
        detector: &str,
        key: &str,
        time: EventTime,
        score: Option<f64>,
        anomalous: bool,
    ) -> Result<(), String> {
        let rows = match self.0.get_mut(detector).and_then(|keys| keys.get_mut(key)) {
            Some(rows) => rows,
            None => self.0.entry(detector.to_owned()).or_default().entry(key.to_owned()).or_default(),
        };
        if rows.last().is_some_and(|before| before.time > time) {
            return Err(format!("\"{key}\" has no order in time: {time} comes later than it should"));
        }
        rows.push(Row { time, score: score.unwrap_or(f64::NEG_INFINITY), anomalous });
        Ok(())
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_detections(self) -> BTreeMap<String, BTreeMap<String, Vec<Row>>> {
        self.0
    }
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    time: &'a str,
    key: Parts,
    #[serde(borrow)]
    detector: std::borrow::Cow<'a, str>,
    score: Option<f64>,
    anomalous: bool,
}
