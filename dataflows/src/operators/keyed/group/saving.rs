//! How a group's states are saved as they were at a boundary, some at a time, while records go on.
//!
//! A key has changed since the last boundary if its last record or timer was at or after it. From a boundary on, a
//! cursor goes over the slots and saves what changed; a record or timer that comes to a key that it has not reached
//! saves the key first. So no key is saved twice, nothing is marked per record, and no activation saves more than it wants to.

use super::{Group, Slot};
use crate::state::Changes;
use crate::{EventTime, Key, Logic, Record};

/// How a group stands with its boundaries.
#[derive(Default)]
pub(super) struct Saved {
    /// Whether states are saved at all.
    is_wanted: bool,
    /// The boundary before, from which on a change is one.
    since: Option<EventTime>,
    /// Slots before it are saved.
    cursor: usize,
    /// Keys that lost their state since the last boundary, with their last records.
    evicted: Vec<(Key, EventTime)>,
}

impl Saved {
    /// A key loses its state.
    pub(super) fn evict(&mut self, key: &Key, last: EventTime) {
        if self.is_wanted {
            self.evicted.push((key.clone(), last));
        }
    }

    /// Saves the state of a slot at `at`, with when it was last changed, which is before the boundary, unless that has been done
    /// or it is as it was at the boundary before.
    pub(super) fn keep<L: Logic<State = S>, S>(
        &self,
        logic: &L,
        at: usize,
        (slot, changed): (&Slot<S>, EventTime),
        key: &Key,
        changes: &mut Changes,
    ) {
        let has_changed = self.since.is_none_or(|since| changed >= since);
        if let Some(state) = slot.state.as_ref().filter(|_| has_changed && at >= self.cursor) {
            changes.push(key, slot.last, |bytes| logic.save(state, bytes));
        }
    }
}

impl<S> Group<S> {
    /// Takes note that a timer of a key is called.
    pub(super) fn fire(&mut self, at: usize, time: EventTime) {
        let fired = &mut self.rest.fired;
        if fired.len() <= at {
            fired.resize(self.slots.len(), EventTime::MIN);
        }
        fired[at] = time;
    }

    /// When a key's state was last changed.
    fn changed(&self, at: usize) -> EventTime {
        let fired = self.rest.fired.get(at).copied().unwrap_or(EventTime::MIN);
        self.slots[at].last.max(fired)
    }

    /// From now on changes are noted; `since` is the boundary that its states were restored from.
    pub(in super::super) fn want_saved(&mut self, since: Option<EventTime>) {
        self.rest.saved.is_wanted = true;
        self.rest.saved.since = since;
    }

    /// Saves a key that is about to change, if it was not yet at the boundary.
    #[inline]
    pub(super) fn keep<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        at: usize,
        changes: &mut Changes,
    ) {
        // Mostly nothing is being saved, so that no record looks at more than its slot.
        if self.slots[at].last < self.saving && self.changed(at) < self.saving {
            let key = &self.rest.names.borrow()[at].key;
            self.rest.saved.keep(logic, at, (&self.slots[at], self.changed(at)), key, changes);
        }
    }

    /// Begins to save the states as they are at `boundary`, before which every record and timer has been seen.
    pub(in super::super) fn begin_saving(&mut self, boundary: EventTime, changes: &mut Changes) {
        self.saving = boundary;
        self.rest.saved.cursor = 0;
        for (key, last) in std::mem::take(&mut self.rest.saved.evicted) {
            if !self.has_state(&key) {
                changes.remove(&key, last);
            }
        }
    }

    fn has_state(&self, key: &Key) -> bool {
        let names = self.rest.names.borrow();
        let at = self.rest.index.find(key.id().hash(), |at| names[*at as usize].key == *key);
        at.is_some_and(|at| self.slots[*at as usize].state.is_some())
    }

    /// Saves states of at most so many slots; returns how many it has looked at, and whether those were the last.
    pub(in super::super) fn save_some<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        slots: usize,
        changes: &mut Changes,
    ) -> (usize, bool) {
        if self.saving == EventTime::MIN {
            return (0, true);
        }
        let start = self.rest.saved.cursor;
        let end = self.slots.len().min(start.saturating_add(slots));
        for at in start..end {
            self.keep(logic, at, changes);
        }
        let saved = &mut self.rest.saved;
        saved.cursor = end;
        let is_done = end == self.slots.len();
        if is_done {
            saved.since = Some(self.saving);
            self.saving = EventTime::MIN;
        }
        (end - start, is_done)
    }

    /// Takes a state back that was saved.
    pub(in super::super) fn restore<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        key: &str,
        last: EventTime,
        state: S,
    ) {
        let key = Key::new(key);
        let at = self.insert(key.id(), key) as usize;
        self.bytes += logic.memory(&state);
        self.keys += 1;
        if let Some(deadline) = logic.deadline(&state) {
            self.slots[at].armed = deadline;
            self.due = self.due.min(deadline);
            self.rest.timers.push(std::cmp::Reverse((deadline, at as u32)));
        }
        self.slots[at].last = last;
        self.slots[at].state = Some(state);
    }
}
