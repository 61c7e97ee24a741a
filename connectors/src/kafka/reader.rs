//! Reads one partition of a topic.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Timestamp};
use tidewatch_dataflows::{EventTime, Offset};
use timely::scheduling::SyncActivator;
use tracing::debug;

use super::client::{is_passing, Client};
use super::lost::{look, Answer};
use super::news::News;
use super::{KafkaSource, OnLost, Place};
use crate::source::{Envelope, Intake, Raw, Reader, Status};
use crate::Error;

/// Reads the queue of a partition.
pub(super) struct KafkaReader {
    client: Arc<Client>,
    place: Place,
    queue: PartitionQueue<News>,
    waker: SyncActivator,
    /// Where it started.
    start: u64,
    /// The least offset that the next record can have.
    next: u64,
    /// Where it ends, if it does.
    stop: Option<u64>,
    /// Whether there is nothing behind what was given.
    is_at_end: bool,
    /// Where it would end now, as far as the broker has said.
    end: Arc<AtomicU64>,
    given: u64,
    on_lost: OnLost,
    max_record: usize,
    /// What the broker has, when it did not have what was asked for.
    answer: Option<Receiver<Answer>>,
}

impl KafkaReader {
    pub(super) fn open(
        client: Arc<Client>,
        place: Place,
        start: u64,
        end: u64,
        stop: Option<u64>,
        source: &KafkaSource,
        waker: SyncActivator,
    ) -> Result<Self, Error> {
        let end = client.news().watch(&place, end);
        let woken = waker.clone();
        let queue = client.assign(&place, start, stop, move || {
            // A worker that is gone needs no waking.
            let _ = woken.activate();
        })?;
        let (on_lost, max_record, next) = (source.on_lost, source.max_record, start);
        let (given, answer, is_at_end) = (0, None, false);
        Ok(Self {
            client,
            place,
            queue,
            waker,
            start,
            next,
            stop,
            is_at_end,
            end,
            given,
            on_lost,
            max_record,
            answer,
        })
    }

    /// Whether it has come to where it ends.
    fn is_at_stop(&self) -> bool {
        self.stop.is_some_and(|stop| self.is_at_end || self.next >= stop)
    }

    fn failed(&self, reason: impl std::fmt::Display) -> Error {
        self.client.error(format!("{}: {reason}", self.place.name))
    }

    /// Deals with what came in place of a record.
    fn meet(&mut self, error: &KafkaError) -> Result<(), Error> {
        match error {
            // Everything was given up to where the partition ends now, and so up to where it ended when it was opened; at the
            // offsets that are left, transactions began or ended.
            KafkaError::PartitionEOF(_) => {
                self.is_at_end = true;
                Ok(())
            }
            KafkaError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                if self.answer.is_none() {
                    self.answer = Some(look(self.client.consumer(), &self.place, self.next, &self.waker)?);
                }
                Ok(())
            }
            KafkaError::MessageConsumption(code) if is_passing(*code) => {
                debug!(partition = self.place.name, %code, "nothing can be fetched for now");
                Ok(())
            }
            KafkaError::MessageConsumption(Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
                Err(self.failed("the topic is gone"))
            }
            error => Err(self.failed(error)),
        }
    }

    /// Goes on where the broker still has something, if that may be. Returns whether the answer has come.
    fn go_on(&mut self) -> Result<bool, Error> {
        let Some(answer) = &self.answer else { return Ok(true) };
        let (low, high) = match answer.try_recv() {
            Ok(answer) => answer.map_err(|error| self.failed(error))?,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => return Err(self.failed("nobody asks the broker any more")),
        };
        self.answer = None;
        if self.next > high {
            return Err(self.place.is_beyond(self.next, high));
        }
        if self.next < low {
            if self.on_lost == OnLost::Stop {
                return Err(self.place.lost(self.next, low));
            }
            self.place.warn_lost(self.next, low);
            self.next = low;
        }
        Ok(true)
    }
}

/// Gives a message to the intake.
fn give(
    message: &BorrowedMessage<'_>,
    offset: Offset,
    max_record: usize,
    intake: &mut dyn Intake,
) -> ControlFlow<()> {
    let appended = match message.timestamp() {
        Timestamp::LogAppendTime(millis) => EventTime::from_millis(millis),
        // A producer cannot vouch for itself.
        Timestamp::CreateTime(_) | Timestamp::NotAvailable => None,
    };
    let envelope = Enclosing(message);
    let raw = |payload| Raw { appended, envelope: Some(&envelope), ..Raw::new(offset, payload) };
    match message.payload() {
        Some(payload) if payload.len() > max_record => {
            intake.damaged(raw(payload), format!("record is longer than {max_record} bytes"))
        }
        Some(payload) => intake.raw(raw(payload)),
        None => intake.damaged(raw(&[]), "message has no payload: it deletes a key".to_owned()),
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        if !self.go_on()? {
            return Ok(Status::Pending);
        }
        while !self.is_at_stop() {
            match self.queue.poll(Duration::ZERO) {
                None => {
                    return match self.client.news().fatal() {
                        Some(reason) => Err(self.failed(reason)),
                        None => Ok(Status::Pending),
                    };
                }
                Some(Ok(message)) => {
                    let offset = message.offset() as u64;
                    if self.stop.is_some_and(|stop| offset >= stop) {
                        self.next = offset;
                        break;
                    }
                    (self.next, self.is_at_end) = (offset + 1, false);
                    self.given += 1;
                    if give(&message, Offset(offset), self.max_record, intake).is_break() {
                        return Ok(Status::More);
                    }
                }
                Some(Err(error)) => {
                    self.meet(&error)?;
                    if self.answer.is_some() {
                        return Ok(Status::Pending);
                    }
                }
            }
        }
        debug!(partition = self.place.name, records = self.given, "partition ended");
        Ok(Status::Ended)
    }

    fn start(&self) -> Offset {
        Offset(self.start)
    }

    fn lag(&self) -> Option<u64> {
        if self.is_at_end {
            return Some(0);
        }
        let end = self.stop.unwrap_or_else(|| self.end.load(Ordering::Relaxed));
        Some(end.saturating_sub(self.next))
    }

    fn position(&self) -> u64 {
        self.given
    }
}

/// What a message carries beside its payload.
struct Enclosing<'a>(&'a BorrowedMessage<'a>);

impl std::fmt::Debug for Enclosing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Enclosing").field(&self.0.offset()).finish()
    }
}

impl Envelope for Enclosing<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let headers = self.0.headers()?;
        (0..headers.count()).rev().map(|at| headers.get(at)).find(|header| header.key == name)?.value
    }
}
