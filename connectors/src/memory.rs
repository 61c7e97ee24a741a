//! Reads records from memory and writes messages to it: for tests, and for embedding.

mod shards;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Key, Offset};
use timely::scheduling::SyncActivator;

use crate::source::{Intake, Raw, Reader, Source, Status};
use crate::{lock, Error, Message, Sink};

pub use shards::{Kept, MemoryShards};

/// A record in memory.
#[derive(Clone, Debug, PartialEq)]
pub enum MemoryRecord {
    /// Bytes for a format to decode.
    Raw {
        /// The bytes.
        payload: Vec<u8>,
        /// When a broker would have appended them.
        appended: Option<EventTime>,
    },
    /// A record that needs no decoding.
    Row {
        /// When it was observed.
        time: EventTime,
        /// Its key.
        key: KeyText,
        /// Its values, in the schema's order.
        values: Vec<f64>,
    },
}

impl MemoryRecord {
    /// Bytes for a format to decode.
    pub fn raw(payload: impl Into<Vec<u8>>) -> Self {
        Self::Raw { payload: payload.into(), appended: None }
    }

    /// Bytes for a format to decode, appended at `appended`.
    pub fn appended(payload: impl Into<Vec<u8>>, appended: EventTime) -> Self {
        Self::Raw { payload: payload.into(), appended: Some(appended) }
    }

    /// A record that needs no decoding.
    pub fn row(time: EventTime, key: &str, values: impl Into<Vec<f64>>) -> Self {
        Self::Row { time, key: Key::new(key).into(), values: values.into() }
    }
}

#[derive(Debug, Default)]
struct Shared {
    partitions: BTreeMap<String, Vec<MemoryRecord>>,
    /// Whether more records may be pushed.
    open: bool,
    /// Wake the workers that read.
    wakers: Vec<SyncActivator>,
}

impl Shared {
    fn wake(&mut self) {
        // One whose worker is gone is of no use any more.
        self.wakers.retain(|waker| waker.activate().is_ok());
    }
}

/// Partitions in memory; an offset is an index. Clones share them.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::memory::{Memory, MemoryRecord};
/// use tidewatch_connectors::Source;
///
/// let memory = Memory::new([("p", vec![MemoryRecord::raw("1")])]);
/// memory.push("q", MemoryRecord::raw("2"));
/// assert_eq!(memory.partitions().unwrap(), ["p", "q"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    header: Option<Vec<u8>>,
    live: bool,
}

impl Memory {
    /// Partitions by name with their records.
    pub fn new<N: Into<String>>(partitions: impl IntoIterator<Item = (N, Vec<MemoryRecord>)>) -> Self {
        let partitions = partitions.into_iter().map(|(name, records)| (name.into(), records)).collect();
        let shared = Arc::new(Mutex::new(Shared { partitions, open: false, wakers: Vec::new() }));
        Self { shared, header: None, live: false }
    }

    /// Gives this line to the intake of each partition as its header.
    pub fn header(mut self, line: impl Into<Vec<u8>>) -> Self {
        self.header = Some(line.into());
        self
    }

    /// Lets no partition end before [`Memory::end`].
    pub fn live(mut self) -> Self {
        self.live = true;
        lock(&self.shared).open = true;
        self
    }

    /// Appends a record to the partition of this name, which may be new.
    pub fn push(&self, partition: &str, record: MemoryRecord) {
        let mut shared = lock(&self.shared);
        shared.partitions.entry(partition.to_owned()).or_default().push(record);
        shared.wake();
    }

    /// Ends all partitions after their last record.
    pub fn end(&self) {
        let mut shared = lock(&self.shared);
        shared.open = false;
        shared.wake();
    }
}

impl Source for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok(lock(&self.shared).partitions.keys().cloned().collect())
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let mut shared = lock(&self.shared);
        if !shared.partitions.contains_key(partition) {
            return Err(Error::Configuration(format!("memory has no partition \"{partition}\"")));
        }
        shared.wakers.push(waker);
        Ok(Box::new(MemoryReader {
            shared: Arc::clone(&self.shared),
            partition: partition.to_owned(),
            header: self.header.clone(),
            next: from.unwrap_or_default().0,
        }))
    }

    /// The number of records.
    fn size(&self) -> Option<u64> {
        Some(lock(&self.shared).partitions.values().map(|records| records.len() as u64).sum())
    }
}

