//! The state of the keys of one key group: their map, timers, limits and eviction.

mod saving;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use hashbrown::HashTable;

use self::saving::Saved;
use super::sight::Sight;
use super::Limits;
use crate::event::{Emission, KeyCause, KeyEvent};
use crate::record::{Key, KeyGroup, KeyId, KeyNumber};
use crate::state::Changes;
use crate::{EventTime, Logic, Record};

/// What every record of a key looks at.
struct Slot<S> {
    /// The state, from the first record on.
    state: Option<S>,
    /// The last record.
    last: EventTime,
    /// The time of the earliest timer in the heap; [`EventTime::MAX`] if there is none.
    armed: EventTime,
}

/// What else is known of a key.
pub(super) struct Named {
    pub(super) key: Key,
    /// How many dictionaries have a code for the key.
    holders: u32,
}

impl From<Key> for Named {
    fn from(key: Key) -> Self {
        Self { key, holders: 0 }
    }
}

/// What is known of the keys of a group, at their places; shared with whoever tells what a logic is at.
pub(super) type Names = Rc<RefCell<Vec<Named>>>;

/// The keys of a group. All that happens in it is in the order of `(time, partition, offset)`, timers before
/// the records of later times, so limits act alike at any number of workers.
pub(super) struct Group<S> {
    slots: Vec<Slot<S>>,
    /// The time of the first timer.
    due: EventTime,
    bytes: usize,
    keys: usize,
    /// The boundary at which states are being saved: one that was last changed before it may not have been. [`EventTime::MIN`]
    /// while none are.
    saving: EventTime,
    /// Apart, so that what every record looks at of all groups fits into the nearest cache.
    rest: Box<Rest>,
}

/// What few records of a group look at.
struct Rest {
    group: KeyGroup,
    /// As many as slots.
    names: Names,
    /// The place of each key, by its text.
    index: HashTable<u32>,
    free: Vec<u32>,
    timers: BinaryHeap<Reverse<(EventTime, u32)>>,
    /// The last timer of each key, as far as any was called.
    fired: Vec<EventTime>,
    /// Keys with state, and a time at or before each one's last record; made when a limit is first reached.
    silent: Option<BinaryHeap<Reverse<(EventTime, KeyId, u32)>>>,
    saved: Saved,
}

/// Where a group's emissions and evictions go.
pub(super) struct Outputs<'a, O> {
    pub(super) emit: &'a mut dyn FnMut(KeyNumber, Emission<O>),
    pub(super) evicted: &'a mut Vec<(KeyNumber, KeyEvent)>,
    /// The states at the boundary at which states are being saved.
    pub(super) saved: &'a mut Changes,
    pub(super) sight: &'a Sight,
}

impl<S> Group<S> {
    fn new(group: KeyGroup) -> Self {
        let rest = Rest {
            group,
            names: Names::default(),
            index: HashTable::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            fired: Vec::new(),
            silent: None,
            saved: Saved::default(),
        };
        Self {
            slots: Vec::new(),
            due: EventTime::MAX,
            bytes: 0,
            keys: 0,
            saving: EventTime::MIN,
            rest: Box::new(rest),
        }
    }

    /// How many keys have state.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// A dictionary has a code for the key; gives the key's place, where it stays as long as a row can need it.
    pub(super) fn learn(&mut self, key: Key) -> usize {
        let names = &self.rest.names;
        let id = key.id();
        let known = self.rest.index.find(id.hash(), |at| names.borrow()[*at as usize].key == key).copied();
        let at = known.unwrap_or_else(|| self.insert(id, key));
        self.rest.names.borrow_mut()[at as usize].holders += 1;
        at as usize
    }

