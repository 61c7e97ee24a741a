//! From a stream of revisions to a sink, as they come.

use tidewatch_dataflows::event::Revision;
use tidewatch_dataflows::{Describe, EventTime};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::Probe;
use timely::dataflow::StreamVec;
use timely::ExchangeData;

use super::{Output, Writer};
use crate::Control;

/// Extension trait for writing what is not final yet.
pub trait Announce {
    /// Writes each revision once, as soon as it comes, those of one identifier in order.
    ///
    /// What comes when depends on the run: a reader has the same as any other only once it has added up the revisions of a
    /// time that the frontier has passed. A sink that cannot be opened or written to ends the run with its error.
    fn announce(self, output: Output);
}

impl<O: Describe + ExchangeData + Clone> Announce for StreamVec<'_, EventTime, Revision<O>> {
    fn announce(self, output: Output) {
        let control = Control::current();
        let is_writer = self.scope().index() == 0;
        let to_writer = Exchange::new(|_: &Revision<O>| 0);
        let written = self.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
            to_writer,
            "Announce",
            move |capability, _info| {
                let mut writer = is_writer.then(|| Writer::new(output, &control)).flatten();
                let mut capability = Some(capability);
                let mut come = Vec::new();

                move |(input, frontier), _output| {
                    input.for_each(|_, revisions| come.append(revisions));
                    let Some(held) = &mut capability else { return };
                    let limit = frontier.frontier().first().copied();
                    if !come.is_empty() || limit.is_none() {
                        if let Some(writer) = writer.as_mut().filter(|_| !control.failed()) {
                            let events = come.iter().map(|revision| (revision.time, revision));
                            if let Err(error) = writer.write(events, limit) {
                                control.fail(error);
                            }
                        }
                        come.clear();
                    }
                    // What was written is written: only now may a probe pass it.
                    match limit {
                        Some(limit) if limit > *held.time() => held.downgrade(&limit),
                        Some(_) => {}
                        None => capability = None,
                    }
                }
            },
        );
        let (probe, _) = written.probe();
        Control::await_probe(probe);
    }
}
