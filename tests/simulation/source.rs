//! A source whose records come in the time of the simulation.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_connectors::source::Raw;
use tidewatch_connectors::{Decision, Error, Intake, Reader, Source, Status};
use tidewatch_dataflows::Offset;
use timely::scheduling::SyncActivator;

use super::random::Random;
use super::world::World;

/// A partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    pub(super) name: String,
    /// When it is there.
    pub(super) born: Duration,
    /// Each record with when it comes.
    pub(super) records: Vec<(Duration, String)>,
    /// When it ends, at the earliest.
    pub(super) ends: Duration,
    /// What a run decides that goes by a journal.
    pub(super) decisions: Vec<Decision>,
}

/// The partitions of a world.
pub(super) struct Topic(Arc<World>);

impl Topic {
    pub(super) fn of(world: &Arc<World>) -> Self {
        Self(world.clone())
    }

    fn find(&self, name: &str) -> &Partition {
        let mut partitions = self.0.partitions.iter();
        partitions.find(|partition| partition.name == name).expect("only what is listed is read")
    }
}

impl Source for Topic {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        let now = self.0.turns.now();
        let there = self.0.partitions.iter().filter(|partition| partition.born <= now);
        Ok(there.map(|partition| partition.name.clone()).collect())
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        _: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let index = self.0.partitions.iter().position(|one| one.name == partition);
        let (world, partition) = (self.0.clone(), index.expect("only what is listed is read"));
        // A broker may take its time.
        let slow =
            |random: &mut Random| if random.once_in(3) { random.millis(0, 400) } else { Duration::ZERO };
        let answers = world.turns.now() + world.turns.draw(slow);
        Ok(Box::new(Reading { world, partition, next: from.unwrap_or_default(), answers }))
    }

    fn decisions(&self, partition: &str) -> Result<Vec<Decision>, Error> {
        Ok(self.find(partition).decisions.clone())
    }

    fn patience(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

struct Reading {
    world: Arc<World>,
    partition: usize,
    next: Offset,
    /// When it gives the first record, at the earliest.
    answers: Duration,
}

impl Reader for Reading {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        let (now, partition) = (self.world.turns.now(), &self.world.partitions[self.partition]);
        if now < self.answers {
            return Ok(Status::Pending);
        }
        while let Some((comes, payload)) = partition.records.get(self.next.0 as usize) {
            if *comes > now {
                return Ok(Status::Pending);
            }
            let raw = Raw::new(self.next, payload.as_bytes());
            self.next = Offset(self.next.0 + 1);
            if intake.raw(raw).is_break() {
                return Ok(Status::More);
            }
        }
        Ok(if partition.ends <= now { Status::Ended } else { Status::Pending })
    }
}
