//! Several detectors that say one thing together.

mod members;
#[cfg(test)]
mod tests;

use std::f64::consts::LOG10_E;
use std::sync::Arc;

use super::{DetectorInfo, WARMUP_RECORDS};
use crate::logic::{AnyState, Calibration, DynLogic, Logic, Selection, Verdict};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::record::Name;
use crate::state::{self, StateError};
use crate::{EventTime, Key, Record};

/// Scores a record by how rare several detectors, its members, find it together.
///
/// Each member scores the record. Of its score, the tail probability `p` is known as
/// [`Calibrate`](crate::logic::Calibrate) has it: the share of the key's scores by this member that are at least as high.
/// The weights of the members that speak, divided by their sum, are `w`. What they say together is
///
/// * [`Combine::Max`]: `P = min(p / w)`, the weighted Bonferroni combination: what one member finds rare enough is rare. Of two
///   members of the same `p`, the one of ten times the weight counts for ten times as rare. (Roeder and Wasserman 2009, *Genome-wide
///   significance levels and weighted hypothesis testing*.)
/// * [`Combine::Mean`]: `P = e × Π p^w`, the weighted geometric mean: what all find somewhat rare is rare, and what one finds
///   rare and others usual is less so. (Vovk and Wang 2020, *Combining p-values via averaging*; `e` is what it
///   costs that members may say the same.)
///
/// and the score is `-log10 P`, at least 0 and at most 12: **a score of 4 comes with at most one record in 10 000**, as far as the key's
/// past tells, for either combination, and however much the members depend on each other: both are bounds of the tail
/// probability. Logarithms keep apart what is rare: a member that finds a record one in a billion has a say that an average of
/// scores in `[0, 1]`, where it is 0.999999999 to the 0.999 of another, would not give it. Below `1e-12`, which no past tells, all `p` are the same,
/// so that in a mean no member outweighs all others whatever they say.
///
/// A member has no say while it is warming, nor before `warmup` of its scores are known; without any say there is no score. The
/// expected value and the band are those of the member that contributed most, if it has them; of several, the first one.
///
/// A member is any logic that answers each record with one verdict at once; what it would do at a later time is not
/// asked for. In pipeline files members are detectors of one value, those that a program has added among them, with or without
/// parameters: `members = { running-range = 1.0, ewma-z = { weight = 0.6, alpha = 0.1 } }`; of several members by the
/// same detector each has a name of its own, as in `fast = { detector = "ewma-z", alpha = 0.3 }`. A detector whose scores are
/// probabilities already (`windowed-gaussian`) has nothing to say as a member: they lie too close together.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::{Combine, Ensemble, EwmaZ, RunningRange};
/// use tidewatch_dataflows::{EventTime, Key, Logic, Record};
///
/// let members = vec![(1.0, EwmaZ::new(0.05)?.erased()), (0.5, RunningRange::new(0.05, 30)?.erased())];
/// let ensemble = Ensemble::of(members, Combine::Max, 30)?;
/// let mut state = Logic::start(&ensemble, &Key::new("host"));
/// let mut score = |at: i64, value: f64| {
///     let (time, mut score) = (EventTime::from_secs(at).unwrap(), None);
///     let record = Record::new(time, [value]);
///     ensemble.on_record(&mut state, time, &record, &mut |_, verdict| score = verdict.score);
///     score
/// };
/// let calm: Vec<_> = (0..1000).map(|at| score(at, (at * 7919 % 101) as f64)).collect();
/// assert_eq!((calm[59], calm[998].map(|score| score < 1.0)), (None, Some(true)));
/// assert!(score(1000, 500.0).is_some_and(|score| score > 2.5));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
pub struct Ensemble {
    name: Name,
    members: Vec<Member>,
    combine: Combine,
    warmup: u32,
}

/// A detector of an [`Ensemble`].
struct Member {
    weight: f64,
    logic: DynLogic<Record, Verdict>,
}

/// What a member is made of: its weight and its logic.
type Weighted = (f64, DynLogic<Record, Verdict>);

/// How members of an [`Ensemble`] say one thing together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Combine {
    /// What one of them finds rare.
    #[default]
    Max,
    /// What they find rare in the mean of their logarithms.
    Mean,
}

const MEMBERS: Parameter = Parameter::with_default(
    "members",
    Kind::Table,
    Literal::Table(&[("auto", 1.0), ("ewma-z", 1.0)]),
    "detectors, each with its weight in (0, 1000000], or with a table of `weight`, parameters, and `detector` where the member is called otherwise",
);
const COMBINE: Parameter = Parameter::with_default(
    "combine",
    Kind::Choice(&["max", "mean"]),
    Literal::Text("max"),
    "whether it is enough that one member finds a record rare, or it is the mean of all that counts",
);
const WEIGHT: Parameter = Parameter::with_default(
    "weight",
    Kind::Number(Range { from: 0.0, to: 1e6, open: true }),
    Literal::Number(1.0),
    "how much a member counts beside the others",
);
const WARMUP: Parameter = Parameter::with_default(
    "warmup",
    Kind::Integer(1, 10_000),
    Literal::Integer(WARMUP_RECORDS as i64),
    "scores of a member before it has a say",
);
/// The least tail probability that counts as such.
const RAREST: f64 = 1e-12;

