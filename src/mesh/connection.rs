//! A connection to another process: encrypted, kept alive, watched.
//!
//! A frame is a length of two bytes and a Noise message; the last byte of its plain text says what it is. *Data* is what timely
//! sends. A *report* says how the process stands, at least every second, so that silence means loss. The last report
//! follows the last data, and after it nothing does.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use snow::StatelessTransportState;
use timely::communication::allocator::zero_copy::stream::Stream;

use super::handshake::Secured;
use super::lock;
use super::watch::{Loss, Report, Watch};

/// How often a process says at least how it stands.
const BEAT: Duration = Duration::from_secs(1);
/// After how long without a byte a process counts as lost.
const SILENCE: Duration = Duration::from_millis(3_500);
/// For how long data gathers after some was sent.
const GATHERING: Duration = Duration::from_micros(200);

const DATA: u8 = 0;
const REPORT: u8 = 1;
/// The longest Noise message, and what of it is plain text without the kind of the frame.
const MAX_MESSAGE: usize = 65_535;
const MAX_PAYLOAD: usize = MAX_MESSAGE - 16 - 1;
/// How many bytes of data are encrypted before they are written to the socket, at most.
const MOST: usize = 4 * MAX_PAYLOAD;
/// How many bytes are read from the socket at once, at most.
const BLOCK: usize = 256 * 1024;

pub(super) struct Connection {
    peer: usize,
    socket: TcpStream,
    transport: StatelessTransportState,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    watch: Arc<Watch>,
}

struct Incoming {
    socket: TcpStream,
    received: u64,
    /// What was read from the socket, and where in it is what was not looked at yet.
    block: Vec<u8>,
    unread: Range<usize>,
    /// The plain text of a message for which timely had no room, and where in it is what was not given yet.
    plain: Vec<u8>,
    ungiven: Range<usize>,
    /// Whether the last report has come.
    over: bool,
}

struct Outgoing {
    sent: u64,
    plain: Vec<u8>,
    wire: Vec<u8>,
    /// Whether timely has nothing more to send.
    written: bool,
}

impl Incoming {
    /// Reads on until a whole frame is there; gives where in the block its message is.
    fn next(&mut self) -> io::Result<Range<usize>> {
        self.fill(2)?;
        let start = self.unread.start;
        let length = usize::from(u16::from_le_bytes([self.block[start], self.block[start + 1]]));
        self.fill(2 + length)?;
        let start = self.unread.start + 2;
        self.unread.start = start + length;
        Ok(start..start + length)
    }

