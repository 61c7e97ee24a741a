//! What lies between a worker and the thread of a shard.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use timely::scheduling::SyncActivator;

use crate::egress::batch::Batch;
use crate::{lock, Progress};

/// Messages of a stream, in order: some of a batch.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) stream: usize,
    pub(super) batch: Arc<Batch>,
    pub(super) range: Range<usize>,
}

impl Parcel {
    /// The bytes that it keeps, about.
    pub(super) fn size(&self) -> u64 {
        (self.batch.size() * self.range.len() / self.batch.len().max(1)) as u64
    }
}

/// What comes to the thread of a shard.
pub(super) enum Item {
    Parcel(Parcel),
    /// The parcels before this are all messages below it.
    Reached(Progress),
}

/// Parcels go from the worker to the thread, and progress the other way.
pub(super) struct Inbox {
    state: Mutex<State>,
    come: Condvar,
}

struct State {
    items: VecDeque<Item>,
    /// Whether nobody will take what is committed from now on.
    closed: bool,
    /// Bytes that were sent and are not committed.
    pending: u64,
    committed: Progress,
    /// Look at what is committed.
    wakers: Vec<SyncActivator>,
}

impl Inbox {
    pub(super) fn new(committed: Progress) -> Self {
        let (items, wakers) = (VecDeque::new(), Vec::new());
        let state = State { items, closed: false, pending: 0, committed, wakers };
        Self { state: Mutex::new(state), come: Condvar::new() }
    }

    /// Has `waker` called after each commit.
    pub(super) fn wake(&self, waker: SyncActivator) {
        lock(&self.state).wakers.push(waker);
    }

    /// Sends messages, which are all those below `reached` that were not sent before.
    pub(super) fn send(&self, parcels: Vec<Parcel>, reached: Progress) {
        // A frontier alone is in no haste, but the end is.
        let wakes = !parcels.is_empty() || reached == Progress::End;
        let mut state = lock(&self.state);
        state.pending += parcels.iter().map(Parcel::size).sum::<u64>();
        state.items.extend(parcels.into_iter().map(Item::Parcel));
        match state.items.back_mut() {
            Some(Item::Reached(last)) => *last = reached,
            _ => state.items.push_back(Item::Reached(reached)),
        }
        if wakes {
            self.come.notify_one();
        }
    }

    /// What comes next, if there is anything; `Err` if it is closed.
    pub(super) fn next(&self, wanted: impl FnOnce(&Item) -> bool) -> Result<Option<Item>, Closed> {
        let mut state = lock(&self.state);
        match (state.closed, state.items.front()) {
            (true, _) => Err(Closed),
            (false, Some(item)) if wanted(item) => Ok(state.items.pop_front()),
            (false, _) => Ok(None),
        }
    }

    /// Notes that so many bytes were committed.
    pub(super) fn commit(&self, bytes: u64, committed: Progress) {
        let mut state = lock(&self.state);
        state.pending -= bytes;
        state.committed = committed;
        // One whose worker is gone is of no use any more.
        state.wakers.retain(|waker| waker.activate().is_ok());
    }

    pub(super) fn committed(&self) -> Progress {
        lock(&self.state).committed
    }

    pub(super) fn pending(&self) -> u64 {
        lock(&self.state).pending
    }

    /// Ends the thread at its next step.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.come.notify_one();
    }

    /// Waits until something has come that is in haste, but no longer than `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let idle = |state: &mut State| {
            let in_haste = |item: &Item| !matches!(item, Item::Reached(Progress::Below(_)));
            !state.closed && !state.items.iter().any(in_haste)
        };
        let waited = self.come.wait_timeout_while(lock(&self.state), limit, idle);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Nobody listens any more.
pub(super) struct Closed;
