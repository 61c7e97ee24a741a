//! Records what sources give, while they give it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tidewatch_dataflows::PartitionId;

use super::codec::{encode, encode_decisions, Described};
use super::columns::Gathered;
use super::editions::is_reference;
use super::frame::{Head, Kind};
use super::parts::Part;
use super::tap::{TapJournal, TapSource};
use super::writer::Writer;
use super::MAX_RECORDS;
use crate::{lock, Control, Decision, Error, Input, Journal};

/// How many batches may wait to be compressed and written; then sources wait.
const QUEUE: usize = 4;
/// How long a record stays in memory before it is written, at most, if nothing keeps the disk busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the writer looks for such records.
const LOOK: Duration = Duration::from_secs(1);
/// How much all partitions together may hold before they write.
const HELD: usize = 64 << 20;
/// The least and the most that one partition may hold.
const HELD_BY_ONE: (usize, usize) = (64 << 10, 4 << 20);

/// Writes a recording; clones write the same one.
///
/// Each partition collects records in memory, 4 MiB at most (less if there are many partitions), and up to five
/// seconds long. A thread of its own compresses and writes them; when the disk is slower than the sources, these wait.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<Thread>>>,
}

type Thread = JoinHandle<Result<Recorded, Error>>;

/// What a recording holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Partitions, with or without records.
    pub partitions: u64,
    /// Records, whatever becomes of them.
    pub records: u64,
    /// Watermarks that were forced.
    pub decisions: u64,
    /// The length of the file.
    pub bytes: u64,
}

/// What the readers of all partitions and the thread that writes share.
pub(super) struct Shared {
    path: String,
    pending: Mutex<BTreeMap<PartitionId, Arc<Mutex<Pending>>>>,
    /// How many there are.
    open: AtomicUsize,
    batches: SyncSender<Message>,
    begun: OnceLock<()>,
    failed: AtomicBool,
    /// The most that one partition may hold.
    most: usize,
}

/// What a partition has that is not written yet.
pub(super) struct Pending {
    number: u32,
    pub(super) described: Described,
    is_described: bool,
    pub(super) gathered: Gathered,
    decisions: Vec<Decision>,
    /// Since when there has been something.
    pub(super) since: Option<Instant>,
    /// How many records it has had before.
    taken: u64,
    /// How much it may hold, now that there are so many others.
    pub(super) limit: usize,
}

enum Message {
    Begin(u64),
    Batch(Box<Batch>),
    Close,
}

struct Batch {
    partition: u32,
    /// Comes with the first batch.
    described: Option<Described>,
    decisions: Vec<Decision>,
    gathered: Gathered,
    width: usize,
    /// Whether it is of a source, not reference data.
    is_read: bool,
}

impl Pending {
    pub(super) fn is_full(&self) -> bool {
        self.gathered.len() >= MAX_RECORDS || self.gathered.weight() >= self.limit
    }

    /// Keeps a decision; at one offset only the last one counts.
    pub(super) fn decide(&mut self, decision: Decision) {
        match self.decisions.last_mut() {
            Some(last) if last.offset == decision.offset => *last = decision,
            _ => self.decisions.push(decision),
        }
    }

    /// The number of the record that comes next, of all.
    pub(super) fn following(&self) -> u64 {
        self.taken + self.gathered.len() as u64
    }

    fn take(&mut self) -> Box<Batch> {
        self.since = None;
        self.taken = self.following();
        let described = (!self.is_described).then(|| self.described.clone());
        self.is_described = true;
        Box::new(Batch {
            partition: self.number,
            described,
            decisions: std::mem::take(&mut self.decisions),
            gathered: std::mem::take(&mut self.gathered),
            width: self.described.schema.values.len(),
            is_read: !is_reference(&self.described.source),
        })
    }
}

