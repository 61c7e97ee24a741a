//! Between sources, keyed state and sinks: the stream of records, the credits and counts that go with it, and how
//! operators are joined to it by hand.

pub mod credits;
pub mod ports;
mod pressure;
mod records;
pub mod tally;

pub use pressure::Pressure;
pub use records::{by_key_group, Records, PARTITIONS};
pub use tally::Tally;
