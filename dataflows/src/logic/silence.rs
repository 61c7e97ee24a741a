//! Says when a key has fallen silent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Logic, Selection, Standing, Verdict};
use crate::detectors::DetectorInfo;
use crate::params::{Kind, ParamError, Parameter};
use crate::record::Name;
use crate::state::{self, StateError};
use crate::{EventTime, Key, Record, Span};

/// Emits one verdict for each time that a key has no record for a while; made by [`silent_for`].
///
/// The verdict is timed at the last record's time plus `after`, has no value, and scores the seconds of silence so far. It
/// [lasts](Standing::Lasting) until the key has a record again, for which there is a verdict without a score. A record at that very instant is in time. A record whose selected
/// values are all missing counts as none, so that what [`Gap::Alert`](super::Gap::Alert) emits does not break a silence.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::logic::{above, silent_for, window, Gap, Logic};
///
/// let silent = silent_for("5m").then(above(0.0));
/// let no_complete_window = window::tumbling("1m").mean().on_gap(Gap::Alert).then(silent_for("5m"));
/// ```
#[derive(Clone, Debug)]
pub struct Silence {
    after: Span,
    name: Name,
    /// The values of which one must be present; any if there are none.
    values: Vec<usize>,
}

/// Notices keys that have no record for longer than `after`.
///
/// # Panics
///
/// Panics if `after` is not positive. Use [`Silence::new`] for a span from outside.
pub fn silent_for(after: impl Into<Span>) -> Silence {
    match Silence::new(after.into()) {
        Ok(silence) => silence,
        Err(error) => panic!("{error}"),
    }
}

const AFTER: Parameter =
    Parameter::required("after", Kind::Span, "how long a key may go without a record after its last one");

impl Silence {
    /// Notices keys that have no record for longer than `after`, under the name "no-record".
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] if `after` is not positive.
    pub fn new(after: Span) -> Result<Self, ParamError> {
        if after <= Span::ZERO {
            return Err(ParamError::Conflict { name: "after", reason: "must be longer than nothing".into() });
        }
        Ok(Self { after, name: "no-record".into(), values: Vec::new() })
    }

    /// Names the verdicts, and counts only records in which one of the selected values is present.
    pub fn select(self, selection: Selection) -> Self {
        let values = selection.values.iter().map(|(index, _)| *index).collect();
        Self { name: selection.name, values, ..self }
    }

    pub(crate) fn info() -> DetectorInfo {
        DetectorInfo {
            name: "no-record",
            summary: "keys that have fallen silent",
            score: "seconds of silence, once per silence; any score is usually an anomaly",
            threshold: Some(0.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![AFTER],
            cost: "O(1)",
            state: "16",
            source: "elementary",
            construct: Arc::new(|params, selection, _| {
                let silence = Self::new(params.value("after"))?;
                Ok(silence.select(selection).erased())
            }),
        }
    }

    fn counts(&self, record: &Record) -> bool {
        let present = |value: &f64| !value.is_nan();
        if self.values.is_empty() {
            record.values.is_empty() || record.values.iter().any(present)
        } else {
            self.values.iter().filter_map(|index| record.values.get(*index)).any(present)
        }
    }
}

/// What has been heard of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// Nothing yet.
    Nothing,
    /// The last record, at this time.
    Last(EventTime),
    /// Nothing for so long that it was said.
    Silence,
}

impl Logic for Silence {
    type In = Record;
    type Out = Verdict;
    type State = Heard;

    fn start(&self, _key: &Key) -> Heard {
        Heard::Nothing
    }

    #[inline]
    fn on_record(
        &self,
        heard: &mut Heard,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        if self.counts(input) && std::mem::replace(heard, Heard::Last(time)) == Heard::Silence {
            out(time, Verdict { standing: Standing::Returned, ..Verdict::of(self.name, None) });
        }
    }

    fn deadline(&self, heard: &Heard) -> Option<EventTime> {
        let Heard::Last(last) = heard else { return None };
        // After the greatest instant nothing is emitted, so a silence up to there is never noticed.
        Some(last.saturating_add(self.after)).filter(|due| *due < EventTime::MAX)
    }

    fn on_time(&self, heard: &mut Heard, time: EventTime, out: &mut impl FnMut(EventTime, Verdict)) {
        let Heard::Last(last) = std::mem::replace(heard, Heard::Silence) else { return };
        let verdict = Verdict::of(self.name, Some(time.since(last).seconds()));
        out(time, Verdict { standing: Standing::Lasting, ..verdict });
    }

