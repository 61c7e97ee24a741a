//! Extension traits on streams: one operator, one file.

pub mod keyed;
mod records;
pub mod tally;

pub use keyed::{Eager, Keyed, KeyedStreams, Limits};
pub use records::Records;
pub use tally::Tally;