impl Shared {
    /// Has the file begin, now that the dataflow is built and so the run has begun.
    pub(super) fn begin(&self) {
        self.begun.get_or_init(|| {
            // If nothing can be written, readers hear of it.
            let _ = self.batches.send(Message::Begin(Control::current().run()));
        });
    }

    /// A partition that is now read.
    pub(super) fn open(&self, described: Described) -> Result<Arc<Mutex<Pending>>, Error> {
        let mut pending = lock(&self.pending);
        if pending.contains_key(&described.id()) {
            let Described { source, name, .. } = described;
            let message = format!("partition \"{name}\" of source \"{source}\" is being recorded already");
            return Err(Error::Configuration(message));
        }
        let (id, number) = (described.id(), pending.len() as u32);
        let opened = Arc::new(Mutex::new(Pending {
            number,
            described,
            is_described: false,
            gathered: Gathered::default(),
            decisions: Vec::new(),
            since: None,
            taken: 0,
            limit: 0,
        }));
        pending.insert(id, opened.clone());
        self.open.store(pending.len(), Ordering::Relaxed);
        Ok(opened)
    }

    /// How much a partition may hold.
    pub(super) fn limit(&self) -> usize {
        (HELD / self.open.load(Ordering::Relaxed).max(1)).max(HELD_BY_ONE.0).min(self.most)
    }

    pub(super) fn pending(&self, id: PartitionId) -> Option<Arc<Mutex<Pending>>> {
        lock(&self.pending).get(&id).cloned()
    }

    /// Has what a partition holds written.
    pub(super) fn flush(&self, pending: &mut Pending) -> Result<(), Error> {
        self.batches.send(Message::Batch(pending.take())).map_err(|_| self.broken())
    }

    /// Whether nothing can be written any more; [`Recorder::finish`] says why.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.failed.load(Ordering::Acquire) {
            true => Err(self.broken()),
            false => Ok(()),
        }
    }

    fn broken(&self) -> Error {
        Error::io(&self.path)(std::io::Error::other("the recording cannot be written any more"))
    }
}

impl Recorder {
    /// Creates the file of a recording.
    ///
    /// # Errors
    ///
    /// [`Error`] if it exists or cannot be created.
    pub fn create(path: &str) -> Result<Self, Error> {
        Self::create_part(path, Part::WHOLE)
    }

    /// Creates the file of a part of the recording at `path`, whose other parts other processes write. It is called
    /// `path.0` for the first part; a recording of one part is called `path`.
    ///
    /// # Errors
    ///
    /// [`Error`] if it exists or cannot be created.
    pub fn create_part(path: &str, part: Part) -> Result<Self, Error> {
        if part.of > 1 {
            // It would be taken for all of the recording.
            Part::check_new(path, 0)?;
        }
        Self::holding(&part.file(path), part, HELD_BY_ONE.1)
    }

    /// The file that is written.
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// A recorder whose partitions hold at most `most` bytes before they write.
    pub(super) fn holding(path: &str, part: Part, most: usize) -> Result<Self, Error> {
        let writer = Writer::create(path, part)?;
        let (batches, receiver) = sync_channel(QUEUE);
        let (pending, failed) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            pending,
            open: AtomicUsize::new(0),
            batches,
            begun: OnceLock::new(),
            failed,
            most,
        });
        let ours = shared.clone();
        let thread = thread::Builder::new()
            .name("tidewatch-record".into())
            .spawn(move || {
                let result = Pump { writer, recorded: Recorded::default(), receiver }.run(&ours);
                ours.failed.store(result.is_err(), Ordering::Release);
                result
            })
            .map_err(Error::io("the thread that writes the recording"))?;
        Ok(Self { shared, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// The same input, whose records and decisions are recorded as they come.
    ///
    /// `fingerprint` stands for everything that the format of the input makes of a payload: where a replay has the
    /// same one, it uses the rows that were recorded instead of decoding again. Zero means that none has.
    pub fn record(&self, input: Input, fingerprint: u64) -> Input {
        let shared = self.shared.clone();
        input.behind(|input| {
            let source = TapSource::new(shared, input, fingerprint);
            (Arc::new(source), self.journal(input.keeper().clone()))
        })
    }

    /// The same journal, whose decisions are recorded as they are taken, and the editions of reference data as they are taken up.
    pub fn journal(&self, journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(TapJournal::new(self.shared.clone(), journal))
    }

    /// Writes what is left, and the index.
    ///
    /// # Errors
    ///
    /// What kept the file from being written, now or earlier.
    pub fn finish(&self) -> Result<Recorded, Error> {
        self.shared.begin();
        let all: Vec<_> = lock(&self.shared.pending).values().cloned().collect();
        // If the thread has failed, it says so below.
        for pending in all {
            let _ = self.shared.flush(&mut lock(&pending));
        }
        let _ = self.shared.batches.send(Message::Close);
        match lock(&self.thread).take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) | None => Err(self.shared.broken()),
        }
    }
}

