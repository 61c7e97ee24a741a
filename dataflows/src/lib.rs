//! What tidewatch computes: event time, keyed state, detectors and operators.
//!
//! Nothing here reads a clock, a file, a socket or starts a thread: what is computed is a function of the records.

pub mod alerts;
pub mod catalogue;
pub mod detectors;
pub mod event;
pub mod flow;
pub mod logic;
pub mod mutes;
pub mod operators;
pub mod params;
pub mod pipelines;
pub mod record;
pub mod state;
pub mod time;
pub mod underway;

pub use catalogue::{Catalogue, Named};
pub use event::{Addressed, Describe, Emission, Event, Fields, KeyEvent, Ranked};
pub use logic::Logic;
pub use record::{Key, KeyId, Name, Offset, PartitionId, Record, RowBatch};
pub use time::{EventTime, Lapse, Span, Watermark};
