//! From a stream of revisions to a sink, as they come.

use tidewatch_dataflows::event::Revision;
use tidewatch_dataflows::{Describe, EventTime};
use timely::dataflow::StreamVec;
use timely::ExchangeData;

use super::{deliver, Frontier, Output};

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
        deliver(
            self,
            "Announce",
            output,
            |_| {},
            |writer, come, frontier| match frontier {
                // A frontier that has moved is no news.
                Frontier::Reaches(_) if come.is_empty() => Ok(()),
                _ => writer.write(come.iter().map(|revision| (revision.time, revision)), frontier),
            },
        );
    }
}
