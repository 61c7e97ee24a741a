//! What a sink of events is.

mod hook;
mod transactional;

use tidewatch_dataflows::EventTime;

use crate::Error;

pub(crate) use hook::Hook;
pub use transactional::{Progress, Shard, ShardWriter, TransactionalSink};

/// An encoded event, or revision of one.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The logical time under which the event is final.
    pub time: EventTime,
    /// The event in the sink's format, without a separator.
    pub payload: &'a [u8],
    /// What a broker is told to be its key; `None` if it has none, or the sink does not look at keys.
    pub key: Option<&'a [u8]>,
    /// What a broker is told beside it; none if the sink does not look at keys.
    pub headers: &'a [Header<'a>],
}

impl<'a> Message<'a> {
    /// A message without key and headers.
    pub fn new(time: EventTime, payload: &'a [u8]) -> Self {
        Self { time, payload, key: None, headers: &[] }
    }
}

/// Something that a broker is told beside an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    pub value: &'a [u8],
}

/// Something that events can be written to; used by one worker at a time, from its own thread.
pub trait Sink {
    /// Writes the next events, in their final order. With them, all events of times below `frontier` are written; it is
    /// `None` once no event will follow. Very many come in several calls, of which the last one moves the frontier.
    ///
    /// Revisions of events that are not final come as they are made, at times not below the `frontier` of the call before.
    ///
    /// When it returns, the events are where the next reader sees them.
    ///
    /// # Errors
    ///
    /// [`Error`] if they cannot be written.
    fn write(&mut self, messages: &[Message<'_>], frontier: Option<EventTime>) -> Result<(), Error>;

    /// Whether the sink looks at payloads; if not, nothing is encoded for it, and they are empty.
    fn wants_payloads(&self) -> bool {
        true
    }

    /// Whether it looks at keys and headers; if not, there are none.
    fn wants_keys(&self) -> bool {
        false
    }
}