impl Ensemble {
    /// An ensemble of logics with their weights, each in `(0, 1000000]`, that have a say after `warmup` scores, in `[1, 10000]`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range, or if there is no member.
    pub fn of(members: Vec<Weighted>, combine: Combine, warmup: u32) -> Result<Self, ParamError> {
        WARMUP.integer(i64::from(warmup))?;
        if members.is_empty() {
            return Err(ParamError::Conflict { name: MEMBERS.name, reason: "names no detector".into() });
        }
        let member = |(weight, logic)| Ok(Member { weight: WEIGHT.number(weight)?, logic });
        let members = members.into_iter().map(member).collect::<Result<_, ParamError>>()?;
        Ok(Self { name: Self::NAME.into(), members, combine, warmup })
    }

    /// Names the verdicts.
    pub fn named(self, name: Name) -> Self {
        Self { name, ..self }
    }

    const NAME: &str = "ensemble";

    pub(super) fn info() -> DetectorInfo {
        DetectorInfo {
            name: Self::NAME,
            summary: "values that several detectors find rare together",
            score: "orders of magnitude of rarity: a score of 4 comes with at most one record in 10,000",
            threshold: Some(4.0),
            cool_down: 0,
            multivariate: false,
            parameters: vec![MEMBERS, COMBINE, WARMUP],
            cost: "O(members)",
            state: "392 + what members learn + up to 512 for each",
            source:
                "Vovk and Wang 2020, Combining p-values via averaging; Roeder and Wasserman 2009, Genome-wide significance levels and weighted hypothesis testing",
            construct: Arc::new(|params, selection, detectors| {
                let combine = match params.value(COMBINE.name) {
                    "mean" => Combine::Mean,
                    _ => Combine::Max,
                };
                let Selection { name, .. } = selection;
                let members = members::read(params.value(MEMBERS.name), &selection, detectors)?;
                Ok(Self::of(members, combine, params.value(WARMUP.name))?.named(name).erased())
            }),
        }
    }
}

/// What an [`Ensemble`] remembers of one key: of each member its state, and which scores it gave.
pub type EnsembleState = Box<[(AnyState, Calibration)]>;

/// What those members that have a say have said of a record.
struct Said {
    combine: Combine,
    /// The sum of their weights.
    weight: f64,
    sum: f64,
    greatest: f64,
    /// The verdict of the one that contributed most.
    verdict: Option<Verdict>,
}

impl Said {
    fn add(&mut self, weight: f64, probability: f64, verdict: &Verdict) {
        let probability = probability.max(RAREST);
        let contribution = match self.combine {
            Combine::Max => weight / probability,
            Combine::Mean => -weight * libm::log10(probability),
        };
        self.weight += weight;
        self.sum += contribution;
        if self.verdict.is_none() || contribution > self.greatest {
            (self.greatest, self.verdict) = (contribution, Some(*verdict));
        }
    }

    /// The decimal logarithm of the probability that follows, without its sign.
    fn score(&self) -> f64 {
        let score = match self.combine {
            // The probability that some p is at most w P is at most the sum of all w P, which is P.
            Combine::Max => libm::log10(self.greatest / self.weight),
            // Those -ln p that only a share P of records exceeds have a mean of at most 1 - ln P, and so have weighted means of several:
            // expected shortfalls are subadditive. No quantile is above its shortfall.
            Combine::Mean => self.sum / self.weight - LOG10_E,
        };
        score.max(0.0)
    }
}

impl Logic for Ensemble {
    type In = Record;
    type Out = Verdict;
    type State = EnsembleState;

    fn start(&self, key: &Key) -> EnsembleState {
        self.members.iter().map(|member| (member.logic.start(key), Calibration::default())).collect()
    }

    fn on_record(
        &self,
        states: &mut EnsembleState,
        time: EventTime,
        input: &Record,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let mut said = Said { combine: self.combine, weight: 0.0, sum: 0.0, greatest: 0.0, verdict: None };
        let mut value = None;
        for (Member { weight, logic }, (state, calibration)) in self.members.iter().zip(states.iter_mut()) {
            let mut answer = None;
            logic.on_record(state, time, input, &mut |_, verdict| answer = Some(verdict));
            let Some(answer) = answer else { continue };
            value = value.or(answer.value);
            let Some(score) = answer.score else { continue };
            if calibration.scores() >= self.warmup {
                said.add(*weight, calibration.probability(score), &answer);
            }
            calibration.learn(score);
        }
        let verdict = match &said.verdict {
            Some(verdict) => Verdict { detector: self.name, score: Some(said.score()), ..*verdict },
            None => Verdict { value, ..Verdict::of(self.name, None) },
        };
        out(time, verdict);
    }

    fn memory(&self, states: &EnsembleState) -> usize {
        let member = |(member, (state, calibration)): (&Member, &(AnyState, Calibration))| {
            member.logic.memory(state) + size_of::<Calibration>() + calibration.heap()
        };
        size_of::<EnsembleState>() + self.members.iter().zip(states).map(member).sum::<usize>()
    }

    fn copy(&self, states: &EnsembleState) -> EnsembleState {
        let copy = |(member, (state, calibration)): (&Member, &(AnyState, Calibration))| {
            (member.logic.copy(state), calibration.clone())
        };
        self.members.iter().zip(states).map(copy).collect()
    }

    fn save(&self, states: &EnsembleState, out: &mut Vec<u8>) {
        for (member, (state, calibration)) in self.members.iter().zip(states) {
            member.logic.save(state, out);
            state::save(calibration, out);
        }
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<EnsembleState, StateError> {
        let restore =
            |member: &Member| Ok((member.logic.restore(bytes)?, state::restore(Self::NAME, bytes)?));
        self.members.iter().map(restore).collect()
    }
}
