//! One logic after another, within a key.

use super::Logic;
use crate::state::StateError;
use crate::{EventTime, Key};

/// Feeds what `first` emits to `second`; made by [`Logic::then`].
#[derive(Clone, Debug)]
pub struct Then<A, B> {
    first: A,
    second: B,
}

impl<A, B> Then<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Logic, B: Logic<In = A::Out>> Then<A, B> {
    /// Gives the second logic what the first one emits at `time`, after its timers that are due before: none must be overtaken.
    #[inline]
    fn pass_on(
        &self,
        state: &mut B::State,
        time: EventTime,
        middle: &A::Out,
        out: &mut impl FnMut(EventTime, B::Out),
    ) {
        while let Some(due) = self.second.deadline(state).filter(|due| *due < time) {
            self.second.on_time(state, due, out);
        }
        self.second.on_record(state, time, middle, out);
    }
}

impl<A: Logic, B: Logic<In = A::Out>> Logic for Then<A, B> {
    type In = A::In;
    type Out = B::Out;
    type State = (A::State, B::State);

    fn start(&self, key: &Key) -> Self::State {
        (self.first.start(key), self.second.start(key))
    }

    #[inline]
    fn on_record(
        &self,
        (first, second): &mut Self::State,
        time: EventTime,
        input: &A::In,
        out: &mut impl FnMut(EventTime, B::Out),
    ) {
        self.first
            .on_record(first, time, input, &mut |time, middle| self.pass_on(second, time, &middle, out));
    }

    #[inline]
    fn deadline(&self, (first, second): &Self::State) -> Option<EventTime> {
        match (self.first.deadline(first), self.second.deadline(second)) {
            (Some(first), Some(second)) => Some(first.min(second)),
            (first, second) => first.or(second),
        }
    }

    /// At a common deadline the first logic goes first: what it emits then still counts for the second.
    fn on_time(
        &self,
        (first, second): &mut Self::State,
        time: EventTime,
        out: &mut impl FnMut(EventTime, B::Out),
    ) {
        if self.first.deadline(first).is_some_and(|due| due <= time) {
            self.first.on_time(first, time, &mut |time, middle| self.pass_on(second, time, &middle, out));
        }
        while let Some(due) = self.second.deadline(second).filter(|due| *due <= time) {
            self.second.on_time(second, due, out);
        }
    }

    fn on_end(
        &self,
        (first, second): &mut Self::State,
        end: EventTime,
        out: &mut impl FnMut(EventTime, B::Out),
    ) {
        self.first.on_end(first, end, &mut |time, middle| self.pass_on(second, time, &middle, out));
        self.second.on_end(second, end, out);
    }

    fn on_evict(
        &self,
        (first, second): &mut Self::State,
        time: EventTime,
        out: &mut impl FnMut(EventTime, B::Out),
    ) {
        self.first.on_evict(first, time, &mut |time, middle| self.pass_on(second, time, &middle, out));
        self.second.on_evict(second, time, out);
    }

    #[inline]
    fn memory(&self, (first, second): &Self::State) -> usize {
        self.first.memory(first) + self.second.memory(second)
    }

    fn copy(&self, (first, second): &Self::State) -> Self::State {
        (self.first.copy(first), self.second.copy(second))
    }

    fn save(&self, (first, second): &Self::State, out: &mut Vec<u8>) {
        self.first.save(first, out);
        self.second.save(second, out);
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError> {
        Ok((self.first.restore(bytes)?, self.second.restore(bytes)?))
    }
}