    fn copy(&self, heard: &Heard) -> Heard {
        *heard
    }

    fn save(&self, heard: &Heard, out: &mut Vec<u8>) {
        state::save(heard, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Heard, StateError> {
        state::restore("no-record", bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logic::drive::Drive;
    use crate::logic::{above, window, Gap};

    fn secs(secs: i64) -> EventTime {
        EventTime::from_secs(secs).unwrap()
    }

    /// The times and scores emitted for records at these seconds, up to a frontier.
    fn verdicts(
        logic: &impl Logic<In = Record, Out = Verdict>,
        records: &[(i64, f64)],
        frontier: i64,
        snapshots: bool,
    ) -> Vec<(i64, f64)> {
        let mut drive = Drive::start(logic);
        for (time, value) in records {
            drive.record(secs(*time), &Record::new(secs(*time), [*value]));
            if snapshots {
                drive.snapshot();
            }
        }
        drive.frontier(secs(frontier));
        drive.end(EventTime::MIN);
        let verdicts = drive.emitted.iter();
        verdicts.filter_map(|(time, verdict)| Some((time.micros() / 1_000_000, verdict.score?))).collect()
    }

    proptest! {
        #[test]
        fn each_pause_longer_than_the_span_gives_one_verdict(
            after in 1i64..20,
            pauses in prop::collection::vec(0i64..40, 1..30),
            snapshots in any::<bool>(),
        ) {
            let mut now = -100;
            let (mut records, mut expected) = (vec![(now, 1.0)], Vec::new());
            for pause in pauses {
                if pause > after {
                    expected.push((now + after, after as f64));
                }
                now += pause;
                records.push((now, 1.0));
            }
            let silence = silent_for(Span::from_secs(after));
            prop_assert_eq!(&expected, &verdicts(&silence, &records, now + after, snapshots));
            expected.push((now + after, after as f64));
            prop_assert_eq!(&expected, &verdicts(&silence, &records, now + 1000, snapshots));
        }
    }

    #[test]
    fn missing_values_do_not_break_a_silence() {
        let records = [(0, 1.0), (4, f64::NAN), (8, f64::NAN), (12, 1.0)];
        assert_eq!(vec![(5, 5.0), (17, 5.0)], verdicts(&silent_for("5s"), &records, 100, false));
        let windows =
            window::tumbling("1s").mean().on_gap(Gap::Alert).then(silent_for("5s")).then(above(0.0));
        assert_eq!(vec![(5, 5.0), (17, 5.0)], verdicts(&windows, &records, 100, true));
    }

    #[test]
    fn a_selection_names_the_verdict_and_its_values() {
        let selection = Selection { name: "quiet".into(), values: vec![(1, "b".into())] };
        let silence = silent_for("5s").select(selection);
        let mut drive = Drive::start(&silence);
        drive.record(secs(0), &Record::new(secs(0), [1.0, 2.0]));
        drive.record(secs(3), &Record::new(secs(3), [1.0, f64::NAN]));
        drive.frontier(secs(60));
        let [(time, verdict)] = &drive.emitted[..] else { panic!("{:?}", drive.emitted) };
        assert_eq!((secs(5), "quiet", None), (*time, &*verdict.detector, verdict.value));
    }

    #[test]
    fn a_silence_is_over_with_the_next_record() {
        let silence = silent_for("5s");
        let mut drive = Drive::start(&silence);
        [0, 3, 20, 22, 24, 40]
            .into_iter()
            .for_each(|at| drive.record(secs(at), &Record::new(secs(at), [1.0])));
        let said: Vec<_> =
            drive.emitted.iter().map(|(time, said)| (*time, said.score, said.standing)).collect();
        let lasting = |at| (secs(at), Some(5.0), Standing::Lasting);
        let returned = |at| (secs(at), None, Standing::Returned);
        assert_eq!(vec![lasting(8), returned(20), lasting(29), returned(40)], said);
    }

    #[test]
    fn no_verdict_is_emitted_at_the_end_of_time() {
        let silence = silent_for("5s");
        let mut drive = Drive::start(&silence);
        let time = EventTime::MAX.saturating_sub(Span::from_secs(5));
        drive.record(time, &Record::new(time, [1.0]));
        drive.frontier(EventTime::MAX);
        assert_eq!(0, drive.emitted.len());
    }

    #[test]
    fn an_empty_span_is_refused() {
        assert_eq!(
            "\"after\" must be longer than nothing",
            Silence::new(Span::ZERO).unwrap_err().to_string()
        );
    }
}
