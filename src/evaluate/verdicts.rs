//! Verdicts as a pipeline writes them, by detection and key.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::{Arc, Mutex};

use tidewatch_connectors::format::Encoder;
use tidewatch_connectors::{Error as ConnectorError, Message, Sink};
use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

use super::Row;
use crate::mesh::lock;
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
        let (key, time) = (&line.key.0.join("/"), said::time(line.time)?);
        let score = line.score.unwrap_or(f64::NEG_INFINITY);
        let rows = self.rows(line.detector.as_ref(), key);
        if rows.last().is_some_and(|before| before.time > time) {
            return Err(format!("\"{key}\" has no order in time: {time} comes later than it should"));
        }
        rows.push(Row { time, score, anomalous: line.anomalous });
        Ok(())
    }

    /// What a detection says of a key.
    fn rows(&mut self, detector: &str, key: &str) -> &mut Vec<Row> {
        // Almost always both are there; then nothing is allocated.
        if !self.0.get(detector).is_some_and(|keys| keys.contains_key(key)) {
            self.0.entry(detector.to_owned()).or_default().insert(key.to_owned(), Vec::new());
        }
        self.0.get_mut(detector).and_then(|keys| keys.get_mut(key)).expect("it was added")
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_detections(self) -> BTreeMap<String, BTreeMap<String, Vec<Row>>> {
        self.0
    }
}

/// Hears what a pipeline says, in place of a format and a sink; clones hear the same.
#[derive(Clone, Default)]
pub struct Listener(Arc<Mutex<Verdicts>>);

impl Listener {
    /// All that was said.
    pub fn heard(&self) -> Verdicts {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Encoder for Listener {
    fn encode(&mut self, event: &dyn Describe, _out: &mut Vec<u8>) {
        let mut verdict = Heard::default();
        event.describe(&mut verdict);
        let Heard { detector, key, time, score, anomalous } = verdict;
        let score = score.unwrap_or(f64::NEG_INFINITY);
        lock(&self.0).rows(&detector, &key).push(Row { time, score, anomalous });
    }
}

impl Sink for Listener {
    fn write(&mut self, _: &[Message<'_>], _: Option<EventTime>) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// The fields of a verdict that count, as [`Line`] has them.
struct Heard {
    detector: String,
    key: String,
    time: EventTime,
    score: Option<f64>,
    anomalous: bool,
}

impl Default for Heard {
    fn default() -> Self {
        let (detector, key) = Default::default();
        Self { detector, key, time: EventTime::MIN, score: None, anomalous: false }
    }
}

impl Fields for Heard {
    fn text(&mut self, name: &str, value: Option<&str>) {
        if let ("detector", Some(value)) = (name, value) {
            self.detector.push_str(value);
        }
    }

    fn time(&mut self, _: &str, value: EventTime) {
        self.time = value;
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        if name == "score" {
            self.score = value.filter(|score| score.is_finite());
        }
    }

    fn integer(&mut self, _: &str, _: Option<u64>) {}

    fn flag(&mut self, name: &str, value: bool) {
        self.anomalous |= name == "anomalous" && value;
    }

    fn key(&mut self, _: &str, key: &Key) {
        self.key = key.to_string();
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
