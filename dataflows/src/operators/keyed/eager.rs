//! What is said of records before the frontier has passed them.
//!
//! **Protocol.** Of each key with records that wait, this holds the *steps* that its logic will take, as far as is known:
//! in `(time, partition, offset)` order, each record after the timers due before it, with a copy of the state after it.
//! A record at the end of the order takes one step from the last copy; one in the middle is inserted, and the steps
//! behind it are taken anew. What the steps emit is *said*; what changes is revised or retracted.
//!
//! When the frontier comes to `limit`, the final emissions are compared with what was said: each is said if it was not,
//! or revised if it was another, and then confirmed; what was said before `limit` and never came is retracted. So,
//! **whatever was said**, the changes up to `limit` add up to the final emissions up to `limit`. That makes it safe to stop
//! short: a key past the budget waits. Its steps are dropped, what was said of it stands, and nothing more is said until
//! the frontier has passed all its records. Evictions are not foreseen: the key's steps are taken anew.
//!
//! Nothing here has an effect on final emissions.

mod said;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use hashbrown::HashTable;

use super::group::Groups;
use crate::event::{Emission, KeyEvent, Ranked, Revision};
use crate::record::KeyNumber;
use crate::{EventTime, Logic, PartitionId, Record};
use said::{Meaning, Said, Voice};
use steps::{Allowance, Steps, TooCostly};

/// What may be kept so that something can be said at arrival. A key past it waits for the frontier; the final result
/// is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eager {
    /// Records of one key that are ahead of the frontier; also the timers that one record may make due. A record that is
    /// out of order replays at most so many.
    pub records: usize,
    /// Bytes of a state that is copied; a copy is made for each record.
    pub state: usize,
    /// Bytes of all copies and of what was said, for each worker.
    pub memory: usize,
}

impl Default for Eager {
    /// 256 records, 4 KiB, 256 MiB.
    fn default() -> Self {
        Self { records: 256, state: 4 << 10, memory: 256 << 20 }
    }
}

/// What is held of a key.
struct Known<L: Logic> {
    steps: Steps<L::State, L::Out>,
    said: Said<L::Out>,
    /// The time of the last record, of a key that waits until the frontier has passed it.
    waits: Option<EventTime>,
}

impl<L: Logic> Default for Known<L> {
    fn default() -> Self {
        Self { steps: Steps::default(), said: Said::default(), waits: None }
    }
}

impl<L: Logic<Out: Clone>> Known<L> {
    fn memory(&self) -> usize {
        self.steps.memory() + self.said.memory()
    }

    /// Says nothing more until the frontier has passed every record, of which the last is at `time` if no step is later.
    fn wait(&mut self, time: EventTime) {
        self.waits = self.waits.max(self.steps.last()).max(Some(time));
        self.steps.clear();
    }

    /// Takes the steps from number `from` on, and says what they emit: beside what is said, or in its place if it is to be
    /// said `anew`. Gives the times of what has a place for the first time.
    fn tell(
        &mut self,
        from: usize,
        anew: bool,
        logic: &L,
        base: Option<&L::State>,
        budget: &Eager,
        mut voice: Voice<'_, L::Out>,
    ) -> Vec<EventTime>
    where
        L: Logic<In = Record>,
    {
        let Some(last) = self.steps.last() else { return Vec::new() };
        let allowance = Allowance { state: budget.state, timers: budget.records };
        if let Err(TooCostly) = self.steps.take(from, logic, voice.key, base, allowance) {
            self.wait(last);
            return Vec::new();
        }
        if anew {
            return self.said.restate(self.steps.emitted(0), &mut voice);
        }
        self.said.extend(self.steps.emitted(from), &mut voice)
    }
}

/// The keys of which something was said.
pub(super) struct Provisions<L: Logic> {
    budget: Eager,
    meaning: Meaning<L::Out>,
    keys: Keys<Known<L>>,
    /// The keys with a record, or of which something was said, in each millisecond.
    due: Due,
    memory: usize,
    revisions: Vec<Revision<L::Out>>,
}

impl<L: Logic<In = Record, Out: Clone>> Provisions<L> {
    pub(super) fn new(budget: Eager) -> Self
    where
        L::Out: Ranked,
    {
        Self {
            budget,
            meaning: Meaning::default(),
            keys: HashTable::new(),
            due: Due::default(),
            memory: 0,
            revisions: Vec::new(),
        }
    }

