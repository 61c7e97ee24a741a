//! Scores each record with a detector.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::Logic;
use crate::detectors::{Detector, Score};
use crate::event::{Describe, Fields, Ranked};
use crate::record::Name;
use crate::state::{self, StateError};
use crate::{EventTime, Key, Record};

/// What a detector and its threshold say of one record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
    /// Whether the key becomes anomalous with it, or ceases to be; noticed on [demand](super::Threshold::and_turns), and
    /// not written out.
    pub turned: bool,
    /// For how long it holds; not written out.
    pub standing: Standing,
}

/// For how long a verdict holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// It is about its record alone.
    #[default]
    Alone,
    /// Until another verdict says that it is over.
    Lasting,
    /// What lasted is over: the key that had fallen silent has a record again.
    Returned,
    /// What was anomalous is over: it is the new baseline.
    Shifted,
}

impl Standing {
    /// Whether what was anomalous before is over, whatever the score.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Returned | Self::Shifted)
    }
}

impl Verdict {
    /// A score alone, which nothing has called an anomaly.
    pub(crate) fn of(detector: Name, score: Option<f64>) -> Self {
        Self {
            detector,
            value: None,
            score,
            expected: None,
            lower: None,
            upper: None,
            attribution: None,
            anomalous: false,
            turned: false,
            standing: Standing::Alone,
        }
    }

    /// All that it says, numbers by their bits: an order is needed, not a particular one.
    fn bits(&self) -> impl Ord + Hash {
        let Self { detector, value, score, expected, lower, upper, attribution, anomalous, turned, standing } =
            *self;
        let numbers = [value, score, expected, lower, upper].map(|number| number.map(f64::to_bits));
        (detector, numbers, attribution, anomalous, turned, standing)
    }
}

/// Bit for bit.
impl PartialEq for Verdict {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Verdict {}

/// Some total order, so that verdicts can be sorted; it means nothing.
impl Ord for Verdict {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits().cmp(&other.bits())
    }
}

impl PartialOrd for Verdict {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Verdict {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
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
    fn series(&self) -> [&str; 2] {
        ["verdict", &self.detector]
    }
    fn same(&self, other: &Self) -> bool {
        self == other
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

/// Replaces each record by the verdict of a detector on selected values.
///
/// A [`Detector`] is a logic by itself: it scores the first value under its own name. A record with a missing
/// selected value gets a verdict without a score, and the detector does not see it.
#[derive(Clone, Debug)]
pub struct Detect<D> {
    detector: D,
    selection: Selection,
}

impl<D: Detector> Detect<D> {
    /// Lets `detector` score the selected values.
    pub fn select(detector: D, selection: Selection) -> Self {
        Self { detector, selection }
    }

    fn score(&self, state: &mut D::State, time: EventTime, input: &Record) -> Score {
        if let [(index, _)] = self.selection.values[..] {
            return score_one(&self.detector, state, time, input.values[index]);
        }
        let values: Vec<f64> = self.selection.values.iter().map(|(index, _)| input.values[*index]).collect();
        if values.iter().all(|value| value.is_finite()) {
            self.detector.score(state, time, &values)
        } else {
            Score::WARMING
        }
    }
}

#[inline]
fn score_one<D: Detector>(detector: &D, state: &mut D::State, time: EventTime, value: f64) -> Score {
    if value.is_finite() {
        detector.score(state, time, &[value])
    } else {
        Score::WARMING
    }
}

#[inline]
fn verdict(detector: Name, attribution: Option<Name>, value: f64, score: Score) -> Verdict {
    let Score { score, expected, lower, upper, .. } = score;
    let value = Some(value).filter(|value| value.is_finite());
    Verdict { value, expected, lower, upper, attribution, ..Verdict::of(detector, score) }
}

/// The seed of a key's random numbers: a hash of the detector's name and the key.
fn seed(detector: &str, key: &Key) -> u64 {
    xxh3_64_with_seed(key.as_str().as_bytes(), xxh3_64(detector.as_bytes()))
}

fn save<D: Detector>(detector: &D, state: &D::State, out: &mut Vec<u8>) {
    state::save_versioned(detector.version(), state, out);
}

fn restore<D: Detector>(detector: &D, bytes: &mut &[u8]) -> Result<D::State, StateError> {
    state::restore_versioned(detector.name(), detector.version(), bytes)
}

impl<D: Detector> Logic for Detect<D> {
    type In = Record;
    type Out = Verdict;
    type State = D::State;

    fn start(&self, key: &Key) -> D::State {
        Detector::start(&self.detector, seed(self.detector.name(), key))
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
        let attribution = score.attribution.and_then(|index| self.selection.values.get(index)).copied();
        let (index, _) = attribution.unwrap_or(self.selection.values[0]);
        out(
            time,
            verdict(self.selection.name, attribution.map(|(_, name)| name), input.values[index], score),
        );
    }

    #[inline]
    fn memory(&self, state: &D::State) -> usize {
        Detector::memory(&self.detector, state)
    }

    fn copy(&self, state: &D::State) -> D::State {
        state.clone()
    }

    fn save(&self, state: &D::State, out: &mut Vec<u8>) {
        save(&self.detector, state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<D::State, StateError> {
        restore(&self.detector, bytes)
    }
}

/// A detector scores the first value of each record, under its own name.
impl<D: Detector> Logic for D {
    type In = Record;
    type Out = Verdict;
    type State = <D as Detector>::State;

    fn start(&self, key: &Key) -> Self::State {
        Detector::start(self, seed(self.name(), key))
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut Self::State,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let value = input.values.first().copied().unwrap_or(f64::NAN);
        out(time, verdict(Name::of(self.name()), None, value, score_one(self, state, time, value)));
    }

    #[inline]
    fn memory(&self, state: &Self::State) -> usize {
        Detector::memory(self, state)
    }

    fn copy(&self, state: &Self::State) -> Self::State {
        state.clone()
    }

    fn save(&self, state: &Self::State, out: &mut Vec<u8>) {
        save(self, state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError> {
        restore(self, bytes)
    }
}
