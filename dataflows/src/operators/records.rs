//! A stream of records on its way to keyed state.

use std::sync::Arc;

use timely::communication::Push;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::Concat;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Stamp;

use super::Tally;
use crate::record::{KeyId, RowBatch};
use crate::EventTime;

/// A stream of records, and what keyed state needs to know beside them.
#[derive(Clone)]
pub struct Records<'scope> {
    /// The records, each batch under the watermark that its partition had before it.
    pub rows: Stream<'scope, EventTime, RowBatch>,
    /// From each source worker to each worker, once it has truly ended: the index of the worker that it is for,
    /// and the highest watermark that a partition of the sender reached.
    ///
    /// The greatest of them is the event time up to which timers are due at the end. The frontier cannot tell: it
    /// may jump from any earlier time to the end.
    pub ends: StreamVec<'scope, EventTime, (u64, EventTime)>,
    /// Values per record.
    pub width: usize,
    /// What keyed state counts.
    pub tally: Arc<Tally>,
}

impl<'scope> Records<'scope> {
    /// The records of both streams, which have the same values.
    pub fn concat(self, other: Self) -> Self {
        debug_assert_eq!(self.width, other.width);
        Self { rows: self.rows.concat(other.rows), ends: self.ends.concat(other.ends), ..self }
    }
}

/// Sends each row, and what the dictionary says of its key, to the worker that owns the key's group.
pub(super) fn by_key_group() -> DistributorPact<impl FnOnce(usize) -> ByKeyGroup> {
    DistributorPact(|peers| ByKeyGroup { parts: (0..peers).map(|_| RowBatch::default()).collect() })
}

/// The distributor behind [`by_key_group`]: one batch under way for each worker.
pub(super) struct ByKeyGroup {
    parts: Vec<RowBatch>,
}

impl ByKeyGroup {
    #[inline]
    fn part(&mut self, key: KeyId) -> (usize, &mut RowBatch) {
        let worker = key.group().worker(self.parts.len());
        (worker, &mut self.parts[worker])
    }

    fn send<T: Clone, P: Push<Message<T, RowBatch>>>(part: &mut RowBatch, stamp: &Stamp<T>, pusher: &mut P) {
        let width = part.width();
        Message::push_at(part, stamp.clone(), pusher);
        // What came back is somebody's used allocation, or a default.
        part.reset(width);
    }
}

impl Distributor<RowBatch> for ByKeyGroup {
    fn partition<T: Clone, P: Push<Message<T, RowBatch>>>(
        &mut self,
        batch: &mut RowBatch,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        for part in self.parts.iter_mut().filter(|part| part.is_empty()) {
            part.set_width(batch.width());
        }
        // A key is learned before the rows that follow here, and forgotten after the rows before: both travel with
        // the part's next rows, so a part that is sent in between cannot separate them wrongly.
        for (id, key) in batch.learned.drain(..) {
            self.part(id).1.learned.push((id, key));
        }
        for (head, values) in batch.rows() {
            let (worker, part) = self.part(head.key);
            part.push(*head, values);
            if part.is_full() {
                Self::send(part, stamp, &mut pushers[worker]);
            }
        }
        for id in batch.forgotten.drain(..) {
            self.part(id).1.forgotten.push(id);
        }
        batch.clear();
    }

    fn flush<T: Clone, P: Push<Message<T, RowBatch>>>(&mut self, stamp: &Stamp<T>, pushers: &mut [P]) {
        for (part, pusher) in self.parts.iter_mut().zip(pushers) {
            if !part.is_empty() {
                Self::send(part, stamp, pusher);
            }
        }
    }
}