    fn insert(&mut self, id: KeyId, key: Key) -> u32 {
        let slot = Slot { state: None, last: EventTime::MIN, armed: EventTime::MAX };
        let name = Named::from(key);
        let mut names = self.rest.names.borrow_mut();
        let at = match self.rest.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                names[at as usize] = name;
                at
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    // By a quarter, not by the whole: the map is most of the memory of a million keys.
                    let more = (self.slots.len() / 4).max(4);
                    self.slots.reserve_exact(more);
                    names.reserve_exact(more);
                }
                self.slots.push(slot);
                names.push(name);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^24 keys in a group")
            }
        };
        self.rest.index.insert_unique(id.hash(), at, |at| names[*at as usize].key.id().hash());
        at
    }

    /// A dictionary has no code for the key any more; `true` if none has.
    pub(super) fn forget(&mut self, at: usize) -> bool {
        let name = &mut self.rest.names.borrow_mut()[at];
        name.holders -= 1;
        name.holders == 0
    }

    /// Drops the key's text, which no waiting row needs, unless a dictionary or its state does.
    pub(super) fn prune(&mut self, at: usize) {
        let name = &self.rest.names.borrow()[at];
        if name.holders > 0 || self.slots[at].state.is_some() {
            return;
        }
        if let Ok(entry) = self.rest.index.find_entry(name.key.id().hash(), |found| *found as usize == at) {
            self.rest.free.push(entry.remove().0);
        }
    }

    /// Looks at a key's slot, so that it is near when a record needs it.
    #[inline]
    pub(super) fn touch(&self, at: usize) {
        std::hint::black_box(self.slots[at].armed);
    }

    /// Takes the group's next record, of the key at `at`. No record makes a timer of another key due at or after
    /// `end`.
    #[inline]
    pub(super) fn on_record<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        limits: &Limits,
        at: usize,
        record: &Record,
        end: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        let time = record.time;
        if self.due < time.min(end) {
            self.on_time(logic, time.min(end), out);
        }
        while self.slots[at].armed < time {
            self.call(logic, at, out);
        }
        self.keep(logic, at, out.saved);
        if self.slots[at].state.is_none() {
            self.start(logic, limits, at, time, out);
        }
        self.slots[at].last = time;
        self.step(logic, at, time, out, |state, mut emit| logic.on_record(state, time, record, &mut emit));
        if self.bytes > limits.state_per_group() {
            self.shrink(limits, logic, time, out);
        }
    }

    /// Lets a key's state take a step at `cause`, and takes note of what that did to its size and deadline.
    #[inline]
    fn step<L: Logic<State = S>>(
        &mut self,
        logic: &L,
        at: usize,
        cause: EventTime,
        out: &mut Outputs<'_, L::Out>,
        step: impl FnOnce(&mut S, &mut dyn FnMut(EventTime, L::Out)),
    ) {
        let slot = &mut self.slots[at];
        let Rest { group, names, .. } = &*self.rest;
        let Some(state) = &mut slot.state else { unreachable!("only a key with state takes a step") };
        self.bytes -= logic.memory(state);
        step(state, &mut |time, value| {
            assert_eq!(cause, time, "what a logic emits has the time of what caused it");
            (out.emit)(
                KeyNumber::new(*group, at),
                Emission { time, key: names.borrow()[at].key.clone(), value },
            );
        });
        self.bytes += logic.memory(state);
        if let Some(deadline) = logic.deadline(state).filter(|deadline| *deadline < slot.armed) {
            slot.armed = deadline;
            self.due = self.due.min(deadline);
            if self.rest.timers.len() >= 2 * self.slots.len() + 16 {
                // Timers that mean nothing any more must not outnumber those that do.
                let mut timers = std::mem::take(&mut self.rest.timers).into_vec();
                timers.retain(|Reverse((time, at))| self.slots[*at as usize].armed == *time);
                timers.sort_unstable();
                timers.dedup();
                self.rest.timers = timers.into();
            }
            self.rest.timers.push(Reverse((deadline, at as u32)));
        }
    }

    /// Calls the timers that are due before `limit`.
    pub(super) fn on_time<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        limit: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        while self.due < limit {
            let Some(Reverse((time, at))) = self.rest.timers.pop() else { break };
            // A timer whose state is gone, or that an earlier one replaced, means nothing.
            if self.slots[at as usize].armed == time {
                self.call(logic, at as usize, out);
            }
            self.due = self.rest.timers.peek().map_or(EventTime::MAX, |Reverse((time, _))| *time);
        }
    }

    /// Calls the earliest timer of a key that has one.
    fn call<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        at: usize,
        out: &mut Outputs<'_, L::Out>,
    ) {
        self.keep(logic, at, out.saved);
        let slot = &mut self.slots[at];
        let time = std::mem::replace(&mut slot.armed, EventTime::MAX);
        self.fire(at, time);
        out.sight.at_deadline(time, KeyNumber::new(self.rest.group, at));
        self.step(logic, at, time, out, |state, mut emit| {
            if logic.deadline(state).is_some_and(|deadline| deadline <= time) {
                logic.on_time(state, time, &mut emit);
            }
        });
        out.sight.past_deadline();
    }

    /// Lets every key emit what is still in progress: no record will follow, and all have come to `end`.
    pub(super) fn on_end<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        end: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        let Rest { group, names, .. } = &*self.rest;
        let names = names.borrow();
        for (at, (slot, name)) in self.slots.iter_mut().zip(names.iter()).enumerate() {
            if let Some(state) = &mut slot.state {
                out.sight.at_deadline(EventTime::MAX, KeyNumber::new(self.rest.group, at));
                logic.on_end(state, end, &mut |time, value| {
                    (out.emit)(KeyNumber::new(*group, at), Emission { time, key: name.key.clone(), value });
                });
            }
        }
        out.sight.past_deadline();
    }

    fn start<L: Logic<State = S>>(
        &mut self,
        logic: &L,
        limits: &Limits,
        at: usize,
        time: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        while self.keys >= limits.keys_per_group() && self.evict(logic, KeyCause::KeyLimit, time, out) {}
        let key = self.rest.names.borrow()[at].key.clone();
        let state = logic.start(&key);
        self.bytes += logic.memory(&state);
        self.slots[at].state = Some(state);
        if let Some(fired) = self.rest.fired.get_mut(at) {
            *fired = EventTime::MIN;
        }
        self.keys += 1;
        if let Some(silent) = &mut self.rest.silent {
            silent.push(Reverse((time, key.id(), at as u32)));
        }
    }

    /// Evicts until the group is within its limit on state, the longest-silent key first.
    fn shrink<L: Logic<State = S>>(
        &mut self,
        limits: &Limits,
        logic: &L,
        time: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        while self.bytes > limits.state_per_group() && self.evict(logic, KeyCause::StateLimit, time, out) {}
    }

    /// Evicts the longest-silent key, and of several the one with the least identifier; `false` if there is none.
    fn evict<L: Logic<State = S>>(
        &mut self,
        logic: &L,
        cause: KeyCause,
        time: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) -> bool {
        let (slots, names) = (&mut self.slots, self.rest.names.borrow());
        let silent = self.rest.silent.get_or_insert_with(|| {
            let with_state = slots.iter().enumerate().filter(|(_, slot)| slot.state.is_some());
            with_state.map(|(at, slot)| Reverse((slot.last, names[at].key.id(), at as u32))).collect()
        });
        while let Some(Reverse((last, id, at))) = silent.pop() {
            let (slot, key) = (&mut slots[at as usize], &names[at as usize].key);
            if slot.state.is_none() || key.id() != id {
                continue;
            }
            if slot.last != last {
                silent.push(Reverse((slot.last, id, at)));
                continue;
            }
            let fired = self.rest.fired.get(at as usize).copied().unwrap_or(EventTime::MIN);
            let changed = slot.last.max(fired);
            if changed < self.saving {
                self.rest.saved.keep(logic, at as usize, (slot, changed), key, out.saved);
            }
            self.rest.saved.evict(key, slot.last);
            let number = KeyNumber::new(id.group(), at as usize);
            if let Some(mut state) = slot.state.take() {
                self.bytes -= logic.memory(&state);
                out.sight.at_deadline(time, number);
                logic.on_evict(&mut state, time, &mut |time, value| {
                    (out.emit)(number, Emission { time, key: key.clone(), value });
                });
                out.sight.past_deadline();
            }
            slot.armed = EventTime::MAX;
            self.keys -= 1;
            let event = KeyEvent { time, key: key.clone(), group: id.group(), cause, last_record: last };
            out.evicted.push((number, event));
            return true;
        }
        false
    }
}

/// One group of state for each key group.
pub(super) struct Groups<S>(Vec<Group<S>>);

impl<S> Default for Groups<S> {
    fn default() -> Self {
        Self(KeyGroup::all().map(Group::new).collect())
    }
}

impl<S> Groups<S> {
    #[inline]
    pub(super) fn of(&mut self, group: KeyGroup) -> &mut Group<S> {
        &mut self.0[group.index()]
    }

    /// The text and the state of a key.
    pub(super) fn at(&self, number: KeyNumber) -> (Key, Option<&S>) {
        let group = &self.0[number.group().index()];
        let key = group.rest.names.borrow()[number.index()].key.clone();
        (key, group.slots[number.index()].state.as_ref())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group<S>> {
        self.0.iter_mut()
    }

    /// What is known of the keys of each group.
    pub(super) fn names(&self) -> Vec<Names> {
        self.0.iter().map(|group| group.rest.names.clone()).collect()
    }

    pub(super) fn keys(&self) -> usize {
        self.0.iter().map(Group::keys).sum()
    }

    /// The time before which no timer is due.
    pub(super) fn due(&self) -> EventTime {
        self.0.iter().map(|group| group.due).min().unwrap_or(EventTime::MAX)
    }
}
