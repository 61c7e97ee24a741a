//! A stream of records on its way to keyed state.

use std::sync::Arc;

use timely::communication::Push;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::Message;
use timely::dataflow::operators::Concat;
use timely::dataflow::{Stream, StreamVec};
use timely::progress::Stamp;

use super::credits::Credits;
use super::{Pressure, Tally};
use crate::record::{KeyGroup, KeyNumber, RowBatch};
use crate::EventTime;

/// Of how many partitions the records of a stream may be: as many as a waiting row can name.
pub const PARTITIONS: usize = 1 << 21;

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
    /// How many bytes of records may wait for the frontier, at all workers together.
    pub ahead: usize,
    /// What keyed state counts.
    pub tally: Arc<Tally>,
    /// Where whoever buffers the rows says so.
    pub credits: Credits<'scope>,
    /// What is on its way from this worker to sinks.
    pub pressure: Pressure,
}

impl<'scope> Records<'scope> {
    /// The records of both streams, which have the same values.
    ///
    /// # Panics
    ///
    /// If they do not have equally many.
    pub fn concat(self, other: Self) -> Self {
        assert_eq!(self.width, other.width, "records of both streams have equally many values");
        Self {
            rows: self.rows.concat(other.rows),
            ends: self.ends.concat(other.ends),
            credits: self.credits.concat(other.credits),
            ahead: self.ahead.min(other.ahead),
            ..self
        }
    }
}

/// Sends each row, and what the dictionary says of its key, to the worker that owns the key's group.
pub fn by_key_group() -> DistributorPact<impl FnOnce(usize) -> ByKeyGroup> {
    DistributorPact(ByKeyGroup::new)
}

/// The distributor behind [`by_key_group`]: one batch under way for each worker.
pub struct ByKeyGroup {
    parts: Vec<RowBatch>,
    /// The worker of each key group.
    owners: Vec<usize>,
}

impl ByKeyGroup {
    fn new(peers: usize) -> Self {
        Self {
            parts: (0..peers).map(|_| RowBatch::default()).collect(),
            owners: KeyGroup::all().map(|group| group.worker(peers)).collect(),
        }
    }

    #[inline]
    fn part(&mut self, key: KeyNumber) -> (usize, &mut RowBatch) {
        let worker = self.owners[key.group().index()];
        (worker, &mut self.parts[worker])
    }

    fn send<T: Clone, P: Push<Message<T, RowBatch>>>(part: &mut RowBatch, stamp: &Stamp<T>, pusher: &mut P) {
        if part.len() < RowBatch::CAPACITY / 4 {
            // Few rows must not keep the room of many while they wait in a channel.
            Message::push_at(&mut part.take(), stamp.clone(), pusher);
            return;
        }
        let (origin, width, since) = (part.origin(), part.width(), part.since());
        Message::push_at(part, stamp.clone(), pusher);
        // What came back is somebody's used allocation, or a default.
        part.reset(origin, width, since);
    }
}

impl Distributor<RowBatch> for ByKeyGroup {
    fn partition<T: Clone, P: Push<Message<T, RowBatch>>>(
        &mut self,
        batch: &mut RowBatch,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        if self.parts[0].origin() != batch.origin() || self.parts[0].width() != batch.width() {
            self.flush(stamp, pushers);
            let (origin, width, since) = (batch.origin(), batch.width(), batch.since());
            self.parts.iter_mut().for_each(|part| part.reset(origin, width, since));
        }
        let mut is_near = true;
        self.parts.iter_mut().for_each(|part| is_near &= part.reaches(batch));
        for learned in batch.learned.drain(..) {
            self.part(learned.0).1.learned.push(learned);
        }
        for (row, (head, values)) in batch.rows().enumerate() {
            let (worker, part) = self.part(head.key);
            match is_near {
                true => part.push_head(head, values),
                false => part.push(head.time, head.key, batch.offset(row), values),
            }
            if part.is_full() {
                Self::send(part, stamp, &mut pushers[worker]);
            }
        }
        if !batch.forgotten.is_empty() {
            for number in batch.forgotten.drain(..) {
                self.part(number).1.forgotten.push(number);
            }
            // A part is a batch, too: what it forgets may mean something else in the rows of the next.
            self.flush(stamp, pushers);
        }
        batch.clear();
    }

    fn flush<T: Clone, P: Push<Message<T, RowBatch>>>(&mut self, stamp: &Stamp<T>, pushers: &mut [P]) {
        for (part, pusher) in self.parts.iter_mut().zip(pushers) {
            if !part.says_nothing() {
                Self::send(part, stamp, pusher);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Dictionary, Head, Offset, Origin};
    use crate::{Key, PartitionId};

    /// Keeps what was sent to one worker.
    #[derive(Default)]
    struct Sent(Vec<RowBatch>);

    impl Push<Message<EventTime, RowBatch>> for Sent {
        fn push(&mut self, message: &mut Option<Message<EventTime, RowBatch>>) {
            self.0.extend(message.take().map(|message| message.data));
        }
    }

    /// The keys and offsets that a worker reads from what it was sent.
    fn read(sent: &[RowBatch]) -> Vec<(Key, Offset)> {
        let (mut known, mut rows) = (BTreeMap::new(), Vec::new());
        for batch in sent {
            known.extend(batch.learned.iter().cloned());
            let key =
                |(row, (head, _)): (usize, (Head, &[f64]))| (known[&head.key].clone(), batch.offset(row));
            rows.extend(batch.rows().enumerate().map(key));
            batch.forgotten.iter().for_each(|number| drop(known.remove(number)));
        }
        rows
    }

    proptest! {
        #[test]
        fn every_row_names_its_key_at_the_worker_that_owns_it(
            batches in prop::collection::vec((0u8..2, any::<u32>(), prop::collection::vec(0u8..30, 0..12)), 0..40),
            generation in 1usize..8,
            peers in 2usize..5,
        ) {
            let (mut dictionary, mut distributor) = (Dictionary::with_generation(generation), ByKeyGroup::new(peers));
            let mut pushers: Vec<Sent> = (0..peers).map(|_| Sent::default()).collect();
            let stamp = Stamp::from_elem(EventTime::MIN);
            let mut expected = vec![Vec::new(); peers];
            let mut offset = 0;
            for (partition, gap, names) in batches {
                offset += u64::from(gap);
                let partition = PartitionId::of("s", &partition.to_string());
                let mut batch = RowBatch::new(Origin { partition, dictionary: 1 }, 1, Offset(offset));
                for name in names {
                    offset += 1;
                    let key = Key::new(&name.to_string());
                    let number = dictionary.number(key.id(), || key.clone(), &mut batch);
                    batch.push(EventTime::MIN, number, Offset(offset), &[offset as f64]);
                    expected[key.id().group().worker(peers)].push((key, Offset(offset)));
                }
                distributor.partition(&mut batch, &stamp, &mut pushers);
            }
            distributor.flush(&stamp, &mut pushers);
            for (expected, sent) in expected.into_iter().zip(pushers) {
                prop_assert_eq!(expected, read(&sent.0));
            }
        }
    }
}
