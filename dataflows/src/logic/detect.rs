//! Scores each record with a detector.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Logic;
use crate::detectors::{Detector, Score};
use crate::event::{Describe, Fields, Ranked};
use crate::record::Name;
use crate::state::{self, StateError};
use crate::{EventTime, Key, Record};

/// What a detector and its threshold say of one record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The name of the detection in the pipeline.
    pub detector: Name,
    /// The observed value; for several, the one that contributed most. `None` if it is missing.
    pub value: Option<f64>,
    /// How anomalous it is; `None` while the detector is warming, or if the value is missing.
    pub score: Option<f64>,
    /// The value that was expected.
    pub expected: Option<f64>,
    /// The lower end of what would have been normal.
    pub lower: Option<f64>,
    /// The upper end of what would have been normal.
    pub upper: Option<f64>,
    /// The name of the value that contributed most.
    pub attribution: Option<Name>,
    /// Whether the threshold calls it an anomaly.
    pub anomalous: bool,
}

impl Describe for Verdict {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.text("detector", Some(&self.detector));
        fields.number("value", self.value);
        fields.number("score", self.score);
        fields.number("expected", self.expected);
        fields.number("lower", self.lower);
        fields.number("upper", self.upper);
        fields.text("attribution", self.attribution.as_deref());
        fields.flag("anomalous", self.anomalous);
    }
}

impl Ranked for Verdict {
    fn rank(&self, other: &Self) -> Ordering {
        self.detector.cmp(&other.detector)
    }
}

/// Which values a detection reads, and what it is called.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The name of the detection in the pipeline.
    pub name: Name,
    /// For each value that it reads, the index in the record and the name.
    pub values: Vec<(usize, Name)>,
}

/// Replaces each record by the verdict of a detector on it; made by [`Detect::new`], or from any [`Detector`] by
/// [`Detector`]'s place in a chain.
///
/// A record with a missing selected value gets a verdict without a score, and the detector does not see it.
#[derive(Clone, Debug)]
pub struct Detect<D> {
    detector: D,
    selection: Selection,
}

impl<D: Detector> Detect<D> {
    /// Lets `detector` score the first value of each record, under its own name.
    pub fn new(detector: D) -> Self {
        let selection = Selection { name: detector.name().into(), values: vec![(0, "value".into())] };
        Self { detector, selection }
    }

    /// Lets `detector` score the selected values.
    pub fn select(detector: D, selection: Selection) -> Self {
        Self { detector, selection }
    }

    fn verdict(&self, input: &Record, score: Score) -> Verdict {
        let attribution = score.attribution.and_then(|index| self.selection.values.get(index));
        let (index, _) = attribution.unwrap_or(&self.selection.values[0]);
        let value = Some(input.values[*index]).filter(|value| value.is_finite());
        Verdict {
            detector: self.selection.name,
            value,
            score: score.score,
            expected: score.expected,
            lower: score.lower,
            upper: score.upper,
            attribution: attribution.map(|(_, name)| *name),
            anomalous: false,
        }
    }

    fn score(&self, state: &mut D::State, time: EventTime, input: &Record) -> Score {
        if let [(index, _)] = self.selection.values[..] {
            return match input.values[index] {
                value if value.is_finite() => self.detector.score(state, time, &[value]),
                _ => Score::WARMING,
            };
        }
        let values: Vec<f64> = self.selection.values.iter().map(|(index, _)| input.values[*index]).collect();
        if values.iter().all(|value| value.is_finite()) {
            self.detector.score(state, time, &values)
        } else {
            Score::WARMING
        }
    }
}

impl<D: Detector> Logic for Detect<D> {
    type In = Record;
    type Out = Verdict;
    type State = D::State;

    fn start(&self, key: &Key) -> D::State {
        let name = xxhash_rust::xxh3::xxh3_64(self.detector.name().as_bytes());
        self.detector.start(xxh3_64_with_seed(key.as_str().as_bytes(), name))
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut D::State,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let score = self.score(state, time, input);
        out(time, self.verdict(input, score));
    }

    #[inline]
    fn memory(&self, state: &D::State) -> usize {
        self.detector.memory(state)
    }

    fn save(&self, state: &D::State, out: &mut Vec<u8>) {
        state::save(&self.detector.version(), out);
        state::save(state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<D::State, StateError> {
        let what = self.detector.name();
        let (found, expected) = (state::restore(what, bytes)?, self.detector.version());
        if found != expected {
            return Err(StateError::Version { what: what.to_owned(), expected, found });
        }
        state::restore(what, bytes)
    }
}