struct MemoryReader {
    shared: Arc<Mutex<Shared>>,
    partition: String,
    /// The header, until it has been given.
    header: Option<Vec<u8>>,
    next: u64,
}

impl Reader for MemoryReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        if let Some(header) = self.header.take() {
            intake.header(&header)?;
        }
        let shared = lock(&self.shared);
        let records = shared.partitions.get(&self.partition).map_or(&[][..], Vec::as_slice);
        let first = usize::try_from(self.next).unwrap_or(usize::MAX).min(records.len());
        for record in &records[first..] {
            let offset = Offset(self.next);
            self.next += 1;
            let flow = match record {
                MemoryRecord::Raw { payload, appended } => {
                    intake.raw(Raw { appended: *appended, ..Raw::new(offset, payload) })
                }
                MemoryRecord::Row { time, key, values } => intake.row(offset, *time, key, values),
            };
            if flow.is_break() {
                return Ok(Status::More);
            }
        }
        Ok(if shared.open { Status::Pending } else { Status::Ended })
    }

    fn lag(&self) -> Option<u64> {
        let records = lock(&self.shared).partitions.get(&self.partition).map_or(0, Vec::len) as u64;
        Some(records.saturating_sub(self.next))
    }

    fn position(&self) -> u64 {
        self.next
    }
}

/// Keeps what is written; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Vec<Vec<u8>>>>);

impl MemorySink {
    /// The payloads, in the order in which they were written.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        lock(&self.0).clone()
    }

    /// The payloads as lines.
    pub fn contents(&self) -> Vec<u8> {
        lock(&self.0).join(&b'\n')
    }
}

impl Sink for MemorySink {
    fn write(&mut self, messages: &[Message<'_>], _frontier: Option<EventTime>) -> Result<(), Error> {
        lock(&self.0).extend(messages.iter().map(|message| message.payload.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{waker, Collected};

    #[test]
    fn reading_starts_at_any_index_and_resumes_after_a_break() {
        let time = EventTime::from_micros(5);
        let records = vec![
            MemoryRecord::raw("a"),
            MemoryRecord::row(time, "k", [1.0, 2.0]),
            MemoryRecord::appended("c", time),
        ];
        let memory = Memory::new([("p", records)]).header("head");
        assert_eq!(Some(3), memory.size());
        for from in 0..=4 {
            let mut reader = memory.open("p", Some(Offset(from)), waker()).unwrap();
            let mut intake = Collected::breaking_every(1);
            assert_eq!(Status::Ended, intake.drain(&mut *reader).unwrap());
            assert_eq!(vec!["head"], intake.headers);
            let raws: Vec<_> = intake.raws.iter().map(|raw| raw.0).collect();
            assert_eq!([0, 2].into_iter().filter(|at| *at >= from).collect::<Vec<_>>(), raws, "from {from}");
            assert_eq!(from <= 1, intake.rows == [(1, time, "k".to_owned(), vec![1.0, 2.0])], "from {from}");
        }
    }

    #[test]
    fn live_partitions_wait_for_more_until_the_end() {
        let memory = Memory::new([("p", vec![])]).live();
        let mut reader = memory.open("p", None, waker()).unwrap();
        let mut intake = Collected::default();
        assert_eq!(Status::Pending, intake.drain(&mut *reader).unwrap());
        memory.push("p", MemoryRecord::raw("a"));
        assert_eq!(Status::Pending, intake.drain(&mut *reader).unwrap());
        memory.end();
        assert_eq!(Status::Ended, intake.drain(&mut *reader).unwrap());
        assert_eq!(vec!["a"], intake.payloads());
    }

    #[test]
    fn a_partition_that_is_not_there_is_an_error() {
        let error = Memory::default().open("p", None, waker()).err().unwrap();
        assert_eq!("memory has no partition \"p\"", error.to_string());
    }

    #[test]
    fn a_sink_keeps_payloads_in_order() {
        let sink = MemorySink::default();
        let mut writer = sink.clone();
        let [one, two] = [1, 2].map(EventTime::from_micros);
        let message = |time, payload| Message::new(time, payload);
        writer.write(&[message(one, b"a"), message(one, b"b")], Some(two)).unwrap();
        writer.write(&[message(two, b"c")], None).unwrap();
        assert_eq!(b"a\nb\nc".to_vec(), sink.contents());
    }
}
