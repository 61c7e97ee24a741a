//! Keyed state that survives: saved at boundaries, restored at one.
//!
//! **Protocol.** Boundaries are announced on a stream of their own, whose frontier is the *horizon*: no boundary before it
//! will be announced any more. State advances to the lower of the horizon and the frontier of the rows, so it passes
//! no boundary that it has not heard of. At a boundary it stops for no longer than it takes to note it; what changed since the one
//! before is then saved some at a time, and before a record changes it again ([`Group`](super::group::Group)). So every worker saves
//! the same boundaries, each exactly what follows from the records and timers before it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;

use super::group::Groups;
use crate::flow::ports::Port;
use crate::record::KeyId;
use crate::state::{Change, Changes, StateError};
use crate::{EventTime, Logic, Record};

/// How many slots are looked at in one activation.
const SLOTS: usize = 1 << 14;
/// How many bytes are saved before they are sent on.
const BYTES: usize = 1 << 20;

/// An announcement: the index of the worker that it is for, and the boundary.
pub type Announced = (u64, Boundary);

/// Where state is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boundary {
    /// At an event time that nobody's state has passed.
    At(EventTime),
    /// Where the state of all workers stands, once it can go no further because nothing is read any more.
    Here,
}

/// What keyed state needs to survive.
pub struct Durable<'scope> {
    /// Each boundary once for each worker, in growing order, and none before the time under which it is announced.
    pub boundaries: StreamVec<'scope, EventTime, Announced>,
    /// The boundary at which state was saved by an earlier run; none if there was no such run.
    pub boundary: Option<EventTime>,
    /// Gives to its argument what was saved then of the keys that this worker owns.
    pub restore: Box<Restore>,
}

/// Gives each kept key to its argument, and passes its error on.
pub type Restore = dyn FnOnce(&mut Take<'_>) -> Result<(), StateError>;
/// Takes a kept key back.
pub type Take<'a> = dyn FnMut(Change<'_>) -> Result<(), StateError> + 'a;

impl<S> Groups<S> {
    /// Takes back what was kept, and notes from now on what changes.
    pub(super) fn restore<L: Logic<In = Record, State = S>>(
        &mut self,
        logic: &L,
        boundary: Option<EventTime>,
        restore: Box<Restore>,
    ) -> Result<(), StateError> {
        self.iter_mut().for_each(|group| group.want_saved(boundary));
        restore(&mut |change| {
            let Some(mut bytes) = change.state else { return Ok(()) };
            let state = logic.restore(&mut bytes)?;
            self.of(KeyId::of(change.key).group()).restore(logic, change.key, change.last, state);
            Ok(())
        })
    }
}

/// Saves state at boundaries.
pub(super) struct Saver {
    announced: VecDeque<EventTime>,
    /// What is saved, until it is sent.
    pub(super) changes: Changes,
    /// The group whose states are saved next, while some are.
    at: Option<usize>,
    port: Port<Changes>,
    capability: Option<Capability<EventTime>>,
}

impl Saver {
    pub(super) fn new(port: Port<Changes>, capability: Option<Capability<EventTime>>) -> Self {
        let changes = Changes::at(EventTime::MIN);
        Self { announced: VecDeque::new(), changes, at: None, port, capability }
    }

    /// Takes an announcement, while state stands at `reached`.
    pub(super) fn hear(&mut self, boundary: Boundary, reached: EventTime) {
        match boundary {
            Boundary::At(boundary) => self.announced.push_back(boundary),
            // Before all that state will not come to any more.
            Boundary::Here => self.announced.push_front(reached),
        }
    }

    /// The next boundary.
    pub(super) fn next(&self) -> Option<EventTime> {
        self.announced.front().copied()
    }

    /// Begins to save the states at the next boundary, which they have reached.
    pub(super) fn begin<L: Logic<In = Record>>(&mut self, logic: &L, groups: &mut Groups<L::State>) {
        while !self.go_on(logic, groups) {}
        let Some(boundary) = self.announced.pop_front() else { return };
        if let Some(capability) = &mut self.capability {
            capability.downgrade(&boundary);
        }
        self.changes = Changes::at(boundary);
        groups.iter_mut().for_each(|group| group.begin_saving(boundary, &mut self.changes));
        self.at = Some(0);
    }

    /// Saves some more; `true` once everything is.
    pub(super) fn go_on<L: Logic<In = Record>>(&mut self, logic: &L, groups: &mut Groups<L::State>) -> bool {
        let Some(at) = &mut self.at else { return true };
        let mut left = SLOTS;
        for group in groups.iter_mut().skip(*at) {
            let (looked_at, is_done) = group.save_some(logic, left, &mut self.changes);
            left = left.saturating_sub(looked_at.max(1));
            *at += usize::from(is_done);
            if left == 0 || self.changes.bytes() >= BYTES {
                break;
            }
        }
        let is_done = *at == crate::record::KEY_GROUPS;
        if is_done {
            self.at = None;
        }
        if is_done || self.changes.bytes() >= BYTES {
            self.send(is_done);
        }
        is_done
    }

    fn send(&mut self, is_last: bool) {
        let Some(capability) = &self.capability else { return };
        let next = Changes::at(self.changes.boundary);
        let mut changes = std::mem::replace(&mut self.changes, next);
        changes.is_last = is_last;
        self.port.activate().session(capability).give(changes);
    }

    /// Nothing before `reached` will be saved any more, and at last nothing at all.
    pub(super) fn downgrade(&mut self, reached: EventTime, is_last: bool) {
        if is_last {
            self.capability = None;
        } else if let (None, Some(capability)) = (self.at, &mut self.capability) {
            if reached > *capability.time() {
                capability.downgrade(&reached);
            }
        }
    }
}

#[cfg(test)]
mod tests;
