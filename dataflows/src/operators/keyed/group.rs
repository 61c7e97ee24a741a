//! The state of the keys of one key group: their map, timers, limits and eviction.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashTable;

use super::Limits;
use crate::event::{Emission, KeyCause, KeyEvent};
use crate::record::{Head, Key, KeyGroup, KeyId};
use crate::{EventTime, Logic, Record};

/// What is known of one key.
struct Slot<S> {
    id: KeyId,
    key: Key,
    /// The state, from the first record on.
    state: Option<S>,
    /// The last record.
    last: EventTime,
    /// The time of the earliest timer in the heap; [`EventTime::MAX`] if there is none.
    armed: EventTime,
    /// How many source workers name the key by its identifier alone.
    holders: u32,
    /// The bytes of state that the group counts for it.
    bytes: u32,
}

/// The keys of a group. All that happens in it is in the order of `(time, partition, offset)`, timers before
/// the records of later times, so limits act alike at any number of workers.
pub(super) struct Group<S> {
    index: HashTable<u32>,
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    timers: BinaryHeap<Reverse<(EventTime, u32)>>,
    /// The time of the first timer: looked at for every record.
    due: EventTime,
    /// Keys with state, and a time at or before each one's last record; made when a limit is first reached.
    silent: Option<BinaryHeap<Reverse<(EventTime, KeyId, u32)>>>,
    keys: usize,
    bytes: usize,
}

impl<S> Default for Group<S> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            due: EventTime::MAX,
            silent: None,
            keys: 0,
            bytes: 0,
        }
    }
}

/// Where a group's emissions and evictions go.
pub(super) struct Outputs<'a, O> {
    pub(super) emit: &'a mut dyn FnMut(Emission<O>),
    pub(super) evicted: &'a mut Vec<KeyEvent>,
}

impl<S> Group<S> {
    /// How many keys have state.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    #[inline]
    fn find(&self, id: KeyId) -> Option<u32> {
        let slots = &self.slots;
        self.index.find(id.hash(), |at| slots[*at as usize].id == id).copied()
    }

    fn insert(&mut self, id: KeyId, key: Key) -> u32 {
        let slot =
            Slot { id, key, state: None, last: EventTime::MIN, armed: EventTime::MAX, holders: 0, bytes: 0 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    // By a quarter, not by half of the whole: the map is most of the memory of a million keys.
                    self.slots.reserve_exact((self.slots.len() / 4).max(4));
                }
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 keys in a group")
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(id.hash(), at, |at| slots[*at as usize].id.hash());
        at
    }

    /// A source worker will name the key by its identifier.
    pub(super) fn learn(&mut self, id: KeyId, key: Key) {
        let at = self.find(id).unwrap_or_else(|| self.insert(id, key));
        self.slots[at as usize].holders += 1;
    }

    /// A source worker will say the key's text again before it names it; `true` if nobody names it any more.
    pub(super) fn forget(&mut self, id: KeyId) -> bool {
        self.find(id).is_some_and(|at| {
            let slot = &mut self.slots[at as usize];
            slot.holders = slot.holders.saturating_sub(1);
            slot.holders == 0
        })
    }

    /// Drops the key's text, if nobody names it and it has no state.
    pub(super) fn prune(&mut self, id: KeyId) {
        let slots = &self.slots;
        let Ok(entry) = self.index.find_entry(id.hash(), |at| slots[*at as usize].id == id) else { return };
        let at = *entry.get();
        let slot = &self.slots[at as usize];
        if slot.holders == 0 && slot.state.is_none() {
            entry.remove();
            self.free.push(at);
        }
    }

