//! A logic whose states live from one snapshot to the next.

use tidewatch_connectors::{Control, Error};
use tidewatch_dataflows::state::StateError;
use tidewatch_dataflows::{EventTime, Key, Logic};

/// Saves and restores the state of `logic` after each record and timer.
///
/// A state that does not survive ends the run with an error. `overhead` is what the wrapping adds to the weight of
/// a state: limits must act as they do without.
pub(crate) struct Snapshotting<L> {
    pub(crate) logic: L,
    pub(crate) overhead: usize,
}

impl<L: Logic> Snapshotting<L> {
    fn renew(&self, state: &mut L::State) {
        let mut bytes = Vec::new();
        self.logic.save(state, &mut bytes);
        let fail = |why: String| Control::current().fail(Error::Configuration(format!("snapshot: {why}")));
        let mut rest = &bytes[..];
        let restored = match self.logic.restore(&mut rest) {
            Ok(restored) => restored,
            Err(error) => return fail(error.to_string()),
        };
        let mut again = Vec::new();
        self.logic.save(&restored, &mut again);
        let what = |state: &L::State| (self.logic.deadline(state), self.logic.memory(state));
        if !rest.is_empty() {
            fail(format!("{} bytes are left", rest.len()));
        } else if again != bytes {
            fail(format!("{bytes:?} became {again:?}"));
        } else if what(state) != what(&restored) {
            fail(format!("deadline and memory {:?} became {:?}", what(state), what(&restored)));
        }
        *state = restored;
    }
}

impl<L: Logic> Logic for Snapshotting<L> {
    type In = L::In;
    type Out = L::Out;
    type State = L::State;

    fn start(&self, key: &Key) -> L::State {
        let mut state = self.logic.start(key);
        self.renew(&mut state);
        state
    }
    fn on_record(
        &self,
        state: &mut L::State,
        time: EventTime,
        input: &L::In,
        out: &mut impl FnMut(EventTime, L::Out),
    ) {
        self.logic.on_record(state, time, input, out);
        self.renew(state);
    }
    fn deadline(&self, state: &L::State) -> Option<EventTime> {
        self.logic.deadline(state)
    }
    fn on_time(&self, state: &mut L::State, time: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        self.logic.on_time(state, time, out);
        self.renew(state);
    }
    fn on_end(&self, state: &mut L::State, end: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        self.logic.on_end(state, end, out);
    }
    fn on_evict(&self, state: &mut L::State, time: EventTime, out: &mut impl FnMut(EventTime, L::Out)) {
        self.logic.on_evict(state, time, out);
    }
    fn memory(&self, state: &L::State) -> usize {
        self.logic.memory(state) - self.overhead
    }
    fn copy(&self, state: &L::State) -> L::State {
        self.logic.copy(state)
    }
    fn save(&self, state: &L::State, out: &mut Vec<u8>) {
        self.logic.save(state, out);
    }
    fn restore(&self, bytes: &mut &[u8]) -> Result<L::State, StateError> {
        self.logic.restore(bytes)
    }
}
