//! From nothing to a connection to every other process.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidewatch_connectors::Control;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::handshake::{initiate, respond, Refusal, Secured, Terms};
use super::watch::Watch;
use super::{lock, name, Member, Mesh};
use crate::Error;

/// How long all processes together have to join.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long to wait for the next one that connects, and at first for a process that does not listen yet.
const RETRY: Duration = Duration::from_millis(10);
/// How long to wait after a handshake that has failed, and at most for a process that does not listen.
const REPENT: Duration = Duration::from_millis(500);
/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(2);
/// After how long it is told for whom this process waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many handshakes may be under way at a time; one more ends the oldest.
const HANDSHAKES: usize = 32;
/// How many different refusals are told of.
const MESSAGES: usize = 100;

/// What the threads of a bring-up share.
struct Hall {
    terms: Terms,
    addresses: Vec<String>,
    /// The processes that have joined.
    joined: Mutex<BTreeSet<u16>>,
    /// Of whom a refusal has been told, and why: one who tries again and again is told of once.
    told: Mutex<BTreeSet<(IpAddr, String)>>,
    over: AtomicBool,
    /// The handshakes under way with those who have connected, the oldest first.
    handshakes: Mutex<VecDeque<(SocketAddr, TcpStream)>>,
}

type Arrivals = Sender<(u16, Secured)>;

/// What all processes of a run must have in common.
fn prologue(member: &Member, workers: usize) -> Vec<u8> {
    let Member { job, epoch, addresses, .. } = member;
    let version = env!("CARGO_PKG_VERSION");
    format!("tidewatch {version}\n-n {} -w {workers}\nrun {epoch}\n{job}", addresses.len()).into()
}

