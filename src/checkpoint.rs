//! Durable state: what is kept of keyed state as of a boundary, and where each partition is read from there.
//!
//! A *manifest* is an entry of the job's log: a boundary, the position of each partition, and the objects that together are
//! the state. A checkpoint writes an [`Object`] per worker, of what [changed](Changes), and then a manifest with the objects
//! of the one before it. [`compaction`] merges objects, [`retention`] removes what nobody needs any more,
//! and [`Checkpoint`] reads it all again.

mod changes;
pub mod compaction;
mod groups;
mod keeper;
mod manifest;
mod merge;
pub mod object;
mod persist;
mod reader;
mod reference;
pub mod retention;
mod states;
mod ticker;
mod upkeep;

pub use changes::{Change, Changes};
pub use groups::KeyGroups;
pub(crate) use keeper::{Keeper, Scribe};
pub use manifest::{Began, Body, Manifest};
pub use merge::Merged;
pub use object::Object;
pub(crate) use persist::persist;
pub use reader::Checkpoint;
pub use reference::ObjectRef;
pub use states::as_of;
pub(crate) use ticker::{Commits, Ticker};

/// What the names of the entries of the job's log begin with.
pub const LOG: &str = "log/";
