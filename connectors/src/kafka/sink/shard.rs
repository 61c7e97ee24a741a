//! A shard of a sink: one producer, one transaction at a time.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer as _};
use tracing::info;

use super::brokers::transaction_timeout;
use super::failure::{said, Undelivered};
use super::headers;
use super::producer::Producer;
use super::progress::{Ledger, Record};
use super::{Brokers, Topic};
use crate::sink::Hook;
use crate::store::Epoch;
use crate::{Error, Message, Progress, ShardWriter};

/// How long brokers may take beyond the transaction's time to say what became of it.
const ANSWER: Duration = Duration::from_secs(10);
/// How long brokers may take to end what an earlier run has left.
const INHERIT: Duration = Duration::from_secs(60);
/// How long a run that has fenced this one may take to say which it is.
const SUCCESSOR: Duration = Duration::from_secs(3);
/// How long a transaction may take to be undone that nobody needs any more.
const UNDO: Duration = Duration::from_secs(2);

/// What a shard is made of.
pub(super) struct Parts {
    /// The transactional id.
    pub(super) id: String,
    pub(super) ledger: Ledger,
    /// How many shards there are.
    pub(super) shards: u32,
    pub(super) topics: Vec<Topic>,
    pub(super) pipeline: String,
    pub(super) hook: Hook,
}

/// Writes to a shard.
pub(super) struct Writer {
    parts: Parts,
    producer: Producer,
    /// What every message of a stream carries.
    common: Vec<OwnedHeaders>,
    epoch: Epoch,
    /// How long a transaction may be open.
    timeout: Duration,
    /// Since when one has been open.
    begun: Option<Instant>,
}

impl Writer {
    pub(super) fn open(brokers: &Brokers, parts: Parts) -> Result<Self, Error> {
        let config = brokers.transactional(&parts.id);
        let common = parts.topics.iter().map(|topic| headers::common(&parts.pipeline, topic)).collect();
        let (producer, timeout) = (Producer::start(&config)?, transaction_timeout(&config));
        Ok(Self { parts, producer, common, epoch: Epoch::default(), timeout, begun: None })
    }

    fn begin(&mut self) -> Result<(), Error> {
        if self.begun.is_none() {
            self.parts.hook.before("begin a transaction")?;
            self.producer.inner().begin_transaction().map_err(|error| self.failed(error))?;
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    /// Commits what was written, with how far it is complete.
    fn end(&mut self, progress: Progress) -> Result<(), Error> {
        self.begin()?;
        self.parts.hook.before("add progress")?;
        let Ledger { topic, partition, key, .. } = &self.parts.ledger;
        let payload = Record::new(self.parts.shards, self.epoch, progress).bytes();
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(*partition).key(key).payload(&payload);
        self.producer.send(record).map_err(|undelivered| self.undelivered(undelivered))?;
        self.parts.hook.before("await deliveries")?;
        let patience = self.timeout + ANSWER;
        match self.producer.settle(Instant::now() + patience) {
            Ok(true) => {}
            Ok(false) => return Err(self.lost("messages are not acknowledged")),
            Err(undelivered) => return Err(self.undelivered(undelivered)),
        }
        self.parts.hook.before("commit the transaction")?;
        self.producer.inner().commit_transaction(patience).map_err(|error| self.failed(error))?;
        self.begun = None;
        Ok(())
    }

    fn undelivered(&self, undelivered: Undelivered) -> Error {
        match undelivered.may_pass() {
            true => self.ended(&undelivered.to_string()),
            false => undelivered.into(),
        }
    }

    fn failed(&self, error: KafkaError) -> Error {
        let (code, reason) = match &error {
            KafkaError::Transaction(error) => (error.code(), error.string()),
            error => (error.rdkafka_error_code().unwrap_or(Code::Fail), error.to_string()),
        };
        match code {
            Code::TransactionalIdAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::InvalidTransactionTimeout
            | Code::UnsupportedFeature => {
                Error::Broker(format!("transactional id \"{}\": {}: {reason}", self.parts.id, said(code)))
            }
            _ => self.ended(&reason),
        }
    }

    /// Finds out why the transaction has ended. Brokers say the same of one that was open for too long as of one whose writer
    /// was fenced; but whoever fences says so, too.
    fn ended(&self, reason: &str) -> Error {
        let fatal = self.producer.inner().client().fatal_error();
        let expired = self.begun.is_some_and(|begun| begun.elapsed() >= self.timeout);
        let deadline = Instant::now() + if fatal.is_some() && !expired { SUCCESSOR } else { Duration::ZERO };
        while fatal.is_some() {
            match self.parts.ledger.read(SUCCESSOR) {
                Ok(Some(record)) if record.epoch > self.epoch => {
                    return Error::Fenced { epoch: record.epoch };
                }
                Ok(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Ok(_) | Err(_) => break,
            }
        }
        match expired {
            true => self.lost(&format!("it was open for more than {} s", self.timeout.as_secs())),
            false => self.lost(&fatal.map_or(reason.to_owned(), |(_, reason)| reason)),
        }
    }

    fn lost(&self, reason: &str) -> Error {
        Error::TransactionLost { id: self.parts.id.clone(), reason: reason.to_owned() }
    }
}

impl ShardWriter for Writer {
    fn fence(&mut self, epoch: Epoch) -> Result<Progress, Error> {
        let id = &self.parts.id;
        self.parts.hook.before("take over")?;
        self.producer.inner().init_transactions(INHERIT).map_err(|error| {
            Error::Broker(format!("transactional id \"{id}\" cannot be taken over: {error}"))
        })?;
        self.parts.hook.before("read progress")?;
        // What was committed under the id is so by now, and what was not never will be.
        let found = self.parts.ledger.read(self.timeout + ANSWER)?;
        let progress = found.map_or(Progress::START, |record| record.progress);
        match found {
            Some(record) if record.epoch > epoch => return Err(Error::Fenced { epoch: record.epoch }),
            _ => self.epoch = epoch,
        }
        found.map_or(Ok(()), |record| record.agrees(self.parts.shards))?;
        info!(id, %epoch, %progress, "took over the shard of a sink");
        // Whoever was fenced reads here by whom.
        self.end(progress)?;
        Ok(progress)
    }

    fn write(&mut self, stream: usize, messages: &[Message<'_>]) -> Result<(), Error> {
        self.begin()?;
        self.parts.hook.before("produce")?;
        let topic = &self.parts.topics[stream].name;
        for message in messages {
            let headers = headers::with(&self.common[stream], message.headers);
            let mut record = BaseRecord::to(topic).payload(message.payload).headers(headers);
            record.key = message.key;
            self.producer.send(record).map_err(|undelivered| self.undelivered(undelivered))?;
        }
        Ok(())
    }

    fn commit(&mut self, progress: Progress) -> Result<(), Error> {
        self.end(progress)
    }

    fn wants_keys(&self) -> bool {
        true
    }
}

/// Undoes what was not committed, so that readers need not wait for the transaction's time.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.begun.is_some() {
            // If it cannot be undone now, it is when its time is over.
            let _ = self.producer.inner().abort_transaction(UNDO);
        }
    }
}
