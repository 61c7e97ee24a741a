//! Drops what is written, and counts it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tidewatch_dataflows::EventTime;

use crate::{Error, Message, Sink};

/// Counts messages without looking at them, so that nothing is encoded for it; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Blackhole(Arc<AtomicU64>);

impl Blackhole {
    /// How many messages have been written.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Sink for Blackhole {
    fn write(&mut self, messages: &[Message<'_>], _frontier: Option<EventTime>) -> Result<(), Error> {
        self.0.fetch_add(messages.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn wants_payloads(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_count() {
        let blackhole = Blackhole::default();
        let message = Message::new(EventTime::MIN, b"");
        blackhole.clone().write(&[message, message], None).unwrap();
        assert_eq!((2, false), (blackhole.count(), blackhole.wants_payloads()));
    }
}
