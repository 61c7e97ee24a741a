//! From a stream of events to a sink.
//!
//! All events of a stream go to one worker, which waits for the frontier, puts each closed time in order, and hands
//! it to the sink once. So a sink's bytes depend on the events alone.

mod announce;

use std::collections::BTreeMap;

use tidewatch_dataflows::{Describe, Event, EventTime};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::Probe;
use timely::dataflow::StreamVec;

use crate::format::{CsvEncoder, Encoder, JsonEncoder, TableEncoder};
use crate::{Control, Error, Message, Schema, Sink};

pub use announce::Announce;

/// Opens a sink; called on the one worker that writes to it.
type OpenSink = Box<dyn FnOnce() -> Result<Box<dyn Sink>, Error>>;

/// A sink with the format of what it is given.
pub struct Output {
    open: OpenSink,
    encoder: Box<dyn Encoder>,
}

impl Output {
    /// A sink that is given events in the format of `encoder`.
    pub fn new(
        open: impl FnOnce() -> Result<Box<dyn Sink>, Error> + 'static,
        encoder: impl Encoder + 'static,
    ) -> Self {
        Self { open: Box::new(open), encoder: Box::new(encoder) }
    }

    /// JSON lines, with the names of `schema`.
    pub fn json(sink: impl Sink + 'static, schema: Schema) -> Self {
        Self::new(move || Ok(Box::new(sink)), JsonEncoder::new(schema))
    }

    /// Comma-separated values with a header, with the names of `schema`.
    pub fn csv(sink: impl Sink + 'static, schema: Schema) -> Self {
        Self::new(move || Ok(Box::new(sink)), CsvEncoder::new(schema))
    }

    /// A table for people, with the names of `schema`.
    pub fn table(sink: impl Sink + 'static, schema: Schema) -> Self {
        Self::new(move || Ok(Box::new(sink)), TableEncoder::new(schema))
    }
}

/// Extension trait for writing a stream of events to a sink.
pub trait Egress {
    /// Writes each event once, when the frontier has passed its time, in the order of time and [`Event::order`].
    ///
    /// A sink that cannot be opened or written to ends the run with its error.
    fn egress(self, output: Output);
}

impl<E: Event> Egress for StreamVec<'_, EventTime, E> {
    fn egress(self, output: Output) {
        let control = Control::current();
        let is_writer = self.scope().index() == 0;
        let to_writer = Exchange::new(|_: &E| 0);
        let written = self.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
            to_writer,
            "Egress",
            move |capability, _info| {
                let mut writer = is_writer.then(|| Writer::new(output, &control)).flatten();
                let mut capability = Some(capability);
                let mut waiting = BTreeMap::<EventTime, Vec<E>>::new();

                move |(input, frontier), _output| {
                    input.for_each(|_, events| {
                        for event in events.drain(..) {
                            waiting.entry(event.time()).or_default().push(event);
                        }
                    });
                    let Some(held) = &mut capability else { return };
                    let limit = frontier.frontier().first().copied();
                    if limit.is_some_and(|limit| limit <= *held.time()) {
                        return;
                    }
                    let open = match limit {
                        Some(limit) => waiting.split_off(&limit),
                        None => BTreeMap::new(),
                    };
                    let mut closed = std::mem::replace(&mut waiting, open);
                    if let Some(writer) = writer.as_mut().filter(|_| !control.failed()) {
                        // Stable: events that are equal in the order come from one key, in the order of their emission.
                        closed.values_mut().for_each(|events| events.sort_by(E::order));
                        let events = closed
                            .iter()
                            .flat_map(|(time, events)| events.iter().map(|event| (*time, event)));
                        if let Err(error) = writer.write(events, limit) {
                            control.fail(error);
                        }
                    }
                    // What was written is written: only now may a probe pass it.
                    match limit {
                        Some(limit) => held.downgrade(&limit),
                        None => capability = None,
                    }
                }
            },
        );
        let (probe, _) = written.probe();
        Control::await_probe(probe);
    }
}

/// A sink with its encoder and their buffers.
struct Writer {
    sink: Box<dyn Sink>,
    encoder: Box<dyn Encoder>,
    wrote_header: bool,
    bytes: Vec<u8>,
}

impl Writer {
    /// Opens the sink, unless the run has failed: a run whose sources cannot be opened empties no file.
    fn new(output: Output, control: &Control) -> Option<Self> {
        if control.failed() {
            return None;
        }
        match (output.open)() {
            Ok(sink) => Some(Self { sink, encoder: output.encoder, wrote_header: false, bytes: Vec::new() }),
            Err(error) => {
                control.fail(error);
                None
            }
        }
    }

    /// Writes events in the order given.
    fn write<'a, E: Describe + 'a>(
        &mut self,
        events: impl Iterator<Item = (EventTime, &'a E)>,
        frontier: Option<EventTime>,
    ) -> Result<(), Error> {
        if !self.sink.wants_payloads() {
            return self.sink.write(&[], frontier);
        }
        self.bytes.clear();
        let mut ends = Vec::new();
        for (time, event) in events {
            if !self.wrote_header {
                self.wrote_header = true;
                if self.encoder.header(event, &mut self.bytes) {
                    ends.push((time, self.bytes.len()));
                }
            }
            self.encoder.encode(event, &mut self.bytes);
            ends.push((time, self.bytes.len()));
        }
        let mut start = 0;
        let messages: Vec<_> = ends
            .into_iter()
            .map(|(time, end)| {
                let payload = &self.bytes[start..end];
                start = end;
                Message { time, payload }
            })
            .collect();
        self.sink.write(&messages, frontier)
    }
}
