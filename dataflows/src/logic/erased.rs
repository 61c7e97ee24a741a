//! Logics chosen at run time.

use std::any::Any;

use super::Logic;
use crate::state::StateError;
use crate::{EventTime, Key};

/// The state of a logic whose type is known only at run time.
pub type AnyState = Box<dyn Any>;

/// [`Logic`] without its state type; every logic is one.
#[allow(missing_docs, reason = "each method is the one of Logic")]
pub trait ErasedLogic<I, O> {
    fn start(&self, key: &Key) -> AnyState;
    fn on_record(&self, state: &mut dyn Any, time: EventTime, input: &I, out: &mut dyn FnMut(EventTime, O));
    fn deadline(&self, state: &dyn Any) -> Option<EventTime>;
    fn on_time(&self, state: &mut dyn Any, time: EventTime, out: &mut dyn FnMut(EventTime, O));
    fn on_end(&self, state: &mut dyn Any, end: EventTime, out: &mut dyn FnMut(EventTime, O));
    fn on_evict(&self, state: &mut dyn Any, time: EventTime, out: &mut dyn FnMut(EventTime, O));
    fn memory(&self, state: &dyn Any) -> usize;
    fn copy(&self, state: &dyn Any) -> AnyState;
    fn save(&self, state: &dyn Any, out: &mut Vec<u8>);
    fn restore(&self, bytes: &mut &[u8]) -> Result<AnyState, StateError>;
}

fn known<S: 'static>(state: &dyn Any) -> &S {
    state.downcast_ref().expect("a state returns to the logic that started it")
}

fn known_mut<S: 'static>(state: &mut dyn Any) -> &mut S {
    state.downcast_mut().expect("a state returns to the logic that started it")
}

impl<L: Logic> ErasedLogic<L::In, L::Out> for L {
    fn start(&self, key: &Key) -> AnyState {
        Box::new(Logic::start(self, key))
    }
    fn on_record(
        &self,
        state: &mut dyn Any,
        time: EventTime,
        input: &L::In,
        mut out: &mut dyn FnMut(EventTime, L::Out),
    ) {
        Logic::on_record(self, known_mut(state), time, input, &mut out);
    }
    fn deadline(&self, state: &dyn Any) -> Option<EventTime> {
        Logic::deadline(self, known(state))
    }
    fn on_time(&self, state: &mut dyn Any, time: EventTime, mut out: &mut dyn FnMut(EventTime, L::Out)) {
        Logic::on_time(self, known_mut(state), time, &mut out);
    }
    fn on_end(&self, state: &mut dyn Any, end: EventTime, mut out: &mut dyn FnMut(EventTime, L::Out)) {
        Logic::on_end(self, known_mut(state), end, &mut out);
    }
    fn on_evict(&self, state: &mut dyn Any, time: EventTime, mut out: &mut dyn FnMut(EventTime, L::Out)) {
        Logic::on_evict(self, known_mut(state), time, &mut out);
    }
    fn memory(&self, state: &dyn Any) -> usize {
        Logic::memory(self, known(state))
    }
    fn copy(&self, state: &dyn Any) -> AnyState {
        Box::new(Logic::copy(self, known(state)))
    }
    fn save(&self, state: &dyn Any, out: &mut Vec<u8>) {
        Logic::save(self, known(state), out);
    }
    fn restore(&self, bytes: &mut &[u8]) -> Result<AnyState, StateError> {
        Ok(Box::new(Logic::restore(self, bytes)?))
    }
}

/// A logic chosen at run time; made by [`Logic::erased`].
pub struct DynLogic<I, O>(Box<dyn ErasedLogic<I, O>>);

impl<I: 'static, O: 'static> DynLogic<I, O> {
    pub(crate) fn new(logic: impl Logic<In = I, Out = O>) -> Self {
        Self(Box::new(logic))
    }
}

impl<I: 'static, O: 'static> Logic for DynLogic<I, O> {
    type In = I;
    type Out = O;
    type State = AnyState;

    fn start(&self, key: &Key) -> AnyState {
        self.0.start(key)
    }
    fn on_record(
        &self,
        state: &mut AnyState,
        time: EventTime,
        input: &I,
        out: &mut impl FnMut(EventTime, O),
    ) {
        self.0.on_record(state.as_mut(), time, input, out);
    }
    fn deadline(&self, state: &AnyState) -> Option<EventTime> {
        self.0.deadline(state.as_ref())
    }
    fn on_time(&self, state: &mut AnyState, time: EventTime, out: &mut impl FnMut(EventTime, O)) {
        self.0.on_time(state.as_mut(), time, out);
    }
    fn on_end(&self, state: &mut AnyState, end: EventTime, out: &mut impl FnMut(EventTime, O)) {
        self.0.on_end(state.as_mut(), end, out);
    }
    fn on_evict(&self, state: &mut AnyState, time: EventTime, out: &mut impl FnMut(EventTime, O)) {
        self.0.on_evict(state.as_mut(), time, out);
    }
    fn memory(&self, state: &AnyState) -> usize {
        size_of::<AnyState>() + self.0.memory(state.as_ref())
    }
    fn copy(&self, state: &AnyState) -> AnyState {
        self.0.copy(state.as_ref())
    }
    fn save(&self, state: &AnyState, out: &mut Vec<u8>) {
        self.0.save(state.as_ref(), out);
    }
    fn restore(&self, bytes: &mut &[u8]) -> Result<AnyState, StateError> {
        self.0.restore(bytes)
    }
}
