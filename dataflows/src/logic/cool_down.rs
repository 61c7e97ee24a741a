//! Says once what goes on.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Logic, Verdict};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::state::{self, StateError};
use crate::{EventTime, Key, Lapse};

/// Scores 0 what is no higher than a score of the records shortly before.
///
/// What is anomalous goes on for a while, and a person wants to hear of it when it begins and when it becomes clearly
/// worse. A score passes if it is above those shortly before it, of so many verdicts or so much event time, whether they
/// passed or not; else it becomes 0.
///
/// State is at most a thousand scores; of more that fall one after the other, each further one counts as one with the last.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::EwmaZ;
/// use tidewatch_dataflows::logic::{above, CoolDown, Logic};
/// use tidewatch_dataflows::Lapse;
///
/// let once_in_an_hour_of_minutes = EwmaZ::new(0.05)?.then(CoolDown::new(Lapse::Records(60))?).then(above(4.0));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CoolDown {
    lapse: Lapse,
}

impl CoolDown {
    /// How a pipeline file spells how long a score is remembered.
    pub const LAPSE: Parameter = Parameter::with_default(
        "cool_down",
        Kind::Lapse(0, 1_000_000),
        Literal::Integer(0),
        "for how many records, or how long, a score must be above those before it, or it becomes 0",
    );

    /// Lets scores pass that are above those of a lapse before them: of at most a million records, or of some time.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the lapse is out of range.
    pub fn new(lapse: Lapse) -> Result<Self, ParamError> {
        Ok(Self { lapse: Self::LAPSE.lapse(lapse)? })
    }

    /// The place of a verdict among others, and how far back others count.
    fn place(&self, number: i64, time: EventTime) -> (i64, i64) {
        match self.lapse {
            Lapse::Records(records) => (number, i64::from(records)),
            Lapse::Time(span) => (time.micros(), span.micros()),
        }
    }
}

/// As many scores are remembered of a key.
const MOST: usize = 1000;

/// What [`CoolDown`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warm {
    /// The scores above 0 that no later one reaches, each with the place of its verdict; the highest first.
    scores: VecDeque<(i64, f64)>,
    verdicts: i64,
}

impl Logic for CoolDown {
    type In = Verdict;
    type Out = Verdict;
    type State = Warm;

    fn start(&self, _key: &Key) -> Warm {
        Warm::default()
    }

    #[inline]
    fn on_record(
        &self,
        state: &mut Warm,
        time: EventTime,
        input: &Verdict,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let (now, back) = self.place(state.verdicts, time);
        state.verdicts += 1;
        while state.scores.front().is_some_and(|(place, _)| place.saturating_add(back) < now) {
            state.scores.pop_front();
        }
        let mut verdict = *input;
        if let Some(score) = input.score.filter(|score| *score > 0.0) {
            if state.scores.front().is_some_and(|(_, highest)| score <= *highest) {
                verdict.score = Some(0.0);
            }
            while state.scores.back().is_some_and(|(_, before)| *before <= score) {
                state.scores.pop_back();
            }
            match state.scores.len() {
                MOST => state.scores[MOST - 1].0 = now,
                _ => state.scores.push_back((now, score)),
            }
        }
        out(time, verdict);
    }

    fn memory(&self, state: &Warm) -> usize {
        size_of::<Warm>() + state.scores.len() * size_of::<(i64, f64)>()
    }

    fn copy(&self, state: &Warm) -> Warm {
        state.clone()
    }

    fn save(&self, state: &Warm, out: &mut Vec<u8>) {
        state::save(state, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Warm, StateError> {
        state::restore("cool-down", bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::logic::drive::Drive;
    use crate::Span;

    fn secs(secs: i64) -> EventTime {
        EventTime::from_secs(secs).unwrap()
    }

    fn cooled(lapse: Lapse, scores: &[(i64, Option<f64>)], snapshots: bool) -> Vec<Option<f64>> {
        let logic = CoolDown::new(lapse).unwrap();
        let mut drive = Drive::start(&logic);
        for (time, score) in scores {
            let verdict = Verdict::of("d".into(), *score);
            drive.record(secs(*time), &verdict);
            if snapshots {
                drive.snapshot();
            }
        }
        drive.emitted.iter().map(|(_, verdict)| verdict.score).collect()
    }

    /// Each score against all of those before it that count.
    fn cooled_slow(lapse: Lapse, scores: &[(i64, Option<f64>)]) -> Vec<Option<f64>> {
        let counts = |at: usize, before: usize| match lapse {
            Lapse::Records(records) => before + records as usize >= at,
            Lapse::Time(span) => secs(scores[at].0).since(secs(scores[before].0)) <= span,
        };
        let cool = |at: usize| {
            let before = (0..at).filter(|before| counts(at, *before)).filter_map(|before| scores[before].1);
            let highest = before.fold(0.0, f64::max);
            scores[at].1.map(|score| if score > highest { score } else { 0.0 })
        };
        (0..scores.len()).map(cool).collect()
    }

    proptest! {
        #[test]
        fn scores_pass_that_are_above_those_shortly_before(
            lapse in prop_oneof![
                (0u32..12).prop_map(Lapse::Records),
                (1i64..30).prop_map(|seconds| Lapse::Time(Span::from_secs(seconds))),
            ],
            pauses in prop::collection::vec(0i64..7, 80),
            scores in prop::collection::vec(prop::option::weighted(0.9, (0u8..6).prop_map(f64::from)), 0..80),
            snapshots in any::<bool>(),
        ) {
            let mut now = 0;
            let at = |(pause, score)| { now += pause; (now, score) };
            let scores: Vec<_> = pauses.into_iter().zip(scores).map(at).collect();
            prop_assert_eq!(cooled_slow(lapse, &scores), cooled(lapse, &scores, snapshots));
        }
    }

    #[test]
    fn falling_scores_do_not_fill_memory() {
        let logic = CoolDown::new(Lapse::Time(Span::from_secs(1_000_000))).unwrap();
        let mut drive = Drive::start(&logic);
        for at in 0..3_000 {
            drive.record(secs(at), &Verdict::of("d".into(), Some((10_000 - at) as f64)));
        }
        assert!(drive.memory() < 17_000, "{}", drive.memory());
        drive.record(secs(3_000), &Verdict::of("d".into(), Some(9_002.0)));
        let passed = drive.emitted.iter().filter(|(_, verdict)| verdict.score > Some(0.0)).count();
        assert_eq!(1, passed, "what was higher is still known");
    }

    #[test]
    fn a_lapse_out_of_range_is_refused() {
        let refused = CoolDown::new(Lapse::Records(2_000_000)).unwrap_err().to_string();
        let takes = "a whole number of records in [0, 1000000], or a length of time, as in \"5m\"";
        assert_eq!(format!("\"cool_down\" takes {takes}, not 2000000"), refused);
    }
}
