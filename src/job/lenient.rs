//! A sink that others do not fail with.

use std::io::ErrorKind;

use tidewatch_connectors::{Error, Message, Sink};
use tidewatch_dataflows::EventTime;

/// Writes until the reader has gone, and then nothing: what goes to other sinks, or into a recording, is still wanted.
pub(super) struct Lenient(Option<Box<dyn Sink>>);

impl Lenient {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self(Some(sink))
    }
}

impl Sink for Lenient {
    fn write(&mut self, messages: &[Message<'_>], frontier: Option<EventTime>) -> Result<(), Error> {
        let Some(sink) = &mut self.0 else { return Ok(()) };
        match sink.write(messages, frontier) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(())
            }
            result => result,
        }
    }

    fn wants_payloads(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.wants_payloads())
    }

    fn wants_keys(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.wants_keys())
    }
}
