//! Saving state outside of the usual intervals: at once when somebody asks, and when a run is interrupted.

use std::sync::{Condvar, Mutex, PoisonError};

use tidewatch_dataflows::EventTime;

use super::Control;
use crate::{lock, Error};

/// How it stands with saving.
#[derive(Debug, Default)]
pub(super) struct Saving {
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether state survives, so that an interrupted run waits until what is final is saved.
    is_wanted: bool,
    /// Whether that has been done, here or in the process that sees to it.
    is_done: bool,
    /// How often somebody has asked for a checkpoint at once, and how many of these are made.
    asked: u64,
    made: u64,
    /// Whether the run stops so that another pipeline can go on.
    is_savepoint: bool,
    /// The boundary of the last checkpoint.
    boundary: Option<EventTime>,
}

impl Control {
    fn saving<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let found = look(&mut lock(&self.0.saving.state));
        self.0.saving.change.notify_all();
        found
    }

    /// Has the run, when it is interrupted, wait until [`saved`](Self::saved) is called.
    pub fn want_saved(&self) {
        self.saving(|state| state.is_wanted = true);
    }

    /// Takes note that nothing is to be saved any more before an interrupted run ends.
    pub fn saved(&self) {
        self.saving(|state| state.is_done = true);
        self.notify();
    }

    /// Whether an interrupted run has nothing to save any more.
    pub fn is_saved(&self) -> bool {
        self.saving(|state| !state.is_wanted || state.is_done)
    }

    /// Whether all has been saved that an interrupted run has to, for the other processes.
    pub(super) fn has_saved(&self) -> bool {
        self.saving(|state| state.is_done)
    }

    /// Whether somebody waits for a checkpoint; the next one that is begun is for whoever has asked so far.
    pub fn is_checkpoint_due(&self) -> bool {
        self.saving(|state| state.asked > state.made)
    }

    /// Takes note of a checkpoint.
    pub fn checkpointed(&self, boundary: EventTime) {
        self.saving(|state| (state.boundary, state.made) = (Some(boundary), state.asked));
    }

    /// Has a checkpoint made at once, and waits for it; returns its boundary.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if the run ends before it is made.
    pub fn checkpoint(&self) -> Result<Option<EventTime>, Error> {
        let mut state = lock(&self.0.saving.state);
        state.asked += 1;
        let wanted = state.asked;
        while state.made < wanted && !state.is_done {
            if self.failed() {
                return Err(Error::Configuration(
                    "the run has failed before a checkpoint was made".to_owned(),
                ));
            }
            let waited = self.0.saving.change.wait_timeout(state, std::time::Duration::from_millis(50));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(state.boundary)
    }

    /// Has the run stop as if it were interrupted, so that another pipeline can go on where it stood, and waits until all is saved;
    /// returns the boundary up to which everything is.
    ///
    /// # Errors
    ///
    /// As [`Control::checkpoint`].
    pub fn savepoint(&self) -> Result<Option<EventTime>, Error> {
        self.saving(|state| state.is_savepoint = true);
        self.interrupt();
        self.checkpoint()
    }

    /// Whether the run stops so that another pipeline can go on.
    pub fn is_savepoint(&self) -> bool {
        self.saving(|state| state.is_savepoint)
    }
}
