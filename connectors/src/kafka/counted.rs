//! How many clients there are, each with threads that encrypt.

use std::sync::atomic::{AtomicUsize, Ordering};

static CLIENTS: AtomicUsize = AtomicUsize::new(0);

/// Whether clients of brokers are alive in this process: they, and their threads, may be so for a moment after nobody needs them
/// any more.
pub fn has_clients() -> bool {
    CLIENTS.load(Ordering::Acquire) > 0
}

/// A part of what a client calls, which lives longer than the client's own threads.
pub(super) struct Counted(());

impl Default for Counted {
    fn default() -> Self {
        CLIENTS.fetch_add(1, Ordering::AcqRel);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        CLIENTS.fetch_sub(1, Ordering::AcqRel);
    }
}
