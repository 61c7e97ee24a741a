//! Takes a level that lasts for the new baseline.

use super::{Logic, Standing, Verdict};
use crate::params::{Kind, ParamError, Parameter};
use crate::state::{self, StateError};
use crate::{EventTime, Key, Record};

/// Scores as `logic` does, and lets it start anew from where a lasting change began.
///
/// A level that has shifted is one change, not an anomaly for weeks. With the first score of at least `threshold` a second
/// state of `logic` begins beside the first one, and learns from the same records. It takes the place of the first one
/// once scores of at least `clear` outnumber those below it by `after`; it is dropped when they no longer do. The verdict
/// at which it takes its place is told to be [over](Standing::Shifted): so an alert closes there, as a shift. From then
/// on scores are those of a detector that has seen nothing but the new level; it may still be warming up.
///
/// State is that of `logic`, twice while something is anomalous. What is random in it starts anew the same for every key.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::WelfordZ;
/// use tidewatch_dataflows::logic::{above, Logic, Rebaseline};
///
/// let logic = Rebaseline::new(WelfordZ::new(3.0)?, 4.0, 3.0, 200)?.then(above(4.0));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rebaseline<L> {
    logic: L,
    threshold: f64,
    clear: f64,
    after: u32,
    anyone: Key,
}

/// How a pipeline file spells when a level is the new baseline.
const AFTER: Parameter = Parameter::optional(
    "rebaseline_after",
    Kind::Integer(1, 1_000_000),
    "after how many anomalous scores more than normal ones a level is the new baseline, and the alert closes",
);

impl<L> Rebaseline<L> {
    /// How a pipeline file spells when a level is the new baseline.
    pub const AFTER: Parameter = AFTER;

    /// Lets `logic` start anew when scores of at least `clear` outnumber others by `after`, in `[1, 1000000]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if the number is out of range.
    pub fn new(logic: L, threshold: f64, clear: f64, after: u32) -> Result<Self, ParamError> {
        AFTER.integer(i64::from(after))?;
        Ok(Self { logic, threshold, clear, after, anyone: Key::new("") })
    }
}

/// What [`Rebaseline`] remembers of one key, of states `S`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rebased<S> {
    baseline: S,
    /// What has learnt from the level that may be the next baseline, if there is one, and by how many its anomalous scores
    /// outnumber others.
    next: Option<Box<(S, u32)>>,
}

impl<L> Rebaseline<L> {
    /// By how many anomalous scores outnumber others with a further score, while they do.
    fn lasted(&self, before: Option<u32>, score: f64) -> Option<u32> {
        let Some(lasted) = before else { return (score >= self.threshold).then_some(1) };
        let lasted = if score >= self.clear { lasted + 1 } else { lasted - 1 };
        (lasted > 0).then_some(lasted)
    }
}

impl<L: Logic<In = Record, Out = Verdict>> Logic for Rebaseline<L> {
    type In = Record;
    type Out = Verdict;
    type State = Rebased<L::State>;

    fn start(&self, key: &Key) -> Self::State {
        Rebased { baseline: self.logic.start(key), next: None }
    }

    #[inline]
    fn on_record(
        &self,
        Rebased { baseline, next }: &mut Self::State,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let mut lasted = next.as_ref().map(|next| next.1);
        let mut shifts = false;
        self.logic.on_record(baseline, time, input, &mut |time, mut verdict| {
            if let Some(score) = verdict.score {
                lasted = self.lasted(lasted, score);
                if lasted >= Some(self.after) {
                    verdict.standing = Standing::Shifted;
                    shifts = true;
                }
            }
            out(time, verdict);
        });
        let Some(lasted) = lasted else { return *next = None };
        let following = next.get_or_insert_with(|| Box::new((self.logic.start(&self.anyone), lasted)));
        following.1 = lasted;
        self.logic.on_record(&mut following.0, time, input, &mut |_, _| {});
        if shifts {
            if let Some(next) = next.take() {
                *baseline = next.0;
            }
        }
    }

    fn deadline(&self, state: &Self::State) -> Option<EventTime> {
        let next = state.next.as_ref().and_then(|next| self.logic.deadline(&next.0));
        [self.logic.deadline(&state.baseline), next].into_iter().flatten().min()
    }

    fn on_time(&self, state: &mut Self::State, time: EventTime, out: &mut impl FnMut(EventTime, Verdict)) {
        let Rebased { baseline, next } = state;
        let is_due = |state: &L::State| self.logic.deadline(state).is_some_and(|due| due <= time);
        if is_due(baseline) {
            self.logic.on_time(baseline, time, out);
        }
        if let Some(next) = next.as_mut().filter(|next| is_due(&next.0)) {
            self.logic.on_time(&mut next.0, time, &mut |_, _| {});
        }
    }

