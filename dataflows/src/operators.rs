//! Extension traits on streams: one operator, one file.

mod accumulate;
mod count_open;
pub mod keyed;

pub use accumulate::Accumulate;
pub use count_open::CountOpen;
pub use keyed::{Eager, Keyed, KeyedStreams, Limits};
