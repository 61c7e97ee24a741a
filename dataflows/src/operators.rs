//! Extension traits on streams: one operator, one file.

mod accumulate;
mod arrange_states;
mod beside;
mod correlate;
mod count_open;
pub mod keyed;
mod mute;
mod raise;

pub use accumulate::Accumulate;
pub use arrange_states::{ArrangeStates, CollectStates, LiveStates};
pub use beside::{Beside, KeptAs};
pub use correlate::{Correlate, Grouping, IncidentStreams};
pub use count_open::CountOpen;
pub use keyed::{Eager, Keyed, KeyedStreams, Limits};
pub use mute::{Announcement, Mute, MutedStreams};
pub use raise::Raise;
