//! A sink in memory whose output becomes visible in transactions.

use std::sync::{Arc, Mutex};

use tidewatch_dataflows::EventTime;

use crate::sink::{Progress, Shard, ShardWriter, TransactionalSink};
use crate::store::Epoch;
use crate::{lock, Error, Message};

/// Keeps what is committed; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryShards(Arc<Mutex<Vec<State>>>);

/// A message that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of its stream.
    pub stream: usize,
    /// Its logical time.
    pub time: EventTime,
    /// What it says.
    pub payload: Vec<u8>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

#[derive(Debug)]
struct State {
    epoch: Epoch,
    kept: Vec<Kept>,
    /// The progress of every commit.
    commits: Vec<Progress>,
    failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    commit: usize,
    landed: bool,
}

impl MemoryShards {
    /// A sink with so many shards, where nothing was written yet.
    pub fn new(shards: u32) -> Self {
        let state = |_| State { epoch: Epoch(0), kept: Vec::new(), commits: Vec::new(), failure: None };
        Self(Arc::new(Mutex::new((0..shards).map(state).collect())))
    }

    /// What is committed of a shard, in the order in which it was written.
    pub fn kept(&self, shard: Shard) -> Vec<Kept> {
        lock(&self.0)[shard.0 as usize].kept.clone()
    }

    /// What is committed of a stream of a shard, as lines.
    pub fn contents(&self, shard: Shard, stream: usize) -> Vec<u8> {
        let kept = self.kept(shard);
        let payloads = kept.iter().filter(|kept| kept.stream == stream).map(|kept| &kept.payload[..]);
        payloads.collect::<Vec<_>>().join(&b'\n')
    }

    /// The progress of each commit of a shard, in order.
    pub fn commits(&self, shard: Shard) -> Vec<Progress> {
        lock(&self.0)[shard.0 as usize].commits.clone()
    }

    /// Has the commit of a shard that comes after so many others fail, once: either all the same it is one, or it is none.
    pub fn fail(&self, shard: Shard, after: usize, landed: bool) {
        let state = &mut lock(&self.0)[shard.0 as usize];
        state.failure = Some(Failure { commit: state.commits.len() + after, landed });
    }
}

impl TransactionalSink for MemoryShards {
    fn shards(&self) -> u32 {
        lock(&self.0).len() as u32
    }

    fn open(&self, shard: Shard) -> Result<Box<dyn ShardWriter>, Error> {
        Ok(Box::new(Writer { sink: self.clone(), shard, epoch: Epoch(0), written: Vec::new() }))
    }
}

struct Writer {
    sink: MemoryShards,
    shard: Shard,
    epoch: Epoch,
    written: Vec<Kept>,
}

impl Writer {
    /// The shard, if this writer may still write to it.
    fn with<R>(
        &mut self,
        act: impl FnOnce(&mut State, &mut Vec<Kept>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let state = &mut lock(&self.sink.0)[self.shard.0 as usize];
        match state.epoch > self.epoch {
            true => Err(Error::Fenced { epoch: state.epoch }),
            false => act(state, &mut self.written),
        }
    }
}

impl ShardWriter for Writer {
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error> {
        self.epoch = epoch;
        self.with(|state, _| {
            state.epoch = epoch;
            Ok(state.commits.last().copied().unwrap_or(Progress::START))
        })
    }

    fn write(&mut self, stream: usize, messages: &[Message<'_>]) -> Result<(), Error> {
        let kept = |message: &Message<'_>| Kept {
            stream,
            time: message.time,
            payload: message.payload.to_vec(),
            key: message.key.map(<[u8]>::to_vec),
            headers: message.headers.iter().map(|header| (header.name, header.value.to_vec())).collect(),
        };
        self.with(|_, written| {
            written.extend(messages.iter().map(kept));
            Ok(())
        })
    }

    fn commit(&mut self, progress: Progress) -> Result<(), Error> {
        self.with(|state, written| {
            let failure = state.failure.filter(|failure| failure.commit == state.commits.len());
            if failure.is_none_or(|failure| failure.landed) {
                state.kept.append(written);
                state.commits.push(progress);
            }
            match failure {
                Some(_) => {
                    state.failure = None;
                    Err(Error::io("memory")(std::io::Error::other("the connection is gone")))
                }
                None => Ok(()),
            }
        })
    }

    fn wants_preamble(&self, stream: usize) -> bool {
        !self.sink.kept(self.shard).iter().any(|kept| kept.stream == stream)
    }

    fn wants_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(micros: i64) -> Progress {
        Progress::Below(EventTime::from_micros(micros))
    }

    #[test]
    fn what_is_not_committed_is_undone_and_who_is_fenced_writes_no_more() {
        let sink = MemoryShards::new(1);
        let message = Message::new(EventTime::from_micros(1), b"a");
        let mut old = sink.open(Shard(0)).unwrap();
        assert_eq!(Progress::START, old.fence(Epoch(1)).unwrap());
        old.write(0, &[message]).unwrap();
        old.commit(below(2)).unwrap();
        old.write(0, &[message]).unwrap();
        let mut new = sink.open(Shard(0)).unwrap();
        assert_eq!(below(2), new.fence(Epoch(2)).unwrap());
        assert!(matches!(old.commit(below(3)), Err(Error::Fenced { epoch: Epoch(2) })));
        assert!(matches!(old.write(0, &[message]), Err(Error::Fenced { .. })));
        assert!(matches!(sink.open(Shard(0)).unwrap().fence(Epoch(1)), Err(Error::Fenced { .. })));
        assert_eq!((b"a".to_vec(), vec![below(2)]), (sink.contents(Shard(0), 0), sink.commits(Shard(0))));
    }

    #[test]
    fn a_commit_that_fails_may_be_one_all_the_same() {
        for landed in [false, true] {
            let sink = MemoryShards::new(2);
            let mut writer = sink.open(Shard(1)).unwrap();
            writer.fence(Epoch(1)).unwrap();
            sink.fail(Shard(1), 1, landed);
            writer.commit(below(1)).unwrap();
            writer.commit(below(2)).unwrap_err();
            assert_eq!(1 + usize::from(landed), sink.commits(Shard(1)).len());
        }
    }
}
