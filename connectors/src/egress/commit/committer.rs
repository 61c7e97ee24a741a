//! What the streams of a sink share on a worker.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::scheduling::SyncActivator;

use super::cycle::Cycle;
use super::inbox::{Inbox, Parcel};
use super::shards::{Opened, Shards};
use crate::egress::batch::Batch;
use crate::task::Spawned;
use crate::{Control, Error, Progress, Shard};

/// How many bytes may wait to be committed before sources wait too.
const BEHIND: u64 = 32 << 20;

/// The shards of a sink that live on one worker, for all streams that go there; clones are the same.
#[derive(Clone)]
pub struct Committer(Rc<Shared>);

struct Shared {
    sink: usize,
    count: u32,
    streams: usize,
    /// How many streams there are by now.
    joined: Cell<usize>,
    lanes: RefCell<Vec<Lane>>,
    threads: RefCell<Vec<Spawned>>,
}

/// What goes to a shard.
struct Lane {
    shard: Shard,
    /// What earlier runs have committed.
    from: Progress,
    wants_keys: bool,
    /// Up to where messages were sent, and were committed when somebody last looked.
    sent: Progress,
    committed: Progress,
    streams: Vec<Held>,
    inbox: Arc<Inbox>,
}

/// What is held back of a stream, because another one may still come to earlier times.
struct Held {
    wants_preamble: bool,
    frontier: Progress,
    parcels: VecDeque<Parcel>,
}

/// What a stream must know of a shard.
pub(super) struct ShardOf {
    pub(super) shard: Shard,
    /// What earlier runs have committed.
    pub(super) from: Progress,
    pub(super) wants_keys: bool,
    /// Whether it begins with what comes before all events.
    pub(super) wants_preamble: bool,
}

impl Committer {
    /// Takes the shards of worker `index` of `peers`, for so many streams, each with a thread that commits messages no more
    /// often than each `interval`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a thread cannot be started.
    pub fn start(
        shards: &Shards,
        streams: usize,
        index: usize,
        peers: usize,
        interval: Duration,
    ) -> Result<Self, Error> {
        let (committer, cycles) = Self::stepped(shards, streams, index, peers, interval);
        for (shard, cycle) in cycles {
            let thread = Control::current().spawn(&format!("shard-{}", shard.0), cycle)?;
            committer.0.threads.borrow_mut().push(thread);
        }
        Ok(committer)
    }

    /// The same without threads: whoever calls this drives the work of each shard.
    pub(super) fn stepped(
        shards: &Shards,
        streams: usize,
        index: usize,
        peers: usize,
        interval: Duration,
    ) -> (Self, Vec<(Shard, Cycle)>) {
        let mut cycles = Vec::new();
        let lane = |Opened { shard, progress, writer }: Opened| {
            let held = |stream| Held {
                wants_preamble: writer.wants_preamble(stream),
                frontier: Progress::START,
                parcels: VecDeque::new(),
            };
            let (wants_keys, streams) = (writer.wants_keys(), (0..streams).map(held).collect());
            let inbox = Arc::new(Inbox::new(progress));
            cycles.push((shard, Cycle::new(Arc::clone(&inbox), writer, interval)));
            Lane { shard, from: progress, sent: progress, committed: progress, wants_keys, streams, inbox }
        };
        let lanes = shards.take(index, peers).into_iter().map(lane).collect();
        let shared = Shared {
            sink: shards.sink(),
            count: shards.count(),
            streams,
            joined: Cell::new(0),
            lanes: RefCell::new(lanes),
            threads: RefCell::default(),
        };
        (Self(Rc::new(shared)), cycles)
    }

    /// How many shards the sink has, on whichever worker.
    pub(super) fn count(&self) -> u32 {
        self.0.count
    }

    /// Gives a stream its number; `waker` is called after each commit.
    ///
    /// # Panics
    ///
    /// If there are more streams than were said: what they have in common would be committed too early.
    pub(super) fn join(&self, waker: &SyncActivator) -> usize {
        let stream = self.0.joined.get();
        assert!(stream < self.0.streams, "a committer of {} streams has no more", self.0.streams);
        self.0.joined.set(stream + 1);
        self.0.lanes.borrow().iter().for_each(|lane| lane.inbox.wake(waker.clone()));
        stream
    }

    /// The shards of this worker, as a stream sees them.
    pub(super) fn shards(&self, stream: usize) -> Vec<ShardOf> {
        let shard = |lane: &Lane| ShardOf {
            shard: lane.shard,
            from: lane.from,
            wants_keys: lane.wants_keys,
            wants_preamble: lane.streams[stream].wants_preamble,
        };
        self.0.lanes.borrow().iter().map(shard).collect()
    }

    /// Takes messages of a stream for a shard, which are all those below `frontier` that were not given before.
    ///
    /// # Panics
    ///
    /// If there are fewer streams than were said: nothing would ever be committed.
    pub(super) fn hand_over(&self, shard: Shard, stream: usize, batches: Vec<Batch>, frontier: Progress) {
        let (streams, joined) = (self.0.streams, self.0.joined.get());
        assert_eq!(streams, joined, "a committer of {streams} streams has {joined}");
        let mut lanes = self.0.lanes.borrow_mut();
        let lane = lanes.iter_mut().find(|lane| lane.shard == shard).expect("it is one of this worker's");
        lane.hand_over(stream, batches, frontier);
    }

    /// How far all shards of this worker are committed.
    pub(super) fn committed(&self, control: &Control) -> Progress {
        let committed = |lane: &mut Lane| {
            let progress = lane.inbox.committed();
            if progress != std::mem::replace(&mut lane.committed, progress) {
                control.commit(self.0.sink, lane.shard, progress);
            }
            progress
        };
        self.0.lanes.borrow_mut().iter_mut().map(committed).min().unwrap_or(Progress::End)
    }

    /// Whether so much waits to be committed that nobody should send more.
    pub(super) fn is_behind(&self) -> bool {
        self.0.lanes.borrow().iter().map(|lane| lane.inbox.pending()).sum::<u64>() >= BEHIND
    }
}

impl Lane {
    fn hand_over(&mut self, stream: usize, batches: Vec<Batch>, frontier: Progress) {
        let held = &mut self.streams[stream];
        let parcel = |batch: Batch| Parcel { stream, range: 0..batch.len(), batch: Arc::new(batch) };
        held.parcels.extend(batches.into_iter().map(parcel));
        held.frontier = frontier;
        let reached = self.streams.iter().map(|held| held.frontier).min().expect("there is this stream");
        if reached > self.sent {
            self.sent = reached;
            let parcels = self.streams.iter_mut().flat_map(|held| held.release(reached)).collect();
            self.inbox.send(parcels, reached);
        }
    }
}

impl Held {
    /// Takes the messages below `reached`.
    fn release(&mut self, reached: Progress) -> Vec<Parcel> {
        let mut released = Vec::new();
        while let Some(first) = self.parcels.front_mut() {
            let end = first.batch.partition_point(|time| !reached.covers(time));
            if end < first.range.end {
                if end > first.range.start {
                    let range = first.range.start..end;
                    first.range.start = end;
                    released.push(Parcel { range, ..first.clone() });
                }
                break;
            }
            released.extend(self.parcels.pop_front());
        }
        released
    }
}

/// What is not committed when the dataflow goes stays so: only the end of event time makes everything final.
impl Drop for Shared {
    fn drop(&mut self) {
        self.lanes.get_mut().iter().for_each(|lane| lane.inbox.close());
        for thread in self.threads.take() {
            thread.join();
        }
    }
}
