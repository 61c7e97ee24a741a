//! A sink whose writes take time, and of which a dead life knows no more.

use std::sync::Arc;

use tidewatch_connectors::control::Rule;
use tidewatch_connectors::memory::MemoryShards;
use tidewatch_connectors::store::Epoch;
use tidewatch_connectors::{Error, Message, Progress, Shard, ShardWriter, TransactionalSink};

use super::life::Wire;
use super::world::World;

/// The shards of a world, as a life sees them.
pub(super) struct Shards {
    world: Arc<World>,
    wire: Arc<Wire>,
}

impl Shards {
    pub(super) fn of(world: &Arc<World>, wire: &Arc<Wire>) -> Self {
        Self { world: world.clone(), wire: wire.clone() }
    }
}

impl TransactionalSink for Shards {
    fn shards(&self) -> u32 {
        self.world.sink.shards()
    }

    fn open(&self, shard: Shard) -> Result<Box<dyn ShardWriter>, Error> {
        let (world, wire, writer) = (self.world.clone(), self.wire.clone(), self.world.sink.open(shard)?);
        Ok(Box::new(Writer { world, wire, shard, writer }))
    }
}

struct Writer {
    world: Arc<World>,
    wire: Arc<Wire>,
    shard: Shard,
    writer: Box<dyn ShardWriter>,
}

impl ShardWriter for Writer {
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error> {
        let Self { world, wire, shard, writer } = self;
        let before = world.sink.commits(*shard).last().copied().unwrap_or(Progress::START);
        let fenced = wire.write(world, || writer.fence(epoch))??;
        let progress = if world.obeys(Rule::FencedBeforeProgressIsRead) { fenced } else { before };
        world.trace(|| format!("life {} fences shard {shard:?}, which is at {progress}", wire.number));
        Ok(progress)
    }

    fn write(&mut self, stream: usize, messages: &[Message<'_>]) -> Result<(), Error> {
        // What is not committed is nowhere.
        let Self { wire, writer, .. } = self;
        wire.read(|| writer.write(stream, messages))?
    }

    fn commit(&mut self, progress: Progress) -> Result<(), Error> {
        let Self { world, wire, shard, writer } = self;
        if !world.obeys(Rule::ProgressWithOutput) {
            let before = world.sink.commits(*shard).last().copied().unwrap_or(Progress::START);
            wire.write(world, || writer.commit(before))??;
        }
        wire.write(world, || {
            let before = world.sink.commits(*shard).last().copied().unwrap_or(Progress::START);
            let kept = world.sink.kept(*shard).len();
            let committed = writer.commit(progress);
            if committed.is_ok() {
                world.tally.commits.add(1);
                world.trace(|| format!("life {} commits shard {shard:?} up to {progress}", wire.number));
                world.sink_is_right(*shard, before, kept, progress);
            } else {
                world.tally.fenced_commits.add(1);
            }
            committed
        })?
    }
}

/// Names of what a commit says that is wrong; each is a failure of the seed.
pub(super) fn wrong(
    sink: &MemoryShards,
    shard: Shard,
    before: Progress,
    kept: usize,
    now: Progress,
) -> Option<String> {
    if now <= before {
        return Some(format!("shard {shard:?} is committed up to {now}, after {before}"));
    }
    let all = sink.kept(shard);
    let is_wrong = |time| before.covers(time) || !now.covers(time);
    let wrong = all[kept..].iter().find(|kept| is_wrong(kept.time))?;
    let payload = String::from_utf8_lossy(&wrong.payload);
    Some(format!("shard {shard:?} from {before} to {now} has, of {}: {payload}", wrong.time))
}
