//! Extension traits on streams: one operator, one file.

pub mod credits;
pub mod keyed;
mod pressure;
mod records;
pub mod tally;

pub use keyed::{Keyed, KeyedStreams, Limits};
pub use pressure::Pressure;
pub use records::{by_key_group, Records};
pub use tally::Tally;
