//! The rules that make output exactly once, one by one.
//!
//! What sinks and stores promise is among them ([`EntriesAreNew`](Rule::EntriesAreNew),
//! [`FencedBeforeProgressIsRead`](Rule::FencedBeforeProgressIsRead), [`ProgressWithOutput`](Rule::ProgressWithOutput)): there
//! those of a simulation can break them.

use super::Control;

/// A rule that runs obey so that whatever crashes, output is that of a run that was not disturbed. A simulation switches one off
/// and must find a history in which that shows; so each rule is known to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// An entry of the log is written only where there is none.
    EntriesAreNew,
    /// Nobody appends after an entry of a higher epoch.
    LogEndsEarlierRuns,
    /// A shard's progress is read once nobody else can commit to it any more.
    FencedBeforeProgressIsRead,
    /// A commit makes output and progress visible at once.
    ProgressWithOutput,
    /// What a shard has committed is not given to it again.
    NothingTwice,
    /// A run goes on from a checkpoint that all shards have passed.
    CheckpointThatShardsHavePassed,
    /// A run goes on from the newest checkpoint whose objects are intact.
    CheckpointThatIsIntact,
    /// A checkpoint is of what all workers have saved.
    CheckpointOfAllWorkers,
    /// What a partition that is read again has before the boundary is in the state already.
    NothingBeforeBoundary,
    /// A record is late or not before it is asked whether it is in the state already.
    LateFirst,
    /// A decision applies once it is in the log.
    DecisionsAreDurable,
    /// A partition that is decided about is not read before the decision applies.
    RecordsWaitForDecisions,
    /// Decisions of earlier runs apply again, at their offsets.
    DecisionsApplyAgain,
    /// Nothing is decided about a partition before the decisions of earlier runs on it have applied.
    OldDecisionsFirst,
    /// Nothing is decided about a partition before it has come to the floor.
    NoSilenceBelowFloor,
    /// The floor is at or above what any shard has committed.
    FloorAboveCommits,
    /// What joins a job, joins at the floor.
    JoinsAtFloor,
    /// What joins a job is in the log.
    JoinsAreDurable,
    /// Nothing joins after a shard has committed the end.
    NoJoinAfterEnd,
    /// An edition of reference data is in force once it is in the log.
    EditionsAreDurable,
    /// No edition of reference data is in force from before the floor on that an earlier run has not taken up.
    EditionsAtFloor,
    /// Checkpoints are kept back to the newest that all shards have passed.
    CheckpointsAreKept,
    /// Entries are kept that say something that a kept checkpoint does not.
    EntriesAreKept,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::EntriesAreNew,
        Self::LogEndsEarlierRuns,
        Self::FencedBeforeProgressIsRead,
        Self::ProgressWithOutput,
        Self::NothingTwice,
        Self::CheckpointThatShardsHavePassed,
        Self::CheckpointThatIsIntact,
        Self::CheckpointOfAllWorkers,
        Self::NothingBeforeBoundary,
        Self::LateFirst,
        Self::DecisionsAreDurable,
        Self::RecordsWaitForDecisions,
        Self::DecisionsApplyAgain,
        Self::OldDecisionsFirst,
        Self::NoSilenceBelowFloor,
        Self::FloorAboveCommits,
        Self::JoinsAtFloor,
        Self::JoinsAreDurable,
        Self::NoJoinAfterEnd,
        Self::EditionsAreDurable,
        Self::EditionsAtFloor,
        Self::CheckpointsAreKept,
        Self::EntriesAreKept,
    ];
}

impl Control {
    /// Whether the run obeys a rule; only that of a simulation may not.
    pub fn obeys(&self, rule: Rule) -> bool {
        self.0.broken != Some(rule)
    }
}
