//! Drops what is written.

use tidewatch_dataflows::EventTime;

use crate::{Error, Message, Sink};

/// Takes everything and keeps nothing; nothing is encoded for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackhole;

impl Sink for Blackhole {
    fn write(&mut self, _: &[Message<'_>], _: Option<EventTime>) -> Result<(), Error> {
        Ok(())
    }

    fn wants_payloads(&self) -> bool {
        false
    }
}