impl Mesh {
    /// Connects to all other processes of the cluster.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] if one has not joined within a minute; [`Error::Interrupted`].
    pub(crate) fn bring_up(mut member: Member, workers: usize, control: &Control) -> Result<Self, Error> {
        let start = Instant::now();
        let terms = Terms {
            me: member.index as u16,
            secret: member.secret.clone(),
            prologue: prologue(&member, workers),
            // What the first one calls the run, it tells all others.
            run: getrandom::u64()
                .map_err(|error| Error::Io { what: "random numbers".to_owned(), source: error.into() })?,
        };
        let run = terms.run;
        let hall = Arc::new(Hall {
            terms,
            addresses: member.addresses.clone(),
            joined: Mutex::default(),
            told: Mutex::default(),
            over: AtomicBool::new(false),
            handshakes: Mutex::default(),
        });
        let watch = Arc::new(Watch::new(&member, control));
        let processes = member.addresses.len();
        let mut mesh = Self {
            me: member.index,
            addresses: member.addresses.clone(),
            supervised: member.supervisor.is_some(),
            watch,
            connections: (0..processes).map(|_| None).collect(),
            keepers: Vec::new(),
        };

        let (sender, arrivals) = channel();
        // Nobody connects to the first process.
        if member.index > 0 {
            let listener = match member.listener.take() {
                Some(listener) => listener,
                None => listen(&member.addresses[member.index])?,
            };
            let (hall, sender) = (Arc::clone(&hall), sender.clone());
            spawn("accept", move || hall.accept(&listener, &sender))?;
        }
        for peer in member.index + 1..processes {
            let (hall, sender) = (Arc::clone(&hall), sender.clone());
            spawn("connect", move || hall.reach(peer as u16, &sender))?;
        }

        if mesh.me == 0 {
            control.begin(run);
        }
        let mut is_told = false;
        let result = loop {
            let absent = (0..processes).find(|peer| *peer != mesh.me && mesh.connections[*peer].is_none());
            let Some(absent) = absent else { break Ok(()) };
            mesh.watch.look();
            if control.interrupted() {
                break Err(Error::Interrupted);
            }
            if start.elapsed() > DEADLINE {
                let address = mesh.addresses[absent].clone();
                break Err(Error::Absent { process: absent, address, seconds: DEADLINE.as_secs() });
            }
            if absent < mesh.me && start.elapsed() > PATIENCE && !std::mem::replace(&mut is_told, true) {
                warn!(process = absent, address = %mesh.addresses[absent], "waits until the other process connects");
            }
            match arrivals.recv_timeout(Duration::from_millis(50)) {
                Ok((peer, secured)) => {
                    debug!(process = peer, "joined");
                    if peer == 0 {
                        control.begin(secured.run);
                    }
                    match Connection::open(peer.into(), secured, &mesh.watch) {
                        Ok((connection, keeper)) => {
                            mesh.connections[usize::from(peer)] = Some(connection);
                            mesh.keepers.push(keeper);
                        }
                        Err(source) => {
                            break Err(Error::Io { what: name(peer.into(), &mesh.addresses), source })
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    break Err(Error::Internal("nobody is waiting for the other processes".to_owned()));
                }
            }
        };
        // Also closes the listener.
        hall.over.store(true, Ordering::Release);
        result?;
        info!(processes, elapsed_ms = start.elapsed().as_millis() as u64, "the mesh is up");
        Ok(mesh)
    }
}

fn spawn(what: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let spawned = thread::Builder::new().name(format!("tidewatch:{what}")).spawn(run);
    spawned.map(drop).map_err(|source| Error::Io { what: format!("the thread to {what}"), source })
}

fn listen(address: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|source| Error::Io { what: format!("listening on {address}"), source })
}

impl Hall {
    fn over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Accepts connections until all processes have joined. A silent one keeps nobody waiting: each handshake has
    /// a thread and little time.
    fn accept(self: Arc<Self>, listener: &TcpListener, arrivals: &Arrivals) {
        if let Err(error) = listener.set_nonblocking(true) {
            warn!(%error, "cannot accept connections");
            return;
        }
        while !self.over() {
            match listener.accept() {
                Ok((socket, from)) => {
                    let (hall, arrivals) = (Arc::clone(&self), arrivals.clone());
                    let admitted = self.admit(from, &socket);
                    let handle = move || {
                        if let Err(refusal) = hall.answer(socket, &arrivals) {
                            hall.tell(from, &refusal);
                        }
                        lock(&hall.handshakes).retain(|(other, _)| *other != from);
                    };
                    if let Err(error) = admitted.and_then(|()| spawn("handshake", handle)) {
                        warn!(peer = %from, %error, "refused a connection");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => {
                    debug!(%error, "cannot accept a connection");
                    thread::sleep(RETRY);
                }
            }
        }
    }

    /// Makes room for a handshake. Were those who connect and say nothing left to use up their time, others would wait for them.
    fn admit(&self, from: SocketAddr, socket: &TcpStream) -> Result<(), Error> {
        let socket =
            socket.try_clone().map_err(|source| Error::Io { what: "the connection".to_owned(), source })?;
        let mut handshakes = lock(&self.handshakes);
        handshakes.push_back((from, socket));
        if handshakes.len() > HANDSHAKES {
            if let Some((_, oldest)) = handshakes.pop_front() {
                // One that is closed already is as good.
                let _ = oldest.shutdown(Shutdown::Both);
            }
        }
        Ok(())
    }

    fn tell(&self, from: SocketAddr, refusal: &Refusal) {
        let mut told = lock(&self.told);
        if told.len() < MESSAGES && told.insert((from.ip(), refusal.to_string())) {
            warn!(peer = %from, reason = %refusal, "refused a connection");
        }
    }

    fn answer(&self, socket: TcpStream, arrivals: &Arrivals) -> Result<(), Refusal> {
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        let (from, secured) = respond(socket, &self.terms)?;
        if !lock(&self.joined).insert(from) {
            return Err(Refusal::Duplicate(from));
        }
        // If nobody waits any more, the process ends.
        let _ = arrivals.send((from, secured));
        Ok(())
    }

    /// Connects to a process that may not listen yet.
    fn reach(&self, peer: u16, arrivals: &Arrivals) {
        let address = &self.addresses[usize::from(peer)];
        let (mut told, mut pause, start) = (BTreeSet::new(), RETRY, Instant::now());
        while !self.over() {
            let socket = match connect(address) {
                Ok(socket) => socket,
                Err(error) => {
                    if start.elapsed() > PATIENCE && told.insert(error.to_string()) {
                        warn!(process = peer, %address, %error, "waits until it can connect to the other process");
                    }
                    thread::sleep(pause);
                    pause = (2 * pause).min(REPENT);
                    continue;
                }
            };
            match initiate(socket, peer, &self.terms) {
                Ok(secured) => {
                    // If nobody waits any more, the process ends.
                    let _ = arrivals.send((peer, secured));
                    return;
                }
                Err(refusal) => {
                    let reason = match refusal {
                        // Whoever knows no secret is told nothing.
                        Refusal::Closed => Refusal::Stranger,
                        refusal => refusal,
                    };
                    if told.insert(reason.to_string()) {
                        warn!(process = peer, %address, %reason, "cannot join");
                    }
                    thread::sleep(REPENT);
                }
            }
        }
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
