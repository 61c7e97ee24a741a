//! What runs per key: pure state machines that compose.

mod calibrate;
mod cool_down;
mod dead_band;
mod detect;
#[cfg(test)]
pub(crate) mod drive;
mod episodes;
mod erased;
mod every;
mod rebaseline;
mod silence;
mod then;
mod threshold;
pub mod window;

use crate::catalogue::Catalogue;
use crate::pipelines::OperatorInfo;
use crate::state::{told, Part, StateError};
use crate::EventTime;

pub use calibrate::{Calibrate, Calibration};
pub use cool_down::{CoolDown, Warm};
pub use dead_band::DeadBand;
pub use detect::{Detect, Selection, Standing, Verdict};
pub use episodes::{Episode, Episodes};
pub use erased::{AnyState, DynLogic, ErasedLogic};

pub use every::Every;
pub use rebaseline::{Rebased, Rebaseline};
pub use silence::{silent_for, Heard, Silence};
pub use then::Then;
pub use threshold::{above, Threshold};
pub use window::{Aggregate, Gap, Window};

/// The operators that are built in: logics of records that a `[[step]]` can name.
pub fn built_in() -> Catalogue<OperatorInfo> {
    [Window::info()].into_iter().collect()
}

/// A state machine over one key's records, in order of event time; an operator owns its state, buffering and timers.
///
/// The operator calls [`Logic::on_record`] for each record in `(time, partition, offset)` order, and
/// [`Logic::on_time`] at the [`Logic::deadline`] of a state once every record of the key with a time up to and
/// including the deadline has been seen. What a logic emits is thus a function of the key's records alone.
///
/// Logics compose with [`Logic::then`] inside one operator: no exchange, no second frontier, one snapshot.
///
/// # Laws
///
/// * No clock, no randomness but the key's own, no iteration over unordered maps.
/// * Emitted times are those of the record or timer that caused them, so that what is complete up to a time has been
///   emitted up to it; at the end they may be later. All are below [`EventTime::MAX`].
/// * `on_time(state, t)` at the deadline `t` moves `deadline(state)` past `t`, or to `None`, in bounded time.
/// * `restore(save(state))` and `copy(state)` behave like `state`.
pub trait Logic: 'static {
    /// What it takes.
    type In: 'static;
    /// What it emits.
    type Out: 'static;
    /// What it remembers of one key.
    type State: 'static;

    /// The state of a key that has no record yet.
    fn start(&self, key: &crate::Key) -> Self::State;

    /// Takes the key's next record, observed at `time`.
    fn on_record(
        &self,
        state: &mut Self::State,
        time: EventTime,
        input: &Self::In,
        out: &mut impl FnMut(EventTime, Self::Out),
    );

    /// When [`Logic::on_time`] is to be called; `None` if it need not be.
    fn deadline(&self, _state: &Self::State) -> Option<EventTime> {
        None
    }

    /// Takes note that every record of the key up to and including `time`, the deadline, has been seen.
    fn on_time(
        &self,
        _state: &mut Self::State,
        _time: EventTime,
        _out: &mut impl FnMut(EventTime, Self::Out),
    ) {
    }

    /// Takes note that no record will follow, ever, and that event time has come to `end`; emits what is still in progress, at
    /// no earlier time.
    fn on_end(&self, _state: &mut Self::State, _end: EventTime, _out: &mut impl FnMut(EventTime, Self::Out)) {
    }

    /// Takes note that the key loses its state at `time`, to a limit; emits what must not be left open.
    fn on_evict(
        &self,
        _state: &mut Self::State,
        _time: EventTime,
        _out: &mut impl FnMut(EventTime, Self::Out),
    ) {
    }

    /// An estimate of the bytes that a state occupies.
    fn memory(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }

    /// A state that behaves as this one does; by default, one that was saved and restored.
    ///
    /// Copies are made of states for which something is to be said before it is final.
    fn copy(&self, state: &Self::State) -> Self::State {
        let mut bytes = Vec::new();
        self.save(state, &mut bytes);
        self.restore(&mut &bytes[..]).expect("a logic restores what it saves")
    }

    /// Appends the state to a snapshot.
    fn save(&self, state: &Self::State, out: &mut Vec<u8>);

    /// Reads a state that [`Logic::save`] wrote, and moves `bytes` past it.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the bytes are not a state of this logic and version.
    fn restore(&self, bytes: &mut &[u8]) -> Result<Self::State, StateError>;

    /// Tells what is in a state that [`Logic::save`] wrote: each part as who keeps it has it, in the order in which it is kept.
    ///
    /// A logic that reads its states with [`state::restore`](crate::state::restore) is told of without further ado.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the bytes are not a state of this logic and version, or go on behind it.
    fn describe(&self, bytes: &[u8]) -> Result<Vec<Part>, StateError> {
        told::parts(bytes, |bytes| self.restore(bytes))
    }

    /// Feeds what this logic emits to `next`, within the same key.
    fn then<L: Logic<In = Self::Out>>(self, next: L) -> Then<Self, L>
    where
        Self: Sized,
    {
        Then::new(self, next)
    }

    /// Erases the type, so that logics can be chosen at run time.
    fn erased(self) -> DynLogic<Self::In, Self::Out>
    where
        Self: Sized,
    {
        DynLogic::new(self)
    }
}
