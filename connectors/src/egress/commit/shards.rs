//! The shards of a sink, before the dataflow is built.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tidewatch_dataflows::EventTime;

use crate::store::Epoch;
use crate::{lock, Control, Error, Progress, Shard, ShardWriter, TransactionalSink};

/// The shards of a sink that live in this process, opened and fenced; clones are the same.
#[derive(Clone)]
pub struct Shards {
    sink: usize,
    count: u32,
    progress: BTreeMap<Shard, Progress>,
    opened: Arc<Mutex<BTreeMap<Shard, Opened>>>,
}

/// A shard that is fenced.
pub(super) struct Opened {
    pub(super) shard: Shard,
    pub(super) progress: Progress,
    pub(super) writer: Box<dyn ShardWriter>,
}

impl Shards {
    /// Opens the shards that live on some of the workers of a run, all at the same time, and ends whoever writes to them
    /// under a lower epoch. Every process opens all sinks, in the same order; what is committed, `control` then knows.
    ///
    /// # Errors
    ///
    /// The first error of a shard; [`Error::Fenced`] if a later run has begun.
    pub fn open(
        sink: &dyn TransactionalSink,
        epoch: Epoch,
        workers: Range<usize>,
        peers: usize,
        control: &Control,
    ) -> Result<Self, Error> {
        let count = sink.shards();
        let own = (0..count).map(Shard).filter(|shard| workers.contains(&shard.worker(peers)));
        let open = |shard| {
            let mut writer = sink.open(shard)?;
            let progress = writer.fence(epoch)?;
            Ok(Opened { shard, progress, writer })
        };
        // Each of them may take long to answer.
        let opened: Result<Vec<Opened>, Error> = control.at_once(own, open).into_iter().collect();
        let opened: BTreeMap<_, _> = opened?.into_iter().map(|opened| (opened.shard, opened)).collect();
        let progress: BTreeMap<_, _> =
            opened.values().map(|opened| (opened.shard, opened.progress)).collect();
        let sink = control.open_shards(count);
        progress.iter().for_each(|(shard, progress)| control.commit(sink, *shard, *progress));
        control.notify();
        Ok(Self { sink, count, progress, opened: Arc::new(Mutex::new(opened)) })
    }

    /// Has those begin at a time that have never committed anything: what is before it, they are never given.
    ///
    /// # Errors
    ///
    /// The first error of a shard; [`Error::Fenced`] if a later run has begun.
    pub fn begin_at(&mut self, time: EventTime, control: &Control) -> Result<(), Error> {
        let progress = Progress::Below(time);
        for opened in lock(&self.opened).values_mut().filter(|opened| opened.progress == Progress::START) {
            opened.writer.commit(progress)?;
            opened.progress = progress;
            self.progress.insert(opened.shard, progress);
            control.commit(self.sink, opened.shard, progress);
        }
        control.notify();
        Ok(())
    }

    /// What earlier runs have committed of each shard of this process.
    pub fn progress(&self) -> &BTreeMap<Shard, Progress> {
        &self.progress
    }

    /// How many shards the sink has, in all processes.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The number of the sink in `Control`.
    pub(super) fn sink(&self) -> usize {
        self.sink
    }

    /// Takes those that live on worker `index` of `peers`.
    pub(super) fn take(&self, index: usize, peers: usize) -> Vec<Opened> {
        let mut opened = lock(&self.opened);
        let (taken, left) =
            std::mem::take(&mut *opened).into_iter().partition(|(shard, _)| shard.worker(peers) == index);
        *opened = left;
        let taken: BTreeMap<Shard, Opened> = taken;
        taken.into_values().collect()
    }
}
