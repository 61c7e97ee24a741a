//! The client of a source: one per process.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use tidewatch_dataflows::EventTime;

use super::group::Telling;
use super::news::News;
use super::refusal::advice;
use super::settings::refused;
use super::{Place, Settings, Topics};
use crate::Error;

/// How long a broker has to answer a question at the start.
const PATIENCE: Duration = Duration::from_secs(8);
/// After how long somebody looks first whether it has refused; then after twice as long, and so on.
const LOOK: Duration = Duration::from_millis(500);

pub(super) type KafkaConsumer = BaseConsumer<News>;

/// How long to wait for what is not a record.
const LISTEN: Duration = Duration::from_millis(200);

/// A consumer without a group protocol, and a thread that hears what is not records.
pub(super) struct Client {
    consumer: Arc<KafkaConsumer>,
    finished: Once,
    /// Whether nobody needs it any more.
    is_over: Arc<AtomicBool>,
    brokers: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client, which tells `group`, if there is one, how far it is read; nothing is known yet of the brokers.
    pub(super) fn connect(settings: &Settings, group: Option<&str>) -> Result<Self, Error> {
        let news = News::new(&settings.brokers, settings.is_committed, group.map(Telling::to));
        let mut config = settings.config().clone();
        if let Some(group) = group {
            config.set("group.id", group);
        }
        let consumer: KafkaConsumer = config.create_with_context(news).map_err(refused)?;
        let (consumer, is_over) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let client = Self { consumer, finished: Once::new(), is_over, brokers: settings.brokers.clone() };
        let (consumer, is_over) = (client.consumer.clone(), client.is_over.clone());
        start("tidewatch-kafka", move || serve(&consumer, &is_over))?;
        if client.news().telling.is_some() {
            let consumer = client.consumer.clone();
            let tell = move || consumer.context().telling.iter().for_each(|telling| telling.tell(&consumer));
            start("tidewatch-kafka-group", tell)?;
        }
        Ok(client)
    }

    /// Tells a last time how far it is read; nothing is read any more.
    pub(super) fn finish(&self) {
        self.finished.call_once(|| {
            if let Some(telling) = &self.news().telling {
                telling.finish(!self.news().is_away());
            }
        });
    }

    pub(super) fn news(&self) -> &News {
        self.consumer.context()
    }

    pub(super) fn consumer(&self) -> &Arc<KafkaConsumer> {
        &self.consumer
    }

    pub(super) fn error(&self, reason: impl fmt::Display) -> Error {
        Error::Broker(format!("kafka at {}: {reason}", self.brokers))
    }

