//! From a stream of events to a sink.
//!
//! All events of a stream, or of a shard of its sink, go to one worker, which waits for the frontier, puts each closed
//! time in order, and hands it to the sink once. So a sink's bytes depend on the events alone. It tells each worker how
//! many of its events it has taken, so that none sends more than a sink can write
//! ([`Pressure`](tidewatch_dataflows::flow::Pressure)).

mod announce;
mod batch;
mod commit;
mod deliver;
mod waiting;
mod writer;

use tidewatch_dataflows::{Event, EventTime};
use timely::dataflow::StreamVec;

use crate::format::{CsvEncoder, Encoder, JsonEncoder, TableEncoder};
use crate::{Control, Error, Progress, Schema, Sink};

pub use announce::Announce;
pub use commit::{Commit, Committer, Shards};
use deliver::{deliver, Delivery};
use waiting::{keep, Waiting};
use writer::Writer;

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
        let writer = (self.scope().index() == 0).then(|| Writer::new(output, &control)).flatten();
        let ordered = Ordered { waiting: Waiting::default(), writer, reached: Progress::START };
        deliver(self, "Egress", 1, |_: &E| 0, keep(control), |_| ordered);
    }
}

/// Events that wait until they are final, on their way to a sink; the sink itself is on one worker.
struct Ordered<E> {
    waiting: Waiting<E>,
    writer: Option<Writer>,
    reached: Progress,
}

impl<E: Event> Delivery<E> for Ordered<E> {
    fn take(&mut self, _shard: u32, events: &mut Vec<E>) {
        match &self.writer {
            Some(_) => self.waiting.add(events.drain(..)),
            None => events.clear(),
        }
    }

    fn reach(&mut self, frontier: Progress) -> Result<(), Error> {
        if frontier == std::mem::replace(&mut self.reached, frontier) {
            return Ok(());
        }
        let closed = self.waiting.close(frontier);
        let events = closed.iter().flat_map(|(time, events)| events.iter().map(|event| (*time, event)));
        match &mut self.writer {
            Some(writer) => writer.write(events, frontier),
            None => Ok(()),
        }
    }

    fn written(&self) -> Progress {
        self.reached
    }
}
