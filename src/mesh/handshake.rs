//! Who may be a peer: the Noise handshake `NNpsk0` (Perrin 2018, The Noise Protocol Framework, rev. 34).
//!
//! The prologue binds what the processes of a run have in common, so that a process of another run, another pipeline or a
//! cluster of another size knows as little as one without the secret. The one with the lower index speaks first:
//!
//! 1. `psk, e`, from whom to whom, and what the speaker calls the run;
//! 2. `e, ee`, and who answers;
//! 3. an empty message under the new keys. Without it, whoever has recorded the first message could take a peer's place.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use snow::{HandshakeState, StatelessTransportState};

use super::secret::Secret;

/// How long a handshake may take.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_BLAKE2s";
/// The longest message of a handshake.
const MAX_MESSAGE: usize = 128;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it has not completed the handshake within {} s", LIMIT.as_secs())]
    Silent,
    #[error("it has closed the connection before the end of the handshake")]
    Closed,
    #[error("what it sends is no handshake")]
    Garbage,
    #[error("it has another secret, or is of another run: pipeline, recording, version, -n, -w")]
    Stranger,
    #[error("it takes this process for number {0}")]
    Misled(u16),
    #[error("it calls itself process {0}, which does not connect to this one")]
    Impossible(u16),
    #[error("it calls itself process {0}, which has joined already")]
    Duplicate(u16),
    #[error("{0}")]
    Broken(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        match error.kind() {
            TimedOut | WouldBlock => Self::Silent,
            UnexpectedEof | ConnectionReset | BrokenPipe => Self::Closed,
            _ => Self::Broken(error),
        }
    }
}

/// What both sides of a handshake must agree on.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) me: u16,
    pub(super) secret: Secret,
    pub(super) prologue: Vec<u8>,
    /// What stands for this run and no other.
    pub(super) run: u64,
}

impl Terms {
    fn builder(&self) -> Result<snow::Builder<'_>, snow::Error> {
        let pattern = PATTERN.parse()?;
        snow::Builder::new(pattern).psk(0, self.secret.bytes())?.prologue(&self.prologue)
    }
}

/// A connection whose other end has shown that it belongs to the run.
pub(super) struct Secured {
    pub(super) socket: TcpStream,
    pub(super) transport: StatelessTransportState,
    /// What the side that has connected calls the run.
    pub(super) run: u64,
    /// How many messages have been sent and received under its keys.
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A socket that must be done by a certain moment.
struct Timed<'a> {
    socket: &'a TcpStream,
    until: Instant,
}

