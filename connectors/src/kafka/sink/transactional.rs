//! A sink whose output becomes visible in transactions.

use std::sync::Mutex;
use std::time::Instant;

use super::progress::Ledger;
use super::shard::{Parts, Writer};
use super::topics::Topics;
use super::{Brokers, Topic};
use crate::sink::Hook;
use crate::{lock, Error, Shard, ShardWriter, TransactionalSink};

/// How many shards there are unless somebody says otherwise.
const SHARDS: u32 = 4;

/// Writes each stream to a topic of its own, in transactions, with how far it is complete in a compacted topic.
///
/// Each shard is a producer of its own, whose transactional id is made of job, incarnation and number: the next run ends the
/// transaction that a crash has left, and whoever still writes to it. Consumers with `isolation.level` `read_committed`, as
/// they should be set, see each event once, and those of a key in order.
#[derive(Debug)]
pub struct TransactionalKafka {
    brokers: Brokers,
    job: String,
    incarnation: u64,
    topics: Vec<Topic>,
    progress_topic: String,
    shards: u32,
    hook: Hook,
    found: Mutex<Found>,
}

/// What is known of the topics.
#[derive(Debug, Default)]
struct Found {
    /// How many partitions the progress topic has, once it is known that all are there.
    partitions: Option<u32>,
    /// When a shard has given up asking brokers, and why: those that waited for it need not ask for as long again.
    gave_up: Option<(Instant, String)>,
}

impl TransactionalKafka {
    /// A sink of a job in one of its incarnations, whose streams go to these topics, in order. Nothing is opened yet.
    ///
    /// It has four shards; its progress is in the topic `JOB-progress`.
    pub fn new(
        job: impl Into<String>,
        incarnation: u64,
        brokers: Brokers,
        topics: impl IntoIterator<Item = Topic>,
    ) -> Self {
        let job = job.into();
        let progress_topic = format!("{}-progress", legal(&job));
        let (topics, found) = (topics.into_iter().collect(), Mutex::default());
        let (shards, hook) = (SHARDS, Hook::default());
        Self { brokers, job, incarnation, topics, progress_topic, shards, hook, found }
    }

    /// Calls `hook` before each step that a crash may prevent, with its name: for tests, which end there.
    #[must_use]
    pub fn with_hook(self, hook: impl Fn(&'static str) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { hook: Hook::new(hook), ..self }
    }

    /// How many shards there are, at least one; a job that has committed its output cannot change it.
    #[must_use]
    pub fn sharded(self, shards: u32) -> Self {
        Self { shards: shards.max(1), ..self }
    }

    /// Where progress is kept: a topic for this alone, which is made if it is not there, with a partition for each shard.
    #[must_use]
    pub fn progress_topic(self, name: impl Into<String>) -> Self {
        Self { progress_topic: name.into(), ..self }
    }

    /// Sees to it that all topics are there, once, and returns how many partitions the progress topic has.
    fn found(&self) -> Result<u32, Error> {
        let asked = Instant::now();
        let mut found = lock(&self.found);
        match &*found {
            Found { partitions: Some(partitions), .. } => return Ok(*partitions),
            Found { gave_up: Some((when, reason)), .. } if asked < *when => {
                return Err(Error::Broker(reason.clone()));
            }
            _ => {}
        }
        let result = self.find();
        match &result {
            Ok(partitions) => found.partitions = Some(*partitions),
            Err(Error::Broker(reason)) => found.gave_up = Some((Instant::now(), reason.clone())),
            Err(_) => {}
        }
        result
    }

    fn find(&self) -> Result<u32, Error> {
        let topics = Topics::of(&self.brokers)?;
        for topic in &self.topics {
            topics.require(topic)?;
        }
        topics.require_compacted(&self.progress_topic, self.shards)
    }
}

impl TransactionalSink for TransactionalKafka {
    fn shards(&self) -> u32 {
        self.shards
    }

    fn open(&self, shard: Shard) -> Result<Box<dyn ShardWriter>, Error> {
        let topic = (self.progress_topic.as_str(), self.found()?);
        let ledger = Ledger::new(&self.brokers, topic, (&self.job, self.incarnation), shard);
        let id = format!("tidewatch/{}/{}/{}", self.job, self.incarnation, shard.0);
        let parts = Parts {
            id,
            ledger,
            shards: self.shards,
            topics: self.topics.clone(),
            pipeline: self.job.clone(),
            hook: self.hook.clone(),
        };
        Ok(Box::new(Writer::open(&self.brokers, parts)?))
    }
}

/// The same name with what Kafka takes in names of topics alone.
fn legal(name: &str) -> String {
    let takes = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    name.chars().map(|char| if takes(char) { char } else { '-' }).collect()
}
