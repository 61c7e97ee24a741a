//! Topics that must be there before anything is written to them.

use std::time::{Duration, Instant};
use std::{fmt, thread};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::MetadataTopic;
use tidewatch_dataflows::Span;
use tokio::runtime::{Builder, Runtime};
use tracing::info;

use super::failure::said;
use super::hearing::Hearing;
use super::Brokers;
use crate::kafka::refusal::{advice, refusal};
use crate::kafka::settings::refused as misconfigured;
use crate::Error;

/// How long brokers may take to say which topics there are, or to make one.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long one question is waited for, before what went wrong is heard.
const QUESTION: Duration = Duration::from_millis(500);
/// How long to wait until a topic that was made may be known everywhere.
const SPREAD: Duration = Duration::from_millis(20);

/// A topic, and what is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The schema of the payloads, as in `verdict.v1`, which messages name in a header; `None` if they have none.
    pub schema: Option<String>,
    /// How it is made if it is not there; `None` if it must be there.
    pub create: Option<Create>,
}

/// How a topic is made; what is `None` is as brokers have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Create {
    /// How many partitions it has.
    pub partitions: Option<u32>,
    /// On how many brokers each is kept.
    pub replication: Option<u32>,
    /// How long messages are kept.
    pub retention: Option<Span>,
}

/// The topics of a cluster.
pub(super) struct Topics {
    brokers: Brokers,
    admin: AdminClient<DefaultClientContext>,
    /// Goes last: as long as it lives, clients are known to be alive.
    asking: BaseConsumer<Hearing>,
    runtime: Runtime,
}

impl Topics {
    pub(super) fn of(brokers: &Brokers) -> Result<Self, Error> {
        let asking = brokers.client(&[]).create_with_context(Hearing::default()).map_err(misconfigured)?;
        let admin = brokers.client(&[]).create().map_err(misconfigured)?;
        let runtime = Builder::new_current_thread().build().map_err(Error::io("a runtime"))?;
        Ok(Self { brokers: brokers.clone(), asking, admin, runtime })
    }

    /// Sees to it that there is a topic; one that is not there is made if that is asked for.
    pub(super) fn require(&self, topic: &Topic) -> Result<(), Error> {
        let Topic { name, create, .. } = topic;
        if self.partitions(name)?.is_some() {
            return Ok(());
        }
        let create = create.ok_or_else(|| {
            Error::Configuration(format!(
                "{}: there is no topic \"{name}\": make it, or let tidewatch do so with the option `create = {{ partitions = 3 }}`",
                self.brokers
            ))
        })?;
        let retention = create.retention.map(|span| (span.micros() / 1000).to_string());
        let settings = retention.iter().map(|millis| ("retention.ms", millis.as_str()));
        self.make(name, create, &settings.collect::<Vec<_>>()).map(drop)
    }

    /// Sees to it that there is a topic of which the newest message of each key is kept for ever, and returns how many
    /// partitions it has; one that is not there is made with so many.
    pub(super) fn require_compacted(&self, name: &str, partitions: u32) -> Result<u32, Error> {
        if let Some(partitions) = self.partitions(name)? {
            let policy = self.setting(name, "cleanup.policy");
            return match policy.as_deref() {
                Some("compact") | None => Ok(partitions),
                Some(policy) => Err(Error::Configuration(format!(
                    "{}: topic \"{name}\" would lose how far output is complete, as its `cleanup.policy` is \"{policy}\": \
                     set it to \"compact\", or name another `progress_topic`",
                    self.brokers
                ))),
            };
        }
        // What was overwritten is not kept for long, or a commit every 20 ms would fill a disk.
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "16777216"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        self.make(name, Create { partitions: Some(partitions), ..Create::default() }, &settings)
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    fn partitions(&self, name: &str) -> Result<Option<u32>, Error> {
        let start = Instant::now();
        loop {
            let code = match self.asking.fetch_metadata(Some(name), QUESTION) {
                Ok(metadata) => {
                    let topic = metadata.topics().iter().find(|topic| topic.name() == name);
                    let error = topic.and_then(MetadataTopic::error).map(Code::from);
                    match (topic, error) {
                        (None, _) | (_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
                            return Ok(None)
                        }
                        (Some(topic), None) => return Ok(u32::try_from(topic.partitions().len()).ok()),
                        (_, Some(code)) => code,
                    }
                }
                Err(error) => error.rdkafka_error_code().unwrap_or(Code::Fail),
            };
            self.listen();
            let heard = self.asking.context().last();
            let refused = heard.as_ref().and_then(|(code, reason)| refusal(*code, reason));
            let passes = matches!(
                code,
                Code::LeaderNotAvailable
                    | Code::BrokerTransportFailure
                    | Code::OperationTimedOut
                    | Code::AllBrokersDown
            );
            if refused.is_some() || !passes || start.elapsed() > PATIENCE {
                let told = heard.map(|(_, reason)| format!("{reason}{}", advice(&reason)));
                let reason = refused.or(told).unwrap_or_else(|| said(code));
                return Err(self.failed(format_args!("topic \"{name}\" cannot be found: {reason}")));
            }
        }
    }

    /// Hears for a moment what goes wrong: of each thing, whoever is polled hears apart.
    fn listen(&self) {
        let start = Instant::now();
        while let Some(left) = SPREAD.checked_sub(start.elapsed()).filter(|left| left.as_millis() > 0) {
            let _ = self.asking.poll(left);
        }
    }

    fn make(&self, name: &str, create: Create, settings: &[(&str, &str)]) -> Result<u32, Error> {
        // Brokers take -1 for what they are to choose.
        let number =
            |number: Option<u32>| number.map_or(-1, |number| i32::try_from(number).unwrap_or(i32::MAX));
        let partitions = number(create.partitions);
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(number(create.replication)));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = self.runtime.block_on(self.admin.create_topics([&topic], &options()));
        let result = made.map_err(|error| error.to_string()).and_then(|made| match made.into_iter().next() {
            // Another process of the run may have been faster.
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(said(code)),
            None => Err("the brokers say nothing of it".to_owned()),
        });
        result.map_err(|reason| self.failed(format_args!("topic \"{name}\" cannot be made: {reason}")))?;
        info!(topic = name, partitions, "made topic");
        let start = Instant::now();
        loop {
            match self.partitions(name)? {
                Some(partitions) => return Ok(partitions),
                None if start.elapsed() > PATIENCE => {
                    return Err(self.failed(format_args!("topic \"{name}\" was made, but does not appear")))
                }
                None => thread::sleep(SPREAD),
            }
        }
    }

    /// A setting of a topic, if one may know it.
    fn setting(&self, topic: &str, name: &str) -> Option<String> {
        let described = self
            .runtime
            .block_on(self.admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options()));
        let described = described.ok()?.into_iter().next()?.ok()?;
        described.get(name)?.value.clone()
    }

    fn failed(&self, reason: fmt::Arguments<'_>) -> Error {
        Error::Broker(format!("{}: {reason}", self.brokers))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}
