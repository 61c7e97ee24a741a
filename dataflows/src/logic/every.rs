//! Several logics over the same input, within a key.

use super::Logic;
use crate::state::StateError;
use crate::{EventTime, Key};

/// Gives what it takes to each of its logics, in their order.
#[derive(Clone, Debug)]
pub struct Every<L>(Vec<L>);

impl<L: Logic> Every<L> {
    /// Lets all of `logics` see the same input.
    pub fn of(logics: Vec<L>) -> Self {
        Self(logics)
    }

    fn each<'a>(&'a self, states: &'a mut [L::State]) -> impl Iterator<Item = (&'a L, &'a mut L::State)> {
        self.0.iter().zip(states)
    }
}

impl<L: Logic> Logic for Every<L> {
    type In = L::In;
    type Out = L::Out;
    type State = Box<[L::State]>;

    fn start(&self, key: &Key) -> Self::State {
        self.0.iter().map(|logic| logic.start(key)).collect()
    }

    fn on_record(
        &self,
        states: &mut Self::State,
        time: EventTime,
        input: &L::In,
        out: &mut impl FnMut(EventTime, L::Out),
    ) {
        for (logic, state) in self.each(states) {
            logic.on_record(state, time, input, out);
        }
    }

    fn deadline(&self, states: &Self::State) -> Option<EventTime> {
        self.0.iter().zip(states).filter_map(|(logic, state)| logic.deadline(state)).min()
    }

    fn on_time(&self, states: &mut Self::State, time: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        for (logic, state) in self.each(states) {
            if logic.deadline(state).is_some_and(|due| due <= time) {
                logic.on_time(state, time, out);
            }
        }
    }

    fn on_end(&self, states: &mut Self::State, end: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        for (logic, state) in self.each(states) {
            logic.on_end(state, end, out);
        }
    }

    fn on_evict(&self, states: &mut Self::State, time: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        for (logic, state) in self.each(states) {
            logic.on_evict(state, time, out);
        }
    }

    fn memory(&self, states: &Self::State) -> usize {
        size_of::<Self::State>()
            + self.0.iter().zip(states).map(|(logic, state)| logic.memory(state)).sum::<usize>()
    }

    fn copy(&self, states: &Self::State) -> Self::State {
        self.0.iter().zip(states).map(|(logic, state)| logic.copy(state)).collect()
    }

    fn save(&self, states: &Self::State, out: &mut Vec<u8>) {
        for (logic, state) in self.0.iter().zip(states) {
            logic.save(state, out);
        }
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError> {
        self.0.iter().map(|logic| logic.restore(bytes)).collect()
    }
}
