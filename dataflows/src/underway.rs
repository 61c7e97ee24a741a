//! What user code is at, for whoever must say so when it panics.
//!
//! A panic hook runs on the thread that panics and reaches nothing of its stack. So whoever calls user code leaves with
//! the thread somebody who can tell, before many calls at once; what is told of a single call is a plain store for
//! whoever makes it.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{EventTime, Key, Offset, PartitionId};

/// What user code is called for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Underway {
    /// A logic takes a record.
    Record {
        /// The record's partition.
        partition: PartitionId,
        /// Its place there.
        offset: Offset,
        /// Its key.
        key: Key,
        /// Its event time.
        time: EventTime,
    },
    /// A logic takes note of a deadline.
    Deadline {
        /// Whose deadline it is.
        key: Key,
        /// When it is.
        time: EventTime,
    },
    /// A logic takes note of the end.
    End {
        /// Of what key.
        key: Key,
    },
    /// A format decodes a payload.
    Payload {
        /// The payload's partition.
        partition: PartitionId,
        /// Its place there.
        offset: Offset,
    },
    /// A source reads a partition.
    Read {
        /// The partition.
        partition: PartitionId,
        /// The least offset of the record to come.
        next: Offset,
    },
}

/// Somebody who knows what user code is at, while it runs.
pub trait Tell {
    /// What it is at, if it is called now.
    fn tell(&self) -> Option<Underway>;
}

thread_local! {
    static TELLER: RefCell<Option<Rc<dyn Tell>>> = const { RefCell::new(None) };
}

/// Takes the teller away when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Telling(());

/// Leaves `teller` with this thread, which now goes on to call user code.
pub fn tell_by(teller: Rc<dyn Tell>) -> Telling {
    TELLER.with(|current| *current.borrow_mut() = Some(teller));
    Telling(())
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLER.with(|current| *current.borrow_mut() = None);
    }
}

/// What user code on this thread is at; `None` if none is called. Never panics, not even within a panic.
pub fn underway() -> Option<Underway> {
    TELLER.try_with(|current| current.try_borrow().ok()?.as_ref()?.tell()).ok().flatten()
}
