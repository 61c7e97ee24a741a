//! Reads topics of Kafka.
//!
//! A partition is named `TOPIC/NUMBER`, and an offset is the broker's. One consumer per process and source fetches what the
//! process's workers own: partitions are assigned by their names, as everywhere, and no group protocol moves them. Each has
//! a queue of its own, which wakes the worker that reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use regex_lite::Regex;
use tidewatch_dataflows::{EventTime, Offset};
use timely::scheduling::SyncActivator;
use tracing::{info, warn};

use crate::format::lines::MAX_RECORD;
use crate::format::Format;
use crate::source::{Reader, Source};
use crate::{lock, Error, Input};

mod client;
mod counted;
mod group;
mod lost;
mod news;
mod reader;
mod refusal;
mod settings;
mod sink;

use client::Client;
pub use counted::has_clients;
use reader::KafkaReader;
pub use settings::Settings;
pub use sink::{Brokers, Create, KafkaSink, Topic, TransactionalKafka};

/// How often somebody looks for partitions that have appeared.
const DISCOVER: Duration = Duration::from_secs(30);

/// Which topics are read.
#[derive(Clone, Debug)]
pub enum Topics {
    /// Those of these names.
    Named(Vec<String>),
    /// Those whose whole name the expression matches, but for those of Kafka itself, which begin with two underscores.
    Matching(Regex),
}

impl Topics {
    /// The topics whose whole name matches a regular expression.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if it is none.
    pub fn matching(pattern: &str) -> Result<Self, Error> {
        let regex = Regex::new(&format!("^(?:{pattern})$"));
        regex.map(Self::Matching).map_err(|error| {
            Error::Configuration(format!("\"{pattern}\" is not a regular expression: {error}"))
        })
    }
}

/// Where a partition starts that nobody has read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record that there still is.
    #[default]
    Earliest,
    /// Behind the last record that there is.
    Latest,
    /// At the first record that the broker or its producer has dated at this time or later.
    At(EventTime),
}

/// What happens when records that are to be read are no longer there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLost {
    /// The run ends with an error that says which.
    #[default]
    Stop,
    /// They are counted, and reading goes on at the first one that there is.
    Continue,
}

/// Reads topics of Kafka, one record a message.
///
/// A message without a payload is malformed. Of transactions, only what is committed is read, unless the settings say
/// otherwise.
#[derive(Clone, Debug)]
pub struct KafkaSource {
    settings: Settings,
    topics: Topics,
    start: Start,
    offsets: BTreeMap<String, u64>,
    on_lost: OnLost,
    is_bounded: bool,
    max_record: usize,
    group: Option<String>,
    discover: Option<Duration>,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl KafkaSource {
    /// Reads topics with these settings, each partition from its earliest record on, without end.
    pub fn new(settings: Settings, topics: Topics) -> Self {
        Self {
            settings,
            topics,
            start: Start::default(),
            offsets: BTreeMap::new(),
            on_lost: OnLost::default(),
            is_bounded: false,
            max_record: MAX_RECORD,
            group: None,
            discover: Some(DISCOVER),
            client: Arc::default(),
        }
    }

    /// An input of these topics, whose records `format` decodes.
    pub fn format(self, format: impl Format + 'static) -> Input {
        Input::of_payloads(self, format)
    }

    /// Where partitions start that nobody has read before.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The offsets at which some of them start instead, by `TOPIC/NUMBER`.
    #[must_use]
    pub fn offsets<S: Into<String>>(mut self, offsets: impl IntoIterator<Item = (S, u64)>) -> Self {
        self.offsets = offsets.into_iter().map(|(name, offset)| (name.into(), offset)).collect();
        self
    }

    /// What happens when records that are to be read are no longer there.
    #[must_use]
    pub fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Whether each partition ends where it ended when it was opened, instead of never.
    #[must_use]
    pub fn bounded(mut self, bounded: bool) -> Self {
        self.is_bounded = bounded;
        self
    }

    /// The longest record in bytes, by default a mebibyte; a longer one is a dead letter.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// The consumer group that is told, for tools that show the lag, how far each partition is read: about once a second, and
    /// when reading ends. The group gets no members, and nothing else comes of it.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// How often somebody looks whether partitions or topics have appeared, by default every 30 seconds; never with `None`.
    #[must_use]
    pub fn discover(mut self, every: Option<Duration>) -> Self {
        self.discover = every;
        self
    }

    /// The client of this process, once it has reached a broker.
    fn client(&self) -> Result<Arc<Client>, Error> {
        let mut client = lock(&self.client);
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        Ok(client.insert(Arc::new(Client::connect(&self.settings, self.group.as_deref())?)).clone())
    }

    /// Where a partition starts that has records from `low` up to `high`.
    fn choose(&self, client: &Client, place: &Place, (low, high): (u64, u64)) -> Result<u64, Error> {
        if let Some(offset) = self.offsets.get(&place.name) {
            return Ok(*offset);
        }
        match self.start {
            Start::Earliest => Ok(low),
            Start::Latest => Ok(high),
            Start::At(time) => Ok(client.offset_at(place, time)?.unwrap_or(high)),
        }
    }

    /// Where reading begins if it is to begin at `from`, of which the first records may be gone.
    fn admit(&self, place: &Place, from: u64, (low, high): (u64, u64)) -> Result<u64, Error> {
        match () {
            () if from > high => Err(place.is_beyond(from, high)),
            () if from >= low => Ok(from),
            () if self.on_lost == OnLost::Stop => Err(place.lost(from, low)),
            () => {
                place.warn_lost(from, low);
                Ok(low)
            }
        }
    }
}

impl Source for KafkaSource {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        let client = self.client()?;
        let partitions = client.partitions(&self.topics)?;
        if let Some(name) = self.offsets.keys().find(|name| !partitions.contains(name)) {
            return Err(
                client.error(format!("there is no partition \"{name}\", of which an offset is given"))
            );
        }
        Ok(partitions)
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let client = self.client()?;
        let place = Place::parse(partition)?;
        let bounds = client.bounds(&place)?;
        let chosen = from.map_or_else(|| self.choose(&client, &place, bounds), |from| Ok(from.0))?;
        let start = self.admit(&place, chosen, bounds)?;
        let stop = self.is_bounded.then_some(bounds.1);
        info!(partition, offset = start, end = bounds.1, "opened partition");
        Ok(Box::new(KafkaReader::open(client, place, start, bounds.1, stop, self, waker)?))
    }