    /// The keys whose texts are needed.
    pub(super) fn keys(&self) -> impl Iterator<Item = KeyNumber> + '_ {
        self.keys.iter().map(|(number, _)| *number)
    }

    /// The changes since the last call.
    pub(super) fn revisions(&mut self) -> impl Iterator<Item = Revision<L::Out>> + '_ {
        self.revisions.drain(..)
    }

    /// Takes a record that waits for the frontier.
    pub(super) fn arrive(
        &mut self,
        logic: &L,
        groups: &Groups<L::State>,
        number: KeyNumber,
        (time, partition): (EventTime, PartitionId),
        values: &[f64],
    ) {
        let (key, base) = groups.at(number);
        let known = entry(&mut self.keys, number);
        self.due.note(time, number);
        let may = self.memory < self.budget.memory && known.steps.len() < self.budget.records;
        self.memory -= known.memory();
        if known.waits.is_some() || !may {
            known.wait(time);
        } else {
            let at = known.steps.insert(time, partition, values);
            let is_last = at + 1 == known.steps.len();
            let voice = Voice { meaning: &self.meaning, key: &key, revisions: &mut self.revisions };
            let new = known.tell(at, !is_last, logic, base, &self.budget, voice);
            new.into_iter().for_each(|time| self.due.note(time, number));
        }
        self.memory += known.memory();
    }

    /// Takes what a key finally emits.
    pub(super) fn confirm(&mut self, number: KeyNumber, emission: &Emission<L::Out>) {
        let known = entry(&mut self.keys, number);
        self.memory -= known.memory();
        let mut voice = Voice { meaning: &self.meaning, key: &emission.key, revisions: &mut self.revisions };
        if known.said.confirm(emission.time, &emission.value, &mut voice) {
            self.due.note(emission.time, number);
        }
        self.memory += known.memory();
    }

    /// Takes note that all final emissions before `limit` were confirmed, and which keys lost their state.
    pub(super) fn pass(
        &mut self,
        limit: EventTime,
        evicted: &[(KeyNumber, KeyEvent)],
        logic: &L,
        groups: &Groups<L::State>,
    ) {
        self.forget(limit, groups);
        for (number, _) in evicted {
            self.retake(*number, logic, groups);
        }
    }

    /// Settles what was said before `limit`, and drops the steps that were finally taken.
    fn forget(&mut self, limit: EventTime, groups: &Groups<L::State>) {
        for number in self.due.take(limit) {
            let (key, _) = groups.at(number);
            let mut voice = Voice { meaning: &self.meaning, key: &key, revisions: &mut self.revisions };
            let Ok(mut found) = find(&mut self.keys, number) else { continue };
            let (_, known) = found.get_mut();
            self.memory -= known.memory();
            known.said.pass(limit, &mut voice);
            known.steps.pass(limit);
            if known.waits.is_some_and(|until| until < limit) {
                // No record waits, so nothing is to be said but what is final.
                known.waits = None;
                known.said.restate(std::iter::empty(), &mut voice);
            }
            self.memory += known.memory();
            if known.said.is_empty() && known.steps.len() == 0 && known.waits.is_none() {
                found.remove();
            }
        }
    }

    /// Takes a key's steps anew, from another state than they were taken from.
    fn retake(&mut self, number: KeyNumber, logic: &L, groups: &Groups<L::State>) {
        let (key, base) = groups.at(number);
        let Ok(mut found) = find(&mut self.keys, number) else { return };
        let (_, known) = found.get_mut();
        self.memory -= known.memory();
        let voice = Voice { meaning: &self.meaning, key: &key, revisions: &mut self.revisions };
        let new = known.tell(0, true, logic, base, &self.budget, voice);
        new.into_iter().for_each(|time| self.due.note(time, number));
        self.memory += known.memory();
    }
}

/// What is known of keys by their numbers.
type Keys<V> = HashTable<(KeyNumber, V)>;

type Found<'a, V> = hashbrown::hash_table::OccupiedEntry<'a, (KeyNumber, V)>;

fn hash(number: KeyNumber) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytemuck::bytes_of(&number))
}

fn find<V>(keys: &mut Keys<V>, number: KeyNumber) -> Result<Found<'_, V>, ()> {
    keys.find_entry(hash(number), |(known, _)| *known == number).map_err(drop)
}

fn entry<V: Default>(keys: &mut Keys<V>, number: KeyNumber) -> &mut V {
    let entry = keys.entry(hash(number), |(known, _)| *known == number, |(known, _)| hash(*known));
    &mut entry.or_insert_with(|| (number, V::default())).into_mut().1
}

/// Keys by the millisecond in which something of them is due.
#[derive(Default)]
struct Due(BTreeMap<EventTime, Vec<KeyNumber>>);

impl Due {
    fn note(&mut self, time: EventTime, number: KeyNumber) {
        let keys = self.0.entry(time.floor_ms()).or_default();
        if keys.last() != Some(&number) {
            keys.push(number);
        }
    }

    /// The keys with something due before `limit`, a whole millisecond or the end, each once.
    fn take(&mut self, limit: EventTime) -> Vec<KeyNumber> {
        let open = self.0.split_off(&limit);
        let passed = std::mem::replace(&mut self.0, open);
        let mut keys: Vec<_> = passed.into_values().flatten().collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
