//! A connection to another process: encrypted, kept alive, watched.
//!
//! A frame is a length of two bytes and a Noise message; the first byte of its plain text says what it is. *Data* is what timely
//! sends. A *report* says how the process stands, at least every second, so that silence means loss. The last report
//! follows the last data, and after it nothing does.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use snow::StatelessTransportState;
use timely::communication::allocator::zero_copy::stream::Stream;

use super::handshake::Secured;
use super::watch::{Loss, Report, Watch};

/// How often a process says at least how it stands.
const BEAT: Duration = Duration::from_secs(1);
/// After how long without a byte a process counts as lost.
const SILENCE: Duration = Duration::from_millis(3_500);

const DATA: u8 = 0;
const REPORT: u8 = 1;
/// The longest Noise message, and what of it is plain text without the kind of the frame.
const MAX_MESSAGE: usize = 65_535;
const MAX_PAYLOAD: usize = MAX_MESSAGE - 16 - 1;
/// How many bytes are read from the socket at once.
const BLOCK: usize = 128 * 1024;

pub(super) struct Connection {
    peer: usize,
    socket: TcpStream,
    transport: StatelessTransportState,
    incoming: Mutex<Incoming>,
    outgoing: Mutex<Outgoing>,
    watch: Arc<Watch>,
}

struct Incoming {
    socket: BufReader<TcpStream>,
    received: u64,
    /// Room for a message, encrypted and plain.
    wire: Vec<u8>,
    plain: Vec<u8>,
    /// How much of the plain text has been given to timely, of how much there is.
    given: usize,
    length: usize,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panics in the middle of a frame ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            socket: BufReader::with_capacity(BLOCK, socket.try_clone()?),
            received,
            wire: vec![0; MAX_MESSAGE],
            plain: vec![0; MAX_MESSAGE],
            given: 0,
            length: 0,
            over: false,
        };
        let outgoing = Outgoing { sent, plain: Vec::new(), wire: vec![0; 2 + MAX_MESSAGE], written: false };
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

    fn send(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut outgoing = lock(&self.outgoing);
        let Outgoing { sent, plain, wire, .. } = &mut *outgoing;
        plain.clear();
        plain.push(kind);
        plain.extend_from_slice(payload);
        let length = self.transport.write_message(*sent, plain, &mut wire[2..]).map_err(io::Error::other)?;
        *sent += 1;
        let prefix = u16::try_from(length).map_err(io::Error::other)?;
        wire[..2].copy_from_slice(&prefix.to_le_bytes());
        (&self.socket).write_all(&wire[..2 + length])
    }

    /// Reads the next frame, and gives its kind.
    fn receive(&self, incoming: &mut Incoming) -> Result<u8, Loss> {
        let mut prefix = [0; 2];
        incoming.socket.read_exact(&mut prefix)?;
        let wire = &mut incoming.wire[..u16::from_le_bytes(prefix).into()];
        incoming.socket.read_exact(wire)?;
        incoming.length = self
            .transport
            .read_message(incoming.received, wire, &mut incoming.plain)
            .map_err(|_| Loss::Broken("what it sent was changed on its way".to_owned()))?;
        incoming.received += 1;
        incoming.given = 1.min(incoming.length);
        Ok(if incoming.length == 0 { DATA } else { incoming.plain[0] })
    }

    /// Reads data into `buffer`; nothing only after the last report.
    fn read(&self, buffer: &mut [u8]) -> Result<usize, Loss> {
        let mut incoming = lock(&self.incoming);
        let incoming = &mut *incoming;
        while incoming.given == incoming.length {
            if incoming.over {
                return Ok(0);
            }
            if self.receive(incoming)? == REPORT {
                let report: Report = postcard::from_bytes(&incoming.plain[1..incoming.length])
                    .map_err(|error| Loss::Broken(format!("its report cannot be read: {error}")))?;
                incoming.given = incoming.length;
                incoming.over = report.last;
                self.watch.hear(self.peer, report);
            }
        }
        let rest = &incoming.plain[incoming.given..incoming.length];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        incoming.given += length;
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
pub(super) struct PeerStream(pub(super) Arc<Connection>);

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self(connection) = self;
        Ok(connection.read(buffer).unwrap_or_else(|loss| connection.watch.lost(connection.peer, loss)))
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self(connection) = self;
        let length = bytes.len().min(MAX_PAYLOAD);
        if let Err(error) = connection.send(DATA, &bytes[..length]) {
            connection.watch.lost(connection.peer, error.into());
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for PeerStream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    fn set_nonblocking(&self, _nonblocking: bool) -> io::Result<()> {
        Ok(())
    }

    /// Notes that all data has been written, after which the last report may go.
    fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        lock(&self.0.outgoing).written = true;
        self.0.watch.control().notify();
        Ok(())
    }
}