/// Takes batches to the file.
struct Pump {
    writer: Writer,
    recorded: Recorded,
    receiver: Receiver<Message>,
}

impl Pump {
    fn run(mut self, shared: &Shared) -> Result<Recorded, Error> {
        let mut next_look = Instant::now() + LOOK;
        loop {
            let left = next_look.saturating_duration_since(Instant::now());
            match self.receiver.recv_timeout(left) {
                Ok(Message::Begin(run)) => self.writer.begin(run)?,
                Ok(Message::Batch(batch)) => self.write(*batch)?,
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    next_look = Instant::now() + LOOK;
                    if self.look(shared)? {
                        break;
                    }
                }
            }
        }
        self.recorded.bytes = self.writer.finish()?;
        Ok(self.recorded)
    }

    /// Writes what has waited long enough; `true` if the recording is to be closed.
    fn look(&mut self, shared: &Shared) -> Result<bool, Error> {
        let all: Vec<_> = lock(&shared.pending).values().cloned().collect();
        for pending in all {
            // Its reader holds the lock while it waits for us.
            let Ok(mut pending) = pending.try_lock() else { continue };
            if pending.since.is_none_or(|since| since.elapsed() < PATIENCE) {
                continue;
            }
            // What the partition has sent comes before what it still holds.
            while let Ok(message) = self.receiver.try_recv() {
                match message {
                    Message::Begin(run) => self.writer.begin(run)?,
                    Message::Batch(batch) => self.write(*batch)?,
                    Message::Close => return Ok(true),
                }
            }
            self.write(*pending.take())?;
        }
        Ok(false)
    }

    /// Writes a batch; decisions come before the records that they apply to.
    fn write(&mut self, mut batch: Batch) -> Result<(), Error> {
        let Pump { writer, recorded, .. } = self;
        if let Some(described) = batch.described {
            let body = described.encode();
            let head = Head::new(Kind::Partition, batch.partition, &body);
            writer.write(head.map_err(|wrong| writer.invalid(wrong))?, &body)?;
            recorded.partitions += u64::from(batch.is_read);
        }
        if let (Some(first), Some(last)) = (batch.decisions.first(), batch.decisions.last()) {
            let (first, last, count) = (first.offset.0, last.offset.0, batch.decisions.len() as u32);
            let body = encode_decisions(&batch.decisions);
            let head = Head::new(Kind::Decisions, batch.partition, &body);
            let head = head.map_err(|wrong| writer.invalid(wrong))?;
            writer.write(Head { first, last, count, ..head }, &body)?;
            recorded.decisions += u64::from(count);
        }
        if batch.gathered.len() > 0 {
            batch.gathered.cut(batch.width);
            let encoded = encode(&batch.gathered, batch.partition, batch.width);
            let (head, body) = encoded.map_err(|wrong| writer.invalid(wrong))?;
            writer.write(head, &body)?;
            recorded.records += if batch.is_read { u64::from(head.count) } else { 0 };
        }
        Ok(())
    }
}