impl Timed<'_> {
    fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<(), Refusal> {
        while !buffer.is_empty() {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Refusal::Silent);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(buffer) {
                Ok(0) => return Err(Refusal::Closed),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn message(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut length = [0; 2];
        self.read_exact(&mut length)?;
        let length = usize::from(u16::from_le_bytes(length));
        if length > MAX_MESSAGE {
            return Err(Refusal::Garbage);
        }
        let mut message = vec![0; length];
        self.read_exact(&mut message)?;
        Ok(message)
    }

    fn say(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let length = u16::try_from(message.len()).map_err(|_| Refusal::Garbage)?;
        self.socket.set_write_timeout(Some(LIMIT))?;
        self.socket.write_all(&[&length.to_le_bytes(), message].concat())?;
        Ok(())
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut message = vec![0; MAX_MESSAGE];
    let length = state.write_message(payload, &mut message).map_err(|_| Refusal::Garbage)?;
    message.truncate(length);
    Ok(message)
}

/// What a message carries.
fn read<const N: usize>(state: &mut HandshakeState, message: &[u8]) -> Result<[u8; N], Refusal> {
    let mut payload = vec![0; MAX_MESSAGE];
    let length = state.read_message(message, &mut payload).map_err(|_| Refusal::Stranger)?;
    payload.truncate(length);
    payload.try_into().map_err(|_| Refusal::Stranger)
}

/// The first message: from whom, to whom, and what the speaker calls the run.
fn opening(from: u16, to: u16, run: u64) -> Vec<u8> {
    [&from.to_le_bytes()[..], &to.to_le_bytes(), &run.to_le_bytes()].concat()
}

/// The side that has connected, to process `peer`.
pub(super) fn initiate(socket: TcpStream, peer: u16, terms: &Terms) -> Result<Secured, Refusal> {
    let mut timed = Timed { socket: &socket, until: Instant::now() + LIMIT };
    let mut state = terms.builder().and_then(snow::Builder::build_initiator).map_err(|_| Refusal::Garbage)?;
    timed.say(&write(&mut state, &opening(terms.me, peer, terms.run))?)?;
    let answers = u16::from_le_bytes(read(&mut state, &timed.message()?)?);
    if answers != peer {
        return Err(Refusal::Impossible(answers));
    }
    let transport = state.into_stateless_transport_mode().map_err(|_| Refusal::Garbage)?;
    let mut message = vec![0; MAX_MESSAGE];
    let length = transport.write_message(0, &[], &mut message).map_err(|_| Refusal::Garbage)?;
    timed.say(&message[..length])?;
    Ok(Secured { socket, transport, run: terms.run, sent: 1, received: 0 })
}

/// The side that has accepted; returns which process has connected.
pub(super) fn respond(socket: TcpStream, terms: &Terms) -> Result<(u16, Secured), Refusal> {
    let mut timed = Timed { socket: &socket, until: Instant::now() + LIMIT };
    let mut state = terms.builder().and_then(snow::Builder::build_responder).map_err(|_| Refusal::Garbage)?;
    let [from, more_from, to, more_to, run @ ..] = read::<12>(&mut state, &timed.message()?)?;
    let (from, to) = (u16::from_le_bytes([from, more_from]), u16::from_le_bytes([to, more_to]));
    let run = u64::from_le_bytes(run);
    if to != terms.me {
        return Err(Refusal::Misled(to));
    }
    if from >= terms.me {
        return Err(Refusal::Impossible(from));
    }
    timed.say(&write(&mut state, &terms.me.to_le_bytes())?)?;
    let transport = state.into_stateless_transport_mode().map_err(|_| Refusal::Garbage)?;
    let mut nothing = vec![0; MAX_MESSAGE];
    transport.read_message(0, &timed.message()?, &mut nothing).map_err(|_| Refusal::Stranger)?;
    Ok((from, Secured { socket, transport, run, sent: 0, received: 1 }))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let one = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        (one, listener.accept().expect("it has connected").0)
    }

    fn terms(me: u16, secret: &Secret, prologue: &str) -> Terms {
        Terms { me, secret: secret.clone(), prologue: prologue.into(), run: 70 + u64::from(me) }
    }

    fn meet(
        one: Terms,
        peer: u16,
        two: Terms,
    ) -> (Result<Secured, Refusal>, Result<(u16, Secured), Refusal>) {
        let (socket, other) = pair();
        let first = thread::spawn(move || initiate(socket, peer, &one));
        let second = respond(other, &two);
        (first.join().expect("it does not panic"), second)
    }

    #[test]
    fn equals_meet_and_understand_each_other() {
        let secret = Secret::random().expect("there are random numbers");
        let (one, two) = meet(terms(0, &secret, "run"), 2, terms(2, &secret, "run"));
        let (one, (from, two)) = (one.expect("it is known"), two.expect("it is known"));
        assert_eq!((0, one.sent, one.received), (from, two.received, two.sent));
        assert_eq!((70, 70), (one.run, two.run));
        let (mut wire, mut plain) = (vec![0; 64], vec![0; 64]);
        let length = one.transport.write_message(one.sent, b"hello", &mut wire).expect("there is room");
        assert!(!wire.windows(5).any(|window| window == b"hello"));
        let length = two.transport.read_message(two.received, &wire[..length], &mut plain).expect("it is");
        assert_eq!(b"hello", &plain[..length]);
    }

    #[test]
    fn strangers_and_the_misled_are_refused() {
        let secret = Secret::random().expect("there are random numbers");
        let refusal = |one: Terms, peer, two: Terms| {
            let (one, two) = meet(one, peer, two);
            assert!(one.is_err());
            two.err().expect("it is refused").to_string()
        };
        let two = || terms(1, &secret, "run");
        let strange = refusal(terms(0, &Secret::NONE, "run"), 1, two());
        assert!(strange.contains("another secret"), "{strange}");
        assert_eq!(strange, refusal(terms(0, &secret, "another run"), 1, two()));
        assert!(refusal(terms(0, &secret, "run"), 2, two()).contains("number 2"));
        assert!(refusal(terms(1, &secret, "run"), 1, two()).contains("process 1"));
    }

    #[test]
    fn whoever_repeats_what_another_one_said_is_refused() {
        let secret = Secret::random().expect("there are random numbers");
        let (said, (socket, other)) = (terms(0, &secret, "run"), pair());
        let mut state = said.builder().and_then(snow::Builder::build_initiator).expect("it is right");
        let recorded = write(&mut state, &opening(0, 1, 7)).expect("there is room");
        let two = terms(1, &secret, "run");
        let second = thread::spawn(move || respond(other, &two));
        let mut timed = Timed { socket: &socket, until: Instant::now() + LIMIT };
        timed.say(&recorded).expect("it listens");
        timed.message().expect("it answers");
        timed.say(&recorded).expect("it listens");
        let refusal = second.join().expect("it does not panic").err().expect("it is refused");
        assert!(matches!(refusal, Refusal::Stranger), "{refusal}");
    }

    #[test]
    fn garbage_and_silence_are_refused_in_time() {
        let two = terms(1, &Secret::NONE, "run");
        let (mut socket, other) = pair();
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it listens");
        assert!(matches!(respond(other, &two), Err(Refusal::Garbage)));
        let (mut socket, other) = pair();
        socket.write_all(&[3, 0, 1, 2, 3]).expect("it listens");
        assert!(matches!(respond(other, &two), Err(Refusal::Stranger)));
        let (socket, other) = pair();
        drop(socket);
        assert!(matches!(respond(other, &two), Err(Refusal::Closed)));
        let (_socket, other) = pair();
        let start = Instant::now();
        assert!(matches!(respond(other, &two), Err(Refusal::Silent)));
        assert!(start.elapsed() < LIMIT + Duration::from_secs(1));
    }
}