    fn on_end(&self, state: &mut Self::State, end: EventTime, out: &mut impl FnMut(EventTime, Verdict)) {
        self.logic.on_end(&mut state.baseline, end, out);
    }

    fn on_evict(&self, state: &mut Self::State, time: EventTime, out: &mut impl FnMut(EventTime, Verdict)) {
        self.logic.on_evict(&mut state.baseline, time, out);
    }

    #[inline]
    fn memory(&self, Rebased { baseline, next }: &Self::State) -> usize {
        let next = next.as_ref().map_or(0, |next| size_of::<u32>() + self.logic.memory(&next.0));
        self.logic.memory(baseline) + size_of::<usize>() + next
    }

    fn copy(&self, Rebased { baseline, next }: &Self::State) -> Self::State {
        let next = next.as_ref().map(|next| Box::new((self.logic.copy(&next.0), next.1)));
        Rebased { baseline: self.logic.copy(baseline), next }
    }

    fn save(&self, Rebased { baseline, next }: &Self::State, out: &mut Vec<u8>) {
        self.logic.save(baseline, out);
        state::save(&next.as_ref().map(|next| next.1), out);
        if let Some(next) = next {
            self.logic.save(&next.0, out);
        }
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError> {
        let baseline = self.logic.restore(bytes)?;
        let next = match state::restore::<Option<u32>>("rebaseline", bytes)? {
            Some(lasted) => Some(Box::new((self.logic.restore(bytes)?, lasted))),
            None => None,
        };
        Ok(Rebased { baseline, next })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detectors::WelfordZ;
    use crate::logic::drive::Drive;

    fn secs(secs: usize) -> EventTime {
        EventTime::from_secs(secs as i64).unwrap()
    }

    fn verdicts(
        logic: &impl Logic<In = Record, Out = Verdict>,
        values: &[f64],
        snapshots: bool,
    ) -> Vec<Verdict> {
        let mut drive = Drive::start(logic);
        for (at, value) in values.iter().enumerate() {
            drive.record(secs(at), &Record::new(secs(at), [*value]));
            if snapshots {
                drive.snapshot();
            }
        }
        drive.emitted.into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn detector() -> WelfordZ {
        WelfordZ::new(3.0).unwrap().warmup(2)
    }

    /// From each beginning anew, what one detector says of the records from there on.
    fn verdicts_slow(threshold: f64, clear: f64, after: u32, values: &[f64]) -> Vec<Verdict> {
        let mut said = Vec::new();
        let mut baseline = 0;
        let mut level: Option<(usize, u32)> = None;
        while said.len() < values.len() {
            let at = said.len();
            let mut verdict = verdicts(&detector(), &values[baseline..=at], false).pop().unwrap();
            level = match (level, verdict.score) {
                (level, None) => level,
                (None, Some(score)) => (score >= threshold).then_some((at, 1)),
                (Some((from, more)), Some(score)) if score >= clear => Some((from, more + 1)),
                (Some((from, more)), Some(_)) => (more > 1).then_some((from, more - 1)),
            };
            if let Some((from, _)) = level.filter(|(_, more)| *more >= after) {
                verdict.standing = Standing::Shifted;
                (baseline, level) = (from, None);
            }
            said.push(verdict);
        }
        said
    }

    proptest! {
        #[test]
        fn verdicts_are_those_of_a_detector_that_began_where_the_level_did(
            threshold in 1i32..4, below in 0i32..2, after in 1u32..8,
            levels in prop::collection::vec((0i32..30, 1usize..15), 1..6),
            noise in prop::collection::vec(-1i32..2, 90),
            snapshots in any::<bool>(),
        ) {
            let levels = levels.iter().flat_map(|(level, records)| std::iter::repeat_n(*level, *records));
            let values: Vec<f64> = levels.zip(noise).map(|(level, noise)| f64::from(level + noise)).collect();
            let (threshold, clear) = (f64::from(threshold), f64::from(threshold - below));
            let logic = Rebaseline::new(detector(), threshold, clear, after).unwrap();
            prop_assert_eq!(verdicts_slow(threshold, clear, after, &values), verdicts(&logic, &values, snapshots));
        }
    }

    #[test]
    fn a_shift_is_anomalous_until_it_is_the_baseline() {
        let at = |at: usize| (at % 3) as f64 + if at < 60 { 0.0 } else { 1_000.0 };
        let values: Vec<f64> = (0..200).map(at).collect();
        let detector = detector().clip(2.0).unwrap();
        let logic = Rebaseline::new(detector, 4.0, 3.0, 10).unwrap();
        let said = verdicts(&logic, &values, false);
        let high: Vec<_> = (0..200).filter(|at| said[*at].score >= Some(4.0)).collect();
        assert_eq!((60..70).collect::<Vec<_>>(), high);
        assert_eq!(Standing::Shifted, said[69].standing);
        assert!(verdicts(&detector, &values, false)[75].score >= Some(4.0), "without it, that goes on");
    }
}