    fn first(&self, partition: &str) -> Result<Offset, Error> {
        let (client, place) = (self.client()?, Place::parse(partition)?);
        let bounds = client.bounds(&place)?;
        let chosen = self.choose(&client, &place, bounds)?;
        self.admit(&place, chosen, bounds).map(Offset)
    }

    fn joins(&self, partition: &str) -> Result<Offset, Error> {
        // Whoever begins with what comes last has begun before there was any of this.
        let start = if self.start == Start::Latest { Start::Earliest } else { self.start };
        Self { start, ..self.clone() }.first(partition)
    }

    fn grows(&self) -> Option<Duration> {
        self.discover.filter(|_| !self.is_bounded)
    }

    fn close(&self) {
        let client = lock(&self.client).take();
        client.iter().for_each(|client| client.finish());
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `TOPIC/NUMBER`.
    name: String,
    topic: String,
    number: i32,
}

impl Place {
    fn new(topic: &str, number: i32) -> Self {
        Self { name: format!("{topic}/{number}"), topic: topic.to_owned(), number }
    }

    fn parse(name: &str) -> Result<Self, Error> {
        let place =
            name.rsplit_once('/').and_then(|(topic, number)| Some(Self::new(topic, number.parse().ok()?)));
        place.filter(|place| place.name == name && place.number >= 0).ok_or_else(|| {
            Error::Configuration(format!("\"{name}\" is not a partition of a topic, as in \"requests/0\""))
        })
    }

    fn lost(&self, from: u64, low: u64) -> Error {
        let Self { name, topic, .. } = self;
        Error::Broker(format!(
            "{name}: the records at offsets {from} to {} are lost: topic \"{topic}\" no longer has them, and begins at {low}; \
             to go on without them, set on_lost = \"continue\"",
            low - 1
        ))
    }

    fn warn_lost(&self, from: u64, low: u64) {
        crate::Control::current().counts().lost.add(low - from);
        let partition = &*self.name;
        warn!(partition, from, to = low - 1, "records are lost: the topic no longer has them");
    }

    fn is_beyond(&self, from: u64, high: u64) -> Error {
        let name = &self.name;
        Error::Broker(format!(
            "{name}: ends at offset {high}, before {from}, where reading is to go on: the topic was made anew or cut off"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> KafkaSource {
        let settings = Settings::new("127.0.0.1:1", [] as [(&str, &str); 0]).unwrap();
        KafkaSource::new(settings, Topics::Named(vec!["a".to_owned()]))
    }

    #[test]
    fn a_partition_is_a_topic_with_a_number() {
        let place = Place::parse("a.b/12").unwrap();
        assert_eq!(("a.b", 12, "a.b/12"), (&*place.topic, place.number, &*place.name));
        for wrong in ["a", "a/", "a/b", "a/-1", "a/01", "/"] {
            let error = Place::parse(wrong).unwrap_err().to_string();
            assert_eq!(format!("\"{wrong}\" is not a partition of a topic, as in \"requests/0\""), error);
        }
    }

    #[test]
    fn a_pattern_is_of_whole_names() {
        let Topics::Matching(regex) = Topics::matching("a|b+").unwrap() else { panic!("it is a pattern") };
        assert_eq!([true, true, false], ["a", "bb", "ab"].map(|name| regex.is_match(name)));
        assert!(Topics::matching("(").is_err());
    }

    #[test]
    fn what_is_gone_or_never_was_is_said() {
        let (place, bounds) = (Place::new("a", 0), (5, 9));
        assert_eq!([5, 9], [5, 9].map(|from| source().admit(&place, from, bounds).unwrap()));
        assert_eq!(
            "a/0: the records at offsets 2 to 4 are lost: topic \"a\" no longer has them, and begins at 5; to go on without \
             them, set on_lost = \"continue\"",
            source().admit(&place, 2, bounds).unwrap_err().to_string()
        );
        assert_eq!(5, source().on_lost(OnLost::Continue).admit(&place, 2, bounds).unwrap());
        for source in [source(), source().on_lost(OnLost::Continue)] {
            let error = source.admit(&place, 10, bounds).unwrap_err().to_string();
            assert!(error.starts_with("a/0: ends at offset 9, before 10,"), "{error}");
        }
    }
}
