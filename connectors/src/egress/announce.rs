//! From a stream of revisions to a sink, as they come.

use tidewatch_dataflows::event::Provisional;
use tidewatch_dataflows::EventTime;
use timely::dataflow::StreamVec;

use super::{deliver, Delivery, Output, Writer};
use crate::{Control, Error, Progress};

/// Extension trait for writing what is not final yet.
pub trait Announce {
    /// Writes each revision once, as soon as it comes, those of one identifier in order.
    ///
    /// What comes when depends on the run: a reader has the same as any other only once it has added up the revisions of a
    /// time that the frontier has passed. A sink that cannot be opened or written to ends the run with its error.
    fn announce(self, output: Output);
}

impl<P: Provisional> Announce for StreamVec<'_, EventTime, P> {
    fn announce(self, output: Output) {
        let control = Control::current();
        let writer = (self.scope().index() == 0).then(|| Writer::new(output, &control)).flatten();
        let as_they_come = AsTheyCome { come: Vec::new(), writer, reached: Progress::START };
        deliver(self, "Announce", 1, |_| 0, |_| {}, |_| as_they_come);
    }
}

/// Revisions on their way to a sink, which is on one worker.
struct AsTheyCome<P> {
    come: Vec<P>,
    writer: Option<Writer>,
    reached: Progress,
}

impl<P: Provisional> Delivery<P> for AsTheyCome<P> {
    fn take(&mut self, _shard: u32, said: &mut Vec<P>) {
        self.come.append(said);
    }

    fn reach(&mut self, frontier: Progress) -> Result<(), Error> {
        let ends = std::mem::replace(&mut self.reached, frontier) != frontier && frontier == Progress::End;
        let come = std::mem::take(&mut self.come);
        match &mut self.writer {
            // A frontier that has moved is no news.
            Some(writer) if !come.is_empty() || ends => {
                writer.write(come.iter().map(|said| (said.time(), said)), frontier)
            }
            _ => Ok(()),
        }
    }

    fn written(&self) -> Progress {
        self.reached
    }
}
