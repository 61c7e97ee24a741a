//! From streams of events to a sink whose output becomes visible in transactions.
//!
//! Before a dataflow is built, [`Shards`] are opened: their progress says where the run goes on. Each worker then takes those
//! that live on it into a [`Committer`], which all streams of the sink share. It holds each message back until no stream
//! can add an earlier one, and gives those below this frontier to the task of the shard, on a thread of its own, which
//! writes and commits them. What is committed, the streams' operators pass on: probes may pass it, and sources may send more.

mod committer;
mod cycle;
mod inbox;
mod shards;

use tidewatch_dataflows::{Event, EventTime};
use timely::dataflow::StreamVec;

use super::batch::Batch;
use super::{deliver, keep, Delivery, Waiting};
use crate::control::Rule;
use crate::format::Encoder;
use crate::{Control, Error, Progress, Shard};

pub use committer::Committer;
use committer::ShardOf;
pub use shards::Shards;

/// Extension trait for writing a stream of events to a sink whose output becomes visible in transactions.
pub trait Commit {
    /// Writes and commits each event once, when the frontier has passed its time, in each shard in the order of time and
    /// [`Event::order`]; what was committed by an earlier run is not written again.
    ///
    /// The streams of a sink are numbered in the order in which they are built, all before the worker takes its first step. A
    /// sink that cannot be written to ends the run with its error.
    fn commit(self, committer: &Committer, encoder: impl Encoder + Clone + 'static);
}

impl<E: Event> Commit for StreamVec<'_, EventTime, E> {
    fn commit(self, committer: &Committer, encoder: impl Encoder + Clone + 'static) {
        let (control, committer) = (Control::current(), committer.clone());
        deliver(self, "Commit", committer.count(), E::shard_hash, keep(control.clone()), move |waker| {
            let stream = committer.join(&waker);
            let lane = |to| Lane { to, waiting: Waiting::default(), encoder: Box::new(encoder.clone()) };
            let lanes = committer.shards(stream).into_iter().map(lane).collect();
            let skips = control.obeys(Rule::NothingTwice);
            Committing { control, committer, stream, lanes, skips }
        });
    }
}

/// Events of one stream on their way to the shards of a worker.
struct Committing<E> {
    control: Control,
    committer: Committer,
    stream: usize,
    lanes: Vec<Lane<E>>,
    /// Whether it passes by what is committed.
    skips: bool,
}

/// Events on their way to one shard.
struct Lane<E> {
    to: ShardOf,
    waiting: Waiting<E>,
    encoder: Box<dyn Encoder>,
}

impl<E: Event> Delivery<E> for Committing<E> {
    fn take(&mut self, shard: u32, events: &mut Vec<E>) {
        let lane = self.lanes.iter_mut().find(|lane| lane.to.shard == Shard(shard));
        let lane = lane.expect("events come to the worker of their shard");
        let from = if self.skips { lane.to.from } else { Progress::START };
        lane.waiting.add(events.drain(..).filter(|event| !from.covers(event.time())));
    }

    fn reach(&mut self, frontier: Progress) -> Result<(), Error> {
        for lane in &mut self.lanes {
            let mut batches = Vec::<Batch>::new();
            for event in lane.waiting.close(frontier).values().flatten() {
                if batches.last().is_none_or(Batch::is_full) {
                    batches.push(Batch::default());
                }
                let batch = batches.last_mut().expect("there is one");
                if std::mem::take(&mut lane.to.wants_preamble) {
                    batch.push_preamble(event.time(), event, &mut *lane.encoder);
                }
                match lane.to.wants_keys {
                    true => batch.push_with_key(event.time(), event, &mut *lane.encoder),
                    false => batch.push(event.time(), event, &mut *lane.encoder),
                }
            }
            self.committer.hand_over(lane.to.shard, self.stream, batches, frontier);
        }
        Ok(())
    }

    fn written(&self) -> Progress {
        self.committer.committed(&self.control)
    }

    fn is_behind(&self) -> bool {
        self.committer.is_behind()
    }
}

#[cfg(test)]
mod tests;