    /// Takes the group's next record; `record` holds its time and values. No record makes a timer of another key due
    /// at or after `end`.
    #[inline]
    pub(super) fn on_record<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        limits: &Limits,
        head: &Head,
        record: &Record,
        end: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        let time = head.time;
        if self.due < time.min(end) {
            self.on_time(logic, time.min(end), out);
        }
        let at = self.find(head.key).unwrap_or_else(|| self.insert(head.key, unnamed(head.key)));
        while self.slots[at as usize].armed < time {
            self.call(logic, at, out);
        }
        if self.slots[at as usize].state.is_none() {
            self.start(logic, limits, at, time, out);
        }
        let slot = &mut self.slots[at as usize];
        slot.last = time;
        let Slot { key, state: Some(state), .. } = slot else { unreachable!("it was just started") };
        logic.on_record(state, time, record, &mut |time, value| {
            (out.emit)(Emission { time, key: key.clone(), value });
        });
        self.settle(logic, at);
        if self.bytes > limits.state_per_group() {
            self.shrink(limits, time, out);
        }
    }

    /// Takes note of what the logic did to a state: its deadline and its size.
    #[inline]
    fn settle<L: Logic<State = S>>(&mut self, logic: &L, at: u32) {
        let slot = &mut self.slots[at as usize];
        let Some(state) = &slot.state else { return };
        let bytes = u32::try_from(logic.memory(state)).unwrap_or(u32::MAX);
        if bytes != slot.bytes {
            self.bytes = self.bytes + bytes as usize - slot.bytes as usize;
            slot.bytes = bytes;
        }
        if let Some(deadline) = logic.deadline(state) {
            if deadline < slot.armed {
                slot.armed = deadline;
                self.timers.push(Reverse((deadline, at)));
                self.due = self.due.min(deadline);
            }
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
            let Some(Reverse((time, at))) = self.timers.pop() else { break };
            // A timer whose state is gone, or that an earlier one replaced, means nothing.
            if self.slots[at as usize].armed == time {
                self.call(logic, at, out);
            }
            self.due = self.timers.peek().map_or(EventTime::MAX, |Reverse((time, _))| *time);
        }
    }

    /// Calls the earliest timer of a key that has one.
    fn call<L: Logic<In = Record, State = S>>(&mut self, logic: &L, at: u32, out: &mut Outputs<'_, L::Out>) {
        let slot = &mut self.slots[at as usize];
        let time = std::mem::replace(&mut slot.armed, EventTime::MAX);
        let Slot { key, state: Some(state), .. } = slot else { unreachable!("an evicted key is not armed") };
        if logic.deadline(state).is_some_and(|deadline| deadline <= time) {
            logic.on_time(state, time, &mut |time, value| {
                (out.emit)(Emission { time, key: key.clone(), value });
            });
        }
        self.settle(logic, at);
    }

    /// Lets every key emit what is still in progress: no record will follow.
    pub(super) fn on_end<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        out: &mut Outputs<'_, L::Out>,
    ) {
        for Slot { key, state, .. } in &mut self.slots {
            if let Some(state) = state {
                logic
                    .on_end(state, &mut |time, value| (out.emit)(Emission { time, key: key.clone(), value }));
            }
        }
    }

    fn start<L: Logic<State = S>>(
        &mut self,
        logic: &L,
        limits: &Limits,
        at: u32,
        time: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) {
        while self.keys >= limits.keys_per_group() && self.evict(KeyCause::KeyLimit, time, out) {}
        let slot = &mut self.slots[at as usize];
        slot.state = Some(logic.start(&slot.key));
        self.keys += 1;
        if let Some(silent) = &mut self.silent {
            silent.push(Reverse((time, slot.id, at)));
        }
    }

    /// Evicts until the group is within its limit on state; the key of the present record goes last.
    fn shrink<O>(&mut self, limits: &Limits, time: EventTime, out: &mut Outputs<'_, O>) {
        while self.bytes > limits.state_per_group() && self.evict(KeyCause::StateLimit, time, out) {}
    }

    /// Evicts the longest-silent key, and of several the one with the least identifier; `false` if there is none.
    fn evict<O>(&mut self, cause: KeyCause, time: EventTime, out: &mut Outputs<'_, O>) -> bool {
        let slots = &mut self.slots;
        let silent = self.silent.get_or_insert_with(|| {
            let with_state = slots.iter().enumerate().filter(|(_, slot)| slot.state.is_some());
            with_state.map(|(at, slot)| Reverse((slot.last, slot.id, at as u32))).collect()
        });
        while let Some(Reverse((last, id, at))) = silent.pop() {
            let slot = &mut slots[at as usize];
            if slot.id != id || slot.state.is_none() {
                continue;
            }
            if slot.last != last {
                silent.push(Reverse((slot.last, id, at)));
                continue;
            }
            slot.state = None;
            slot.armed = EventTime::MAX;
            self.bytes -= std::mem::take(&mut slot.bytes) as usize;
            self.keys -= 1;
            out.evicted.push(KeyEvent {
                time,
                key: slot.key.clone(),
                group: id.group(),
                cause,
                last_record: last,
            });
            return true;
        }
        false
    }
}

/// The name of a key whose text no batch carried, as of a stream that was made without a dictionary.
fn unnamed(id: KeyId) -> Key {
    let [low, high]: [u64; 2] = bytemuck::cast(id);
    Key::new(&format!("{high:016x}{low:016x}"))
}

/// One group of state for each key group.
pub(super) struct Groups<S>(Vec<Group<S>>);

impl<S> Default for Groups<S> {
    fn default() -> Self {
        Self((0..crate::record::KEY_GROUPS).map(|_| Group::default()).collect())
    }
}

impl<S> Groups<S> {
    #[inline]
    pub(super) fn of(&mut self, group: KeyGroup) -> &mut Group<S> {
        &mut self.0[group.index()]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group<S>> {
        self.0.iter_mut()
    }

    pub(super) fn keys(&self) -> usize {
        self.0.iter().map(Group::keys).sum()
    }
}