    /// Reads on until so many bytes are there, which is not more than a frame.
    fn fill(&mut self, needed: usize) -> io::Result<()> {
        if self.unread.start + needed > self.block.len() {
            self.block.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        while self.unread.len() < needed {
            match self.socket.read(&mut self.block[self.unread.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.unread.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        Ok(())
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof, WouldBlock};
        match error.kind() {
            UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe => Self::Closed,
            WouldBlock => Self::Broken(format!("it has been silent for {} s", SILENCE.as_secs_f64())),
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl Connection {
    /// Takes over a connection to process `peer`, and keeps it alive.
    pub(super) fn open(
        peer: usize,
        secured: Secured,
        watch: &Arc<Watch>,
    ) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let Secured { socket, transport, sent, received, .. } = secured;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_write_timeout(None)?;
        let incoming = Incoming {
            socket: socket.try_clone()?,
            received,
            block: vec![0; BLOCK],
            unread: 0..0,
            plain: vec![0; MAX_MESSAGE],
            ungiven: 0..0,
            over: false,
        };
        let outgoing = Outgoing { sent, plain: Vec::new(), wire: Vec::new(), written: false };
        let connection = Arc::new(Self {
            peer,
            socket,
            transport,
            incoming: Mutex::new(incoming),
            outgoing: Mutex::new(outgoing),
            watch: Arc::clone(watch),
        });
        let kept = Arc::clone(&connection);
        let name = format!("tidewatch:keep-{peer}");
        let keeper = std::thread::Builder::new().name(name).spawn(move || kept.keep())?;
        Ok((connection, keeper))
    }

    /// Says how this process stands: at once when others should know, else every second, until the last time.
    ///
    /// Each connection has a thread for it, because one that is stuck must not make this process silent to others.
    fn keep(&self) {
        let mut seen = 0;
        while !self.watch.is_over() {
            self.watch.look();
            let report = match lock(&self.outgoing).written {
                true => self.watch.report(),
                false => self.watch.interim(),
            };
            let payload =
                postcard::to_allocvec(&report).expect("a report has nothing that cannot be written");
            if let Err(error) = self.send(REPORT, &payload) {
                self.watch.lost(self.peer, error.into());
            }
            if report.last {
                return;
            }
            seen = self.watch.control().changed(seen, BEAT);
        }
    }

    /// Sends a payload, in as many frames as it takes, at once.
    fn send(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut outgoing = lock(&self.outgoing);
        let Outgoing { sent, plain, wire, .. } = &mut *outgoing;
        let mut end = 0;
        for part in payload.chunks(MAX_PAYLOAD) {
            plain.clear();
            plain.extend_from_slice(part);
            plain.push(kind);
            if wire.len() < end + 2 + MAX_MESSAGE {
                wire.resize(end + 2 + MAX_MESSAGE, 0);
            }
            let (prefix, message) = wire[end..].split_at_mut(2);
            let length = self.transport.write_message(*sent, plain, message).map_err(io::Error::other)?;
            *sent += 1;
            prefix.copy_from_slice(&u16::try_from(length).map_err(io::Error::other)?.to_le_bytes());
            end += 2 + length;
        }
        (&self.socket).write_all(&wire[..end])
    }

    /// Decrypts the next frame into `plain`, which has room for it; gives its kind, and how much plain text there is without it.
    fn receive(&self, message: &[u8], nonce: u64, plain: &mut [u8]) -> Result<(u8, usize), Loss> {
        let changed = || Loss::Broken("what it sent was changed on its way".to_owned());
        let length = self.transport.read_message(nonce, message, plain).map_err(|_| changed())?;
        let last = length.checked_sub(1).ok_or_else(changed)?;
        Ok((plain[last], last))
    }

    /// Reads data into `buffer`; nothing only after the last report.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Loss> {
        let mut incoming = lock(&self.incoming);
        let incoming = &mut *incoming;
        while incoming.ungiven.is_empty() {
            if incoming.over {
                return Ok(0);
            }
            let message = incoming.next()?;
            // Most often timely has room: then nothing is copied.
            let in_place = buffer.len() >= message.len();
            let plain = if in_place { &mut *buffer } else { &mut incoming.plain[..] };
            let (kind, length) = self.receive(&incoming.block[message], incoming.received, plain)?;
            incoming.received += 1;
            if kind == REPORT {
                let report: Report = postcard::from_bytes(&plain[..length])
                    .map_err(|error| Loss::Broken(format!("its report cannot be read: {error}")))?;
                incoming.over = report.last;
                self.watch.hear(self.peer, report);
            } else if in_place && length > 0 {
                return Ok(length);
            } else {
                incoming.ungiven = 0..length;
            }
        }
        let length = incoming.ungiven.len().min(buffer.len());
        let start = incoming.ungiven.start;
        buffer[..length].copy_from_slice(&incoming.plain[start..start + length]);
        incoming.ungiven.start += length;
        Ok(length)
    }

    /// Closes the socket, whatever is still to come.
    pub(super) fn close(&self) {
        // One that is closed already is as good.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What timely reads from and writes to. It never sees an error, of which it would make a panic: whoever loses a
/// connection ends the process with a message.
pub(super) struct PeerStream {
    connection: Arc<Connection>,
    /// Whether something was written since it last gathered data.
    wrote: bool,
}

impl PeerStream {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, wrote: false }
    }
}

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let connection = &self.connection;
        Ok(connection.read(buffer).unwrap_or_else(|loss| connection.watch.lost(connection.peer, loss)))
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let connection = &self.connection;
        self.wrote = true;
        let length = bytes.len().min(MOST);
        if let Err(error) = connection.send(DATA, &bytes[..length]) {
            connection.watch.lost(connection.peer, error.into());
        }
        Ok(length)
    }

    /// Everything is sent already; what comes next gathers for a moment. To wake threads on both sides for each batch
    /// costs more than to send it, and under load the next one is near. What comes after a pause goes at once.
    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.wrote) {
            std::thread::sleep(GATHERING);
        }
        Ok(())
    }
}

impl Stream for PeerStream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(Arc::clone(&self.connection)))
    }

    fn set_nonblocking(&self, _nonblocking: bool) -> io::Result<()> {
        Ok(())
    }

    /// Notes that all data has been written, after which the last report may go.
    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        lock(&self.connection.outgoing).written = true;
        self.connection.watch.control().notify();
        Ok(())
    }
}
