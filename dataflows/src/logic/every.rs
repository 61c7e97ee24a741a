//! Several logics over the same input, within a key.

use super::Logic;
use crate::state::{told, StateError};
use crate::{EventTime, Key, Name};

/// Gives what it takes to each of its logics, in their order.
#[derive(Clone, Debug)]
pub struct Every<L> {
    logics: Vec<L>,
    /// The detection that each is, if they are detections.
    names: Vec<Name>,
}

impl<L: Logic> Every<L> {
    /// Lets all of `logics` see the same input.
    pub fn of(logics: Vec<L>) -> Self {
        Self { logics, names: Vec::new() }
    }

    /// Lets all see the same input, each as a detection of this name.
    pub fn named(logics: impl IntoIterator<Item = (Name, L)>) -> Self {
        let (names, logics) = logics.into_iter().unzip();
        Self { logics, names }
    }

    fn each<'a>(&'a self, states: &'a mut [L::State]) -> impl Iterator<Item = (&'a L, &'a mut L::State)> {
        self.logics.iter().zip(states)
    }
}

impl<L: Logic> Logic for Every<L> {
    type In = L::In;
    type Out = L::Out;
    type State = Box<[L::State]>;

    fn start(&self, key: &Key) -> Self::State {
        self.logics.iter().map(|logic| logic.start(key)).collect()
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
        self.logics.iter().zip(states).filter_map(|(logic, state)| logic.deadline(state)).min()
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
            + self.logics.iter().zip(states).map(|(logic, state)| logic.memory(state)).sum::<usize>()
    }

    fn copy(&self, states: &Self::State) -> Self::State {
        self.logics.iter().zip(states).map(|(logic, state)| logic.copy(state)).collect()
    }

    fn save(&self, states: &Self::State, out: &mut Vec<u8>) {
        for (logic, state) in self.logics.iter().zip(states) {
            logic.save(state, out);
        }
    }

    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError> {
        let restore = |(index, logic): (usize, &L)| match self.names.get(index) {
            Some(name) => told::within(*name, || logic.restore(bytes)),
            None => logic.restore(bytes),
        };
        self.logics.iter().enumerate().map(restore).collect()
    }
}
