//! Reads the lines of standard input, and writes lines to standard output and standard error.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TryRecvError};
use std::sync::Mutex;
use std::thread;

use tidewatch_dataflows::{EventTime, Offset};
use timely::scheduling::SyncActivator;
use tracing::{debug, info};

use crate::egress::Output;
use crate::format::lines::{Lines, MAX_RECORD};
use crate::format::Framing;
use crate::source::{Intake, Reader, Source, Status};
use crate::{lock, Error, Message, Schema, Sink};

/// How much is read at once, in bytes.
const BLOCK: usize = 64 * 1024;

/// How many blocks may wait for the worker.
const QUEUE: usize = 16;

const STDIN: &str = "standard input";

/// What errors call standard output.
pub const STDOUT: &str = "standard output";

/// Reads standard input as one partition, `stdin`, one record a line.
///
/// In a cluster it is the standard input of the first process. A thread of its own does the reading, since that blocks. What has been read is gone, so it can be opened once and
/// only from its start.
pub struct Stdin {
    input: Mutex<Option<Box<dyn Read + Send>>>,
    framing: Framing,
    max_record: usize,
}

impl Stdin {
    /// Reads the standard input of this process.
    pub fn new() -> Self {
        Self::from_reader(io::stdin())
    }

    /// Reads anything else as if it were standard input.
    pub fn from_reader(input: impl Read + Send + 'static) -> Self {
        let input: Box<dyn Read + Send> = Box::new(input);
        Self { input: Mutex::new(Some(input)), framing: Framing::lines(), max_record: MAX_RECORD }
    }

    /// How it falls into records; by default lines without a header.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The longest record in bytes, by default a mebibyte; a longer one is a dead letter.
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }
}

impl Default for Stdin {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for Stdin {
    fn kind(&self) -> &'static str {
        "stdio"
    }

    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok(vec!["stdin".into()])
    }

    fn open(
        &self,
        _partition: &str,
        from: Option<Offset>,
        waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let from = from.unwrap_or_default();
        if from != Offset(0) {
            let reason = format!("{STDIN} cannot be read again from offset {from}: it keeps nothing");
            return Err(Error::Configuration(reason));
        }
        let input = lock(&self.input).take();
        let input = input.ok_or_else(|| Error::Configuration(format!("{STDIN} is being read already")))?;
        info!(partition = "stdin", "opened partition");
        let (sender, blocks) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("tidewatch-stdin".into())
            .spawn(move || pump(input, &sender, &waker))
            .map_err(Error::io("the thread that reads standard input"))?;
        Ok(Box::new(StdinReader { blocks, lines: Lines::new(STDIN, &self.framing, self.max_record, from) }))
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// Sends blocks until the input ends, which an empty block says, or fails, or nobody listens any more.
fn pump(mut input: impl Read, blocks: &SyncSender<io::Result<Vec<u8>>>, waker: &SyncActivator) {
    let mut buffer = vec![0; BLOCK];
    loop {
        let block = match input.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.map(|read| buffer[..read].to_vec()),
        };
        let last = !matches!(&block, Ok(bytes) if !bytes.is_empty());
        if blocks.send(block).is_err() {
            return;
        }
        // A worker that is gone needs no waking; the next block will find its reader gone, too.
        let _ = waker.activate();
        if last {
            return;
        }
    }
}

struct StdinReader {
    blocks: Receiver<io::Result<Vec<u8>>>,
    lines: Lines,
}

impl Reader for StdinReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        loop {
            if self.lines.give(intake)?.is_break() {
                return Ok(Status::More);
            }
            if self.lines.ended() {
                debug!(partition = "stdin", bytes = self.lines.read(), "partition ended");
                return Ok(Status::Ended);
            }
            let block = match self.blocks.try_recv() {
                Ok(block) => block.map_err(Error::io(STDIN))?,
                Err(TryRecvError::Empty) => return Ok(Status::Pending),
                Err(TryRecvError::Disconnected) => {
                    let reason = io::Error::other("its thread is gone before the end");
                    return Err(Error::io(STDIN)(reason));
                }
            };
            match block.is_empty() {
                true => self.lines.finish()?,
                false => self.lines.push(&block),
            }
        }
    }

    fn position(&self) -> u64 {
        self.lines.read()
    }
}

/// Writes each message as a line to standard output.
#[derive(Debug, Default)]
pub struct Stdout(Vec<u8>);

/// Writes each message as a line to standard error.
#[derive(Debug, Default)]
pub struct Stderr(Vec<u8>);

impl Stdout {
    /// The standard output of this process.
    pub fn new() -> Self {
        Self::default()
    }

    /// Standard output, given JSON lines.
    pub fn json() -> Output {
        Output::json(Self::new(), Schema::default())
    }
}

impl Stderr {
    /// The standard error of this process.
    pub fn new() -> Self {
        Self::default()
    }

    /// Standard error, given JSON lines.
    pub fn json() -> Output {
        Output::json(Self::new(), Schema::default())
    }
}

