//! Says once what goes on.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Logic, Verdict};
use crate::params::{Kind, Literal, ParamError, Parameter};
use crate::state::{self, StateError};
use crate::{EventTime, Key};

/// Scores 0 what is no higher than a score of the records shortly before.
///
/// What is anomalous goes on for a while, and a person wants to hear of it when it begins and when it becomes clearly
/// worse. A score passes if it is above those of the `records` verdicts before it, whether they passed or not; else it becomes 0.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::EwmaZ;
/// use tidewatch_dataflows::logic::{above, CoolDown, Logic};
///
/// let once_in_an_hour_of_minutes = EwmaZ::new(0.05)?.then(CoolDown::new(60)?).then(above(4.0));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CoolDown {
    records: u32,
}

impl CoolDown {
    /// How a pipeline file spells how long a score is remembered.
    pub const RECORDS: Parameter = Parameter::with_default(
        "cool_down",
        Kind::Integer(0, 1_000_000),
        Literal::Integer(0),
        "how many records a score must be above, or it becomes 0",
    );

    /// Lets scores pass that are above those of `records` verdicts before them, at most a million.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the number is out of range.
    pub fn new(records: u32) -> Result<Self, ParamError> {
        Self::RECORDS.integer(i64::from(records))?;
        Ok(Self { records })
    }
}

/// What [`CoolDown`] remembers of one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warm {
    /// The scores above 0 that no later one reaches, each with the number of its verdict; the highest first.
    scores: VecDeque<(u64, f64)>,
    verdicts: u64,
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
        let now = state.verdicts;
        state.verdicts += 1;
        while state.scores.front().is_some_and(|(number, _)| number + u64::from(self.records) < now) {
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
            state.scores.push_back((now, score));
        }
        out(time, verdict);
    }

    fn memory(&self, state: &Warm) -> usize {
        size_of::<Warm>() + state.scores.len() * size_of::<(u64, f64)>()
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

    fn cooled(records: u32, scores: &[Option<f64>], snapshots: bool) -> Vec<Option<f64>> {
        let logic = CoolDown::new(records).unwrap();
        let mut drive = Drive::start(&logic);
        for score in scores {
            let verdict = Verdict::of("d".into(), *score);
            drive.record(EventTime::MIN, &verdict);
            if snapshots {
                drive.snapshot();
            }
        }
        drive.emitted.iter().map(|(_, verdict)| verdict.score).collect()
    }

    /// Each score against all of those before it that count.
    fn cooled_slow(records: usize, scores: &[Option<f64>]) -> Vec<Option<f64>> {
        let cool = |at: usize| {
            let before = &scores[at.saturating_sub(records)..at];
            let highest = before.iter().flatten().copied().fold(0.0, f64::max);
            scores[at].map(|score| if score > highest { score } else { 0.0 })
        };
        (0..scores.len()).map(cool).collect()
    }

    proptest! {
        #[test]
        fn scores_pass_that_are_above_those_shortly_before(
            records in 0u32..12,
            scores in prop::collection::vec(prop::option::weighted(0.9, (0u8..6).prop_map(f64::from)), 0..80),
            snapshots in any::<bool>(),
        ) {
            prop_assert_eq!(cooled_slow(records as usize, &scores), cooled(records, &scores, snapshots));
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        let refused = CoolDown::new(2_000_000).unwrap_err().to_string();
        assert_eq!("\"cool_down\" takes a whole number in [0, 1000000], not 2000000", refused);
    }
}