    /// Asks until somebody answers, but not for long, nor once nobody lets the client in.
    fn ask<T>(&self, question: impl Fn(Duration) -> KafkaResult<T>) -> Result<T, Error> {
        let (start, mut look) = (Instant::now(), LOOK);
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let error = match question(look.min(left.max(LOOK))) {
                Ok(answer) => {
                    self.news().know();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if let Some(reason) = self.news().refused() {
                return Err(self.error(reason));
            }
            let is_passing = error.rdkafka_error_code().is_some_and(is_passing);
            if !is_passing {
                return Err(self.error(error));
            }
            if start.elapsed() > PATIENCE {
                let reason = self.news().reason();
                let reason = if reason.is_empty() { error.to_string() } else { reason };
                let (seconds, advice) = (PATIENCE.as_secs(), advice(&reason));
                return Err(self.error(format!("no broker answers within {seconds} s: {reason}{advice}")));
            }
            if error.rdkafka_error_code() == Some(Code::OperationTimedOut) {
                look *= 2;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn metadata(&self, topic: Option<&str>) -> Result<Metadata, Error> {
        self.ask(|patience| {
            let metadata = self.consumer.fetch_metadata(topic, patience)?;
            // A topic that was made just now has no leaders for a moment.
            let mut codes = metadata.topics().iter().filter_map(MetadataTopic::error).map(Code::from);
            match codes.find(|code| *code == Code::LeaderNotAvailable) {
                Some(code) => Err(KafkaError::MetadataFetch(code)),
                None => Ok(metadata),
            }
        })
    }

    /// The names of all partitions of the topics.
    pub(super) fn partitions(&self, topics: &Topics) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        match topics {
            Topics::Named(names) => {
                for name in names {
                    let metadata = self.metadata(Some(name))?;
                    metadata.topics().iter().try_for_each(|topic| self.list(topic, &mut found))?;
                }
            }
            Topics::Matching(pattern) => {
                let metadata = self.metadata(None)?;
                let topics = metadata.topics().iter();
                let mut topics =
                    topics.filter(|topic| !topic.name().starts_with("__") && pattern.is_match(topic.name()));
                topics.try_for_each(|topic| self.list(topic, &mut found))?;
                if found.is_empty() {
                    let pattern = pattern.as_str();
                    let inner = pattern.strip_prefix("^(?:").and_then(|inner| inner.strip_suffix(")$"));
                    let pattern = inner.unwrap_or(pattern);
                    return Err(self.error(format!("no topic matches \"{pattern}\"")));
                }
            }
        }
        Ok(found)
    }

    fn list(&self, topic: &MetadataTopic, found: &mut Vec<String>) -> Result<(), Error> {
        let name = topic.name();
        match topic.error().map(Code::from) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
                return Err(self.error(format!("topic \"{name}\" does not exist")));
            }
            Some(code) => return Err(self.error(format!("topic \"{name}\": {code}"))),
            None => {}
        }
        found.extend(topic.partitions().iter().map(|partition| Place::new(name, partition.id()).name));
        Ok(())
    }

    /// The offset of the first record of a partition, and the one behind its last; of transactions, behind the last that is
    /// decided.
    pub(super) fn bounds(&self, place: &Place) -> Result<(u64, u64), Error> {
        let Place { topic, number, .. } = place;
        let (low, high) = self.ask(|patience| self.consumer.fetch_watermarks(topic, *number, patience))?;
        Ok((natural(low), natural(high)))
    }

    /// The offset of the first record that is dated at `time` or later, if there is one.
    pub(super) fn offset_at(&self, place: &Place, time: EventTime) -> Result<Option<u64>, Error> {
        let millis = time.micros().div_euclid(1000) + i64::from(time.micros().rem_euclid(1000) > 0);
        let found = self.ask(|patience| {
            let asked = single(place, Offset::Offset(millis))?;
            self.consumer.offsets_for_times(asked, patience)
        })?;
        Ok(found.elements().first().and_then(|element| match element.offset() {
            Offset::Offset(offset) => u64::try_from(offset).ok(),
            _ => None,
        }))
    }

    /// Has a partition fetched from `start` on into a queue of its own, of whose records `wake` hears; none counts from `stop` on.
    pub(super) fn assign(
        &self,
        place: &Place,
        start: u64,
        stop: Option<u64>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<PartitionQueue<News>, Error> {
        let Place { topic, number, .. } = place;
        // Its records must never go anywhere else: so the queue is there before they are asked for.
        let queue = self.consumer.split_partition_queue(topic, *number);
        let mut queue = queue.ok_or_else(|| self.error(format!("{} has no queue", place.name)))?;
        queue.set_nonempty_callback(wake);
        if let Some(telling) = &self.news().telling {
            telling.watch(place, start, stop);
        }
        assign(&self.consumer, place, start).map_err(|error| self.error(error))?;
        Ok(queue)
    }
}

/// Has a partition fetched from `start` on.
pub(super) fn assign(consumer: &KafkaConsumer, place: &Place, start: u64) -> KafkaResult<()> {
    consumer.incremental_assign(&single(place, offset(start))?)
}

/// Has it fetched from somewhere else.
pub(super) fn reassign(consumer: &KafkaConsumer, place: &Place, start: u64) -> KafkaResult<()> {
    consumer.incremental_unassign(&single(place, Offset::Invalid)?)?;
    assign(consumer, place, start)
}

fn single(place: &Place, offset: Offset) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&place.topic, place.number, offset)?;
    Ok(list)
}

pub(super) fn offset(offset: u64) -> Offset {
    Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}

pub(super) fn natural(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// Whether something that has failed may succeed if it is tried again.
pub(super) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::NetworkException
            | Code::WaitingForCoordinator
            | Code::InProgress
            | Code::Authentication
            | Code::SSL
    )
}

impl Drop for Client {
    fn drop(&mut self) {
        self.finish();
        self.is_over.store(true, Ordering::Release);
    }
}

/// Starts a thread of a client.
fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    started.map(drop).map_err(Error::io("a thread that serves a client of Kafka"))
}

/// Hears what a client says beside records, until it is over. The consumer takes its time to go: so it goes with a thread.
fn serve(consumer: &KafkaConsumer, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        match consumer.poll(LISTEN) {
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                consumer.context().end_with(code.to_string());
            }
            Some(Ok(message)) => {
                use rdkafka::Message as _;
                let place = Place::new(message.topic(), message.partition());
                let (name, offset) = (place.name, message.offset());
                consumer.context().end_with(format!("{name}: the record at {offset} came past its reader"));
            }
            Some(Err(_)) | None => {}
        }
        consumer.context().remind();
    }
}
