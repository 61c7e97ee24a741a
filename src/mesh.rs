//! The connections between the processes of a cluster: who may join, what it hears, and what ends it.
//!
//! timely's own bring-up trusts whoever connects, panics on what it does not understand and can wait for ever. Here process *i*
//! connects to each process after it, so that the first one needs no open port, and each connection begins with a
//! handshake that needs the cluster's secret. Once all are there, nobody listens any more.

mod bring_up;
mod connection;
mod handshake;
mod secret;
mod watch;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use timely::communication::allocator::zero_copy::initialize::{
    initialize_networking_from_sockets, CommsGuard,
};
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::Hooks;

use crate::Error;
use connection::{Connection, PeerStream};
pub use secret::{Secret, SECRET};
use watch::{Failed, Reason, Watch};

/// The exit code with which a supervised process says that it lost another one; nobody else sees it.
pub(crate) const LOST: u8 = 3;

/// The place of this process in a cluster of several.
#[derive(Debug)]
pub struct Member {
    pub(crate) index: usize,
    pub(crate) addresses: Vec<String>,
    pub(crate) secret: Secret,
    /// What the processes must agree on beside the secret: the job, and the run of it.
    pub(crate) job: String,
    pub(crate) epoch: u64,
    pub(crate) listener: Option<TcpListener>,
    /// The process that has started this one and the others, and sees how they end.
    pub(crate) supervisor: Option<u32>,
}

impl Member {
    /// Process `index` of those with these addresses; it listens at its own, unless it is given a listener.
    pub fn new(index: usize, addresses: Vec<String>, secret: Secret) -> Self {
        Self { index, addresses, secret, job: String::new(), epoch: 0, listener: None, supervisor: None }
    }

    /// Accepts the connections of the processes before it from this listener.
    pub fn listening(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The same member, for one run; the next one listens anew.
    pub(crate) fn enter(&mut self) -> Self {
        let Self { index, epoch, supervisor, .. } = *self;
        let (addresses, secret, job) = (self.addresses.clone(), self.secret.clone(), self.job.clone());
        Self { index, addresses, secret, job, epoch, listener: self.listener.take(), supervisor }
    }

    /// The number of this process; process 0 has the first worker.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.addresses.len()
    }
}

/// How messages call a process.
pub(crate) fn name(process: usize, addresses: &[String]) -> String {
    match addresses.get(process) {
        Some(address) => format!("process {process} ({address})"),
        None => format!("process {process}"),
    }
}

/// The connections of one process to all others.
pub(crate) struct Mesh {
    me: usize,
    addresses: Vec<String>,
    supervised: bool,
    watch: Arc<Watch>,
    connections: Vec<Option<Arc<Connection>>>,
    keepers: Vec<JoinHandle<()>>,
}

/// How a run ended for all processes.
pub(crate) enum End {
    Done,
    Interrupted,
    /// To start again.
    Again,
    /// The error of this process.
    Failed,
    /// The error of another one.
    FailedElsewhere(Error),
}

impl Mesh {
    /// The allocators of this process's workers.
    pub(crate) fn allocators(&self, workers: usize) -> Result<(Vec<AllocatorBuilder>, CommsGuard), Error> {
        let hooks = Hooks::default();
        let inside = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
        let streams =
            self.connections.iter().map(|connection| connection.clone().map(PeerStream::new)).collect();
        let (builders, guard) = initialize_networking_from_sockets(inside, streams, self.me, workers, hooks)
            .map_err(|source| Error::Io { what: "the threads of the mesh".to_owned(), source })?;
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), guard))
    }

    /// Tells the others that the workers of this process have ended, and waits until theirs have.
    pub(crate) fn leave(mut self, error: Option<&Error>, threads: CommsGuard) -> End {
        self.watch.finish(error.map(|error| (error.exit_code() as u8, error.to_string())));
        // They read until the last report of each process; the keepers write that of this one.
        drop(threads);
        for keeper in self.keepers.drain(..) {
            keeper.join().expect("a keeper does not panic");
        }
        let departure = self.watch.departure();
        match departure.failed {
            Some(Failed { process, reason: Reason::Error(code, message) }) if process != self.me => {
                match error {
                    Some(_) if !self.supervised => End::Failed,
                    _ => End::FailedElsewhere(self.error_of(process, code, message)),
                }
            }
            Some(_) => End::Failed,
            // What only the last reports have shown, they have shown to all.
            None if self.watch.control().failed() && (self.me == 0 || !self.supervised) => End::Failed,
            None if self.watch.control().failed() => {
                End::FailedElsewhere(self.error_of(0, 2, "it finds other partitions".to_owned()))
            }
            None if departure.starts_again => End::Again,
            None if departure.interrupted => End::Interrupted,
            None => End::Done,
        }
    }

    /// The error of another process. Supervised ones have said it where this one would.
    fn error_of(&self, process: usize, code: u8, message: String) -> Error {
        let address = self.addresses.get(process).cloned().unwrap_or_default();
        Error::Peer { process, address, message, code, told: self.supervised }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.watch.close();
        // The last reports are read by now, or nobody will read them.
        self.connections.iter().flatten().for_each(|connection| connection.close());
    }
}

/// Locks, though a thread may have panicked with the lock: that ends the process anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
