//! Where records come from and go.
//!
//! A [`Source`] knows its partitions and reads one at a time; a [`Format`](format::Format) turns payloads into rows;
//! [`ingest`] owns capabilities, watermarks, lateness and future-dated records for all of them. [`egress`] hands
//! each closed time to a [`Sink`], once and in order.

pub mod blackhole;
pub mod control;
pub mod egress;
pub mod error;
pub mod file;
pub mod format;
pub mod generator;
pub mod ingest;
pub mod journal;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
pub mod recording;
pub mod reference;
pub mod schema;
pub mod sink;
pub mod source;
pub mod stdio;
pub mod store;
pub mod task;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use control::{Bulletin, Control, Reached, Totals};
pub use error::Error;
pub use ingest::{Ingested, Input};
pub use journal::{Decision, Journal, Kept, MemoryJournal, Unkept};
pub use reference::Reference;
pub use schema::Schema;
pub use sink::{Header, Message, Progress, Shard, ShardWriter, Sink, TransactionalSink};
pub use source::{Intake, Partition, Reader, Source, Status};
pub use store::Store;
pub use task::Task;

/// Locks, though a thread may have panicked with the lock: what the locks of this crate guard is whole whenever a panic
/// can come.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
