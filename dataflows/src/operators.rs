//! Extension traits on streams: one operator, one file.

mod accumulate;
mod arrange_states;
mod correlate;
mod count_open;
pub mod keyed;
mod raise;

pub use accumulate::Accumulate;
pub use arrange_states::{ArrangeStates, CollectStates, LiveStates};
pub use correlate::{label_kept_as, Correlate, Correlated, Grouping};
pub use count_open::CountOpen;
pub use keyed::{Eager, Keyed, KeyedStreams, Limits};
pub use raise::Raise;