impl Sink for Stdout {
    fn write(&mut self, messages: &[Message<'_>], _frontier: Option<EventTime>) -> Result<(), Error> {
        write_lines(io::stdout().lock(), &mut self.0, messages).map_err(Error::io(STDOUT))
    }
}

impl Sink for Stderr {
    fn write(&mut self, messages: &[Message<'_>], _frontier: Option<EventTime>) -> Result<(), Error> {
        write_lines(io::stderr().lock(), &mut self.0, messages).map_err(Error::io("standard error"))
    }
}

/// Writes through `buffer`: standard output would otherwise make a system call for every line.
fn write_lines(mut out: impl Write, buffer: &mut Vec<u8>, messages: &[Message<'_>]) -> io::Result<()> {
    buffer.clear();
    for message in messages {
        buffer.extend_from_slice(message.payload);
        buffer.push(b'\n');
        if buffer.len() >= BLOCK {
            out.write_all(buffer)?;
            buffer.clear();
        }
    }
    out.write_all(buffer)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::source::testing::{waker, Collected};

    /// Gives one block per read, then ends or fails.
    struct Blocks(VecDeque<Vec<u8>>, bool);

    impl Read for Blocks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                Some(block) => block.as_slice().read(buffer),
                None if self.1 => Err(io::Error::other("gone")),
                None => Ok(0),
            }
        }
    }

    fn drain(input: Stdin, intake: &mut Collected) -> Result<(), Error> {
        let mut reader = input.open("stdin", None, waker())?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while intake.drain(&mut *reader)? == Status::Pending {
            assert!(Instant::now() < deadline, "never ends");
            thread::yield_now();
        }
        Ok(())
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text: String = (0..30_000).map(|n| format!("line {n}\n")).collect();
        let expected: Vec<_> = text.lines().map(str::to_owned).collect();
        for size in [7, 4096, 1 << 20] {
            for every in [0, 1] {
                let blocks = text.as_bytes().chunks(size.min(BLOCK)).map(<[u8]>::to_vec).collect();
                let mut intake = Collected::breaking_every(every);
                drain(Stdin::from_reader(Blocks(blocks, false)), &mut intake).unwrap();
                assert!(expected == intake.payloads(), "blocks of {size}");
            }
        }
    }

    #[test]
    fn the_last_line_needs_no_newline_and_the_header_is_none() {
        let framing = Framing { header: true, multiline: false, delimiter: b',' };
        let mut intake = Collected::breaking_every(1);
        drain(Stdin::from_reader(io::Cursor::new("head\na\nb")).framing(framing), &mut intake).unwrap();
        assert_eq!(
            (vec!["head".to_owned()], vec!["a".to_owned(), "b".to_owned()]),
            (intake.headers.clone(), intake.payloads())
        );
    }

    #[test]
    fn a_failing_input_is_an_error_after_what_came_before() {
        let mut intake = Collected::default();
        let input = Stdin::from_reader(Blocks([b"a\nb".to_vec()].into(), true));
        assert_eq!("standard input: gone", drain(input, &mut intake).unwrap_err().to_string());
        assert_eq!(vec!["a"], intake.payloads());
    }

    #[test]
    fn it_can_be_opened_once_and_only_from_its_start() {
        let input = Stdin::from_reader(io::empty());
        let error = input.open("stdin", Some(Offset(3)), waker()).err().unwrap().to_string();
        assert_eq!("standard input cannot be read again from offset 3: it keeps nothing", error);
        input.open("stdin", None, waker()).unwrap();
        let error = input.open("stdin", None, waker()).err().unwrap().to_string();
        assert_eq!("standard input is being read already", error);
    }

    #[test]
    fn a_silent_input_is_pending_and_wakes_the_worker() {
        let (reader, mut writer) = io::pipe().unwrap();
        timely::execute_directly(move |worker| {
            let input = Stdin::from_reader(reader);
            let mut reader = input.open("stdin", None, worker.sync_activator_for(vec![])).unwrap();
            let mut intake = Collected::default();
            assert_eq!(Status::Pending, intake.drain(&mut *reader).unwrap());
            writer.write_all(b"a\n").unwrap();
            let start = Instant::now();
            while intake.raws.is_empty() {
                // Without the waker this would park for its whole minute.
                worker.step_or_park(Some(Duration::from_secs(60)));
                assert_eq!(Status::Pending, intake.drain(&mut *reader).unwrap());
            }
            assert!(start.elapsed() < Duration::from_secs(30), "was not woken");
            drop(writer);
        });
    }

    #[test]
    fn a_sink_writes_lines_and_reports_what_fails() {
        let message = |payload| Message::new(EventTime::MIN, payload);
        let mut out = Vec::new();
        let long = vec![b'x'; BLOCK];
        write_lines(&mut out, &mut Vec::new(), &[message(b"a"), message(&long), message(b"b")]).unwrap();
        assert_eq!([b"a\n", &long[..], b"\nb\n"].concat(), out);
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = write_lines(writer, &mut Vec::new(), &[message(b"a")]).unwrap_err();
        assert_eq!(ErrorKind::BrokenPipe, error.kind());
    }
}
