//! Events that are encoded.

use std::ops::Range;

use tidewatch_dataflows::{Addressed, Describe, EventTime};

use crate::format::Encoder;
use crate::sink::Header;
use crate::Message;

/// How many messages and bytes a batch has; the last message may exceed them.
pub(super) const MESSAGES: usize = 1 << 16;
pub(super) const BYTES: usize = 4 << 20;

/// Encoded events in their order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of each message its time, and where it ends.
    ends: Vec<(EventTime, usize)>,
    /// Of each message its key and headers, if anybody looks at them.
    envelopes: Vec<Envelope>,
    headers: Vec<(&'static str, Range<usize>)>,
    /// What keys and headers say.
    words: Vec<u8>,
}

/// Where the key and the headers of a message are.
#[derive(Debug, Default)]
struct Envelope {
    key: Option<Range<usize>>,
    headers: Range<usize>,
}

impl Batch {
    /// How many messages it has.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.words.len() + size_of_val(&self.ends[..]) + size_of_val(&self.envelopes[..])
    }

    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= MESSAGES || self.bytes.len() + self.words.len() >= BYTES
    }

    /// How many of its messages, which are in the order of time, are before the first one that `is_beyond`.
    pub(super) fn partition_point(&self, is_beyond: impl Fn(EventTime) -> bool) -> usize {
        self.ends.partition_point(|(time, _)| !is_beyond(*time))
    }

    /// Appends what comes before all events, if the format has such a thing.
    pub(super) fn push_preamble(&mut self, time: EventTime, first: &dyn Describe, encoder: &mut dyn Encoder) {
        if encoder.header(first, &mut self.bytes) {
            self.ends.push((time, self.bytes.len()));
        }
    }

    /// Appends an event.
    pub(super) fn push(&mut self, time: EventTime, event: &dyn Describe, encoder: &mut dyn Encoder) {
        encoder.encode(event, &mut self.bytes);
        self.ends.push((time, self.bytes.len()));
    }

    /// Appends a message without anything in it.
    pub(super) fn push_empty(&mut self, time: EventTime) {
        self.ends.push((time, self.bytes.len()));
    }

    /// Appends an event with its key and headers.
    pub(super) fn push_with_key(
        &mut self,
        time: EventTime,
        event: &(impl Describe + Addressed),
        encoder: &mut dyn Encoder,
    ) {
        // What comes before all events has neither.
        self.envelopes.resize_with(self.ends.len(), Envelope::default);
        self.push(time, event, encoder);
        let key = event.message_key().map(|key| append(&mut self.words, key));
        let start = self.headers.len();
        event.headers(&mut |name, value| self.headers.push((name, append(&mut self.words, value))));
        self.envelopes.push(Envelope { key, headers: start..self.headers.len() });
    }

    /// Gives some of the messages to `take`.
    pub(super) fn give<R>(&self, range: Range<usize>, take: impl FnOnce(&[Message<'_>]) -> R) -> R {
        let header =
            |(name, at): &(&'static str, Range<usize>)| Header { name, value: &self.words[at.clone()] };
        let headers: Vec<Header<'_>> = self.headers.iter().map(header).collect();
        let mut start = range.start.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let message = |index: usize| {
            let (time, end) = self.ends[index];
            let payload = &self.bytes[std::mem::replace(&mut start, end)..end];
            let plain = Message::new(time, payload);
            let Some(envelope) = self.envelopes.get(index) else { return plain };
            let key = envelope.key.clone().map(|at| &self.words[at]);
            Message { key, headers: &headers[envelope.headers.clone()], ..plain }
        };
        let messages: Vec<_> = range.map(message).collect();
        take(&messages)
    }

    /// Empties it; the room stays.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.envelopes.clear();
        self.headers.clear();
        self.words.clear();
    }
}

fn append(words: &mut Vec<u8>, word: &[u8]) -> Range<usize> {
    let start = words.len();
    words.extend_from_slice(word);
    start..words.len()
}
