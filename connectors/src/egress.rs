//! From a stream of events to a sink.
//!
//! All events of a stream go to one worker, which waits for the frontier, puts each closed time in order, and hands
//! it to the sink once. So a sink's bytes depend on the events alone. It tells each worker how many of its events it has
//! taken, so that none sends more than a sink can write ([`Pressure`]).

mod announce;
mod writer;

use std::collections::BTreeMap;

use tidewatch_dataflows::flow::ports::port;
use tidewatch_dataflows::flow::Pressure;
use tidewatch_dataflows::{Event, EventTime};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{CapabilitySet, Probe};
use timely::dataflow::StreamVec;
use timely::progress::operate::FrontierInterest;
use timely::ExchangeData;

use crate::format::{CsvEncoder, Encoder, JsonEncoder, TableEncoder};
use crate::{Control, Error, Schema, Sink};

pub use announce::Announce;
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
        let mut waiting = BTreeMap::<EventTime, Vec<E>>::new();
        let control = Control::current();
        let keep = move |events: &[E]| {
            for event in events.iter().filter(|event| event.weight() > 0) {
                control.keep(event.time(), event.weight() as u64);
            }
        };
        deliver(self, "Egress", output, keep, move |writer, come, frontier| {
            for event in come.drain(..) {
                waiting.entry(event.time()).or_default().push(event);
            }
            let open = match frontier {
                Frontier::Stays => return Ok(()),
                Frontier::Reaches(limit) => waiting.split_off(&limit),
                Frontier::Ends => BTreeMap::new(),
            };
            let mut closed = std::mem::replace(&mut waiting, open);
            // Stable: events that are equal in the order come from one key, in the order of their emission.
            closed.values_mut().for_each(|events| events.sort_by(E::order));
            let events = closed.iter().flat_map(|(time, events)| events.iter().map(|event| (*time, event)));
            writer.write(events, frontier)
        });
    }
}

/// What the frontier of what comes to a sink has done.
#[derive(Clone, Copy)]
enum Frontier {
    Stays,
    Reaches(EventTime),
    Ends,
}

/// Brings events to the worker that writes them, and tells who has sent them that they were taken; `keep` sees what is
/// sent. There `write` is given what has come whenever something has, or the frontier has moved.
fn deliver<E: ExchangeData>(
    events: StreamVec<'_, EventTime, E>,
    name: &str,
    output: Output,
    keep: impl Fn(&[E]) + 'static,
    mut write: impl FnMut(&mut Writer, &mut Vec<E>, Frontier) -> Result<(), Error> + 'static,
) {
    let control = Control::current();
    let (scope, pressure) = (events.scope(), Control::pressure());
    let is_writer = scope.index() == 0;
    let sent = sent(events, pressure.clone(), keep);
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut input = builder.new_input(sent, Exchange::new(|_: &Sent<E>| 0));
    let (_, written) = builder.new_output::<Vec<()>>();
    // Connected to the events, so that whoever hears of them is there as long as they are.
    let (mut taken_output, taken) = port(&mut builder);
    builder.build(move |mut capabilities| {
        capabilities.truncate(1);
        let mut writer = is_writer.then(|| Writer::new(output, &control)).flatten();
        let mut capability = capabilities.pop();
        let mut come = Vec::new();
        let none = CapabilitySet::new();

        move |frontiers| {
            {
                let mut output = taken_output.activate();
                let mut session = output.session(&none);
                input.for_each(|_, sent| {
                    for (worker, mut events) in sent.drain(..) {
                        session.give((worker, events.len() as u64));
                        come.append(&mut events);
                    }
                });
            }
            let Some(held) = &mut capability else { return };
            let frontier = match frontiers[0].frontier().first() {
                None => Frontier::Ends,
                Some(limit) if *limit > *held.time() => Frontier::Reaches(*limit),
                Some(_) => Frontier::Stays,
            };
            if !come.is_empty() || !matches!(frontier, Frontier::Stays) {
                if let Some(writer) = writer.as_mut().filter(|_| !control.failed()) {
                    if let Err(error) = write(writer, &mut come, frontier) {
                        control.fail(error);
                    }
                }
                come.clear();
            }
            // What was written is written: only now may a probe pass it.
            match frontier {
                Frontier::Stays => {}
                Frontier::Reaches(limit) => held.downgrade(&limit),
                Frontier::Ends => capability = None,
            }
        }
    });
    take(taken, pressure);
    let (probe, _) = written.probe();
    Control::await_probe(probe);
}

/// Events with the worker that sent them.
type Sent<E> = (u64, Vec<E>);
/// A worker, and how many of its events were taken.
type Taken = (u64, u64);

/// Says who sends each batch, shows it to `keep`, and counts it as under way.
fn sent<'scope, E: ExchangeData>(
    events: StreamVec<'scope, EventTime, E>,
    pressure: Pressure,
    keep: impl Fn(&[E]) + 'static,
) -> StreamVec<'scope, EventTime, Sent<E>> {
    let worker = events.scope().index() as u64;
    events.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Sent", move |_capability, _info| {
        move |input, output| {
            input.for_each(|time, events| {
                pressure.send(events.len() as u64);
                keep(events);
                output.session(&time).give((worker, std::mem::take(events)));
            });
        }
    })
}

/// Tells each worker what was taken of its events.
fn take(taken: StreamVec<'_, EventTime, Taken>, pressure: Pressure) {
    let mut builder = OperatorBuilder::new("Taken".to_owned(), taken.scope());
    let mut input = builder.new_input(taken, Exchange::new(|(worker, _): &Taken| *worker));
    builder.set_notify_for(0, FrontierInterest::Never);
    builder.build(move |_capabilities| {
        move |_frontiers| {
            input.for_each(|_, taken| taken.drain(..).for_each(|(_, events)| pressure.take(events)));
        }
    });
}
