//! Extension traits on streams: one operator, one file.

mod accumulate;
mod count_open;
pub mod credits;
pub mod keyed;
pub mod ports;
mod pressure;
mod records;
pub mod tally;

pub use accumulate::Accumulate;
pub use count_open::CountOpen;
pub use keyed::{Eager, Keyed, KeyedStreams, Limits};
pub use pressure::Pressure;
pub use records::{by_key_group, Records};
pub use tally::Tally;
