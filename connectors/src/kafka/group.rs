//! How far a source is read, as offsets of a consumer group: for tools that show the lag.
//!
//! They say what is read, not what is final, so that no lag is shown where nothing is left to read. Recovery never looks at
//! them and nothing waits for them, so whoever else tells of the same group, as a run that does not know that its time is
//! over, does no harm. The group has no members.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{info, warn};

use super::client::{natural, offset, KafkaConsumer};
use super::news::Reminder;
use super::Place;
use crate::lock;

/// How often they are told at most.
const EVERY: Duration = Duration::from_secs(1);
/// How long the end of a run waits for the brokers to take the last ones.
const FAREWELL: Duration = Duration::from_secs(3);

/// Tells a group how far the partitions of a client have been read.
pub(super) struct Telling {
    group: String,
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    partitions: BTreeMap<(String, i32), Told>,
    /// What has failed at least twice in a row.
    trouble: Option<Reminder>,
    has_failed: bool,
    /// Whether nothing is read any more, and whether the group knows.
    is_finishing: bool,
    has_finished: bool,
}

/// What is known of a partition.
struct Told {
    /// Where reading starts, and where it ends, if it does.
    start: u64,
    stop: Option<u64>,
    /// What the group was told.
    told: Option<u64>,
}

impl Told {
    /// How far it is read if what was last taken from the client is the record before `position`, or nothing.
    fn read(&self, position: Offset) -> u64 {
        let read = match position {
            Offset::Offset(position) => natural(position),
            _ => self.start,
        };
        // What comes behind its end is taken from the client, but not read.
        self.stop.map_or(read, |stop| read.min(stop))
    }
}

impl Telling {
    pub(super) fn to(group: &str) -> Self {
        Self { group: group.to_owned(), state: Mutex::default(), change: Condvar::new() }
    }

    /// Takes in a partition that is read from `start` on, and up to `stop`.
    pub(super) fn watch(&self, place: &Place, start: u64, stop: Option<u64>) {
        let told = Told { start, stop, told: None };
        lock(&self.state).partitions.insert((place.topic.clone(), place.number), told);
    }

    /// Tells how far reading is whenever that has changed, until nothing is read any more. It has a thread of its own, because
    /// brokers take their time, and only to whoever waits for it does the library say what became of a commit.
    pub(super) fn tell(&self, consumer: &KafkaConsumer) {
        loop {
            let is_last = lock(&self.state).is_finishing;
            match self.commit(consumer) {
                Ok(()) => self.succeed(),
                Err(error) => self.fail(&error),
            }
            let mut state = lock(&self.state);
            if is_last {
                state.has_finished = true;
                self.change.notify_all();
                return;
            }
            let waited = self.change.wait_timeout_while(state, EVERY, |state| !state.is_finishing);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Has it told a last time, and waits a moment until it is, unless nobody `answers`.
    pub(super) fn finish(&self, answers: bool) {
        let patience = if answers { FAREWELL } else { Duration::ZERO };
        let mut state = lock(&self.state);
        state.is_finishing = true;
        self.change.notify_all();
        let waited = self.change.wait_timeout_while(state, patience, |state| !state.has_finished);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Commits what has changed, and waits until the brokers have taken it.
    fn commit(&self, consumer: &KafkaConsumer) -> KafkaResult<()> {
        let positions = consumer.position()?;
        let mut changed = TopicPartitionList::new();
        for element in positions.elements() {
            let partition = (element.topic().to_owned(), element.partition());
            let mut state = lock(&self.state);
            let Some(known) = state.partitions.get_mut(&partition) else { continue };
            let read = known.read(element.offset());
            if known.told.replace(read) != Some(read) {
                changed.add_partition_offset(&partition.0, partition.1, offset(read))?;
            }
        }
        match changed.count() {
            0 => Ok(()),
            _ => consumer.commit(&changed, CommitMode::Sync),
        }
    }

    fn succeed(&self) {
        let mut state = lock(&self.state);
        state.has_failed = false;
        if state.trouble.take().is_some() {
            info!(group = self.group, "the group is told again how far reading is");
        }
    }

    /// Says a failure that lasts now and then; all is told anew.
    fn fail(&self, error: &KafkaError) {
        let mut state = lock(&self.state);
        state.partitions.values_mut().for_each(|partition| partition.told = None);
        // Whoever coordinates the group may have changed just now.
        if std::mem::replace(&mut state.has_failed, true) && state.trouble.get_or_insert_default().is_due() {
            let group = &*self.group;
            warn!(group, %error, "the group cannot be told how far reading is, which only tools for lag show");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_was_read() {
        let told = |stop| Told { start: 3, stop, told: None };
        assert_eq!(3, told(None).read(Offset::Invalid), "nothing was taken yet");
        assert_eq!(8, told(None).read(Offset::Offset(8)));
        assert_eq!([7, 8, 8], [7, 8, 9].map(|at| told(Some(8)).read(Offset::Offset(at))));
    }
}
