//! Which part of a store a run uses: a job that is started anew gets one of its own.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidewatch_connectors::store::{self, within, Lock, Log, Store};
use tidewatch_connectors::Control;
use tracing::{info, warn};

use super::LOOK;
use crate::checkpoint::{Began, Body, LOG};
use crate::Error;

/// What the names of the objects begin with that stand for incarnations.
const INCARNATIONS: &str = "incarnations/";

/// How long a run may take to go that was killed a moment ago.
const PATIENCE: Duration = Duration::from_secs(3);

/// Locks a store, if that is possible within so long.
fn lock(url: &str, patience: Duration) -> Result<Option<Lock>, Error> {
    let start = Instant::now();
    loop {
        let lock = store::lock(url)?;
        if lock.is_some() || start.elapsed() >= patience {
            return Ok(lock);
        }
        thread::sleep(LOOK);
    }
}

/// On which terms a run starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Forgets all that earlier runs have kept and committed, and starts from the beginning.
    pub fresh: bool,
    /// Starts though another run of the job lives, which ends then.
    pub take_over: bool,
}

/// The part of a store that belongs to one incarnation of a job.
#[derive(Clone)]
pub(crate) struct Incarnation {
    pub(crate) number: u64,
    pub(crate) store: Arc<dyn Store>,
}

impl Incarnation {
    /// The newest incarnation in a store; none if there is none.
    pub(crate) fn newest(store: &Arc<dyn Store>) -> Result<Option<Self>, Error> {
        let number = |name: &str| name.strip_prefix(INCARNATIONS)?.parse().ok();
        let numbers = store.list(INCARNATIONS)?;
        let newest = numbers.iter().filter_map(|listed| number(&listed.name)).max();
        Ok(newest.map(|number| Self::numbered(store, number)))
    }

    fn numbered(store: &Arc<dyn Store>, number: u64) -> Self {
        Self { number, store: within(store.clone(), format!("{number}/")) }
    }

    /// The incarnation in which a run goes on, or starts anew, with the lock that keeps others from it: of the store at `url`,
    /// if that is a directory.
    ///
    /// # Errors
    ///
    /// If another run lives that this one is not to take over from, or the store cannot be used.
    pub(super) fn enter(
        store: &Arc<dyn Store>,
        url: &str,
        terms: Terms,
        hash: u64,
    ) -> Result<(Self, Option<Lock>), Error> {
        let newest = Self::newest(store)?;
        let lock = lock(url, if terms.take_over { Duration::ZERO } else { PATIENCE })?;
        if lock.is_none() {
            let holder = newest.as_ref().map(Self::holder).transpose()?.flatten();
            let holder = holder.map(|began| format!(" (process {} on {})", began.process, began.host));
            let holder = holder.unwrap_or_default();
            if !terms.take_over {
                return Err(Error::Alive { store: url.to_owned(), holder });
            }
            warn!("takes over from the run that lives{holder}");
            store::lock_later(url)?;
        }
        let number = match newest {
            Some(newest) if !terms.fresh => return Ok((newest, lock)),
            Some(newest) => {
                // Whoever still runs in the old one finds that its time is over.
                let (mut log, _) = Log::open(newest.store.clone(), LOG)?;
                log.begin(&Body::Began(Began::now(hash, 0)).encode())?;
                newest.number + 1
            }
            None => 1,
        };
        store.put_new(&format!("{INCARNATIONS}{number:020}"), b"")?;
        info!(incarnation = number, "started anew");
        Ok((Self::numbered(store, number), lock))
    }

    /// The incarnation in which the first process has begun this run; waits until it has.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the run fails or is interrupted meanwhile; or if the store cannot be used.
    pub(super) fn follow(store: &Arc<dyn Store>, control: &Control) -> Result<Self, Error> {
        loop {
            if let Some(newest) = Self::newest(store)? {
                let has_begun = newest.holder()?.is_some_and(|began| began.run == control.run());
                if has_begun {
                    return Ok(newest);
                }
            }
            if control.failed() || control.interrupted() {
                return Err(Error::Interrupted);
            }
            thread::sleep(LOOK);
        }
    }

    /// Who has begun the last run.
    fn holder(&self) -> Result<Option<Began>, Error> {
        let (_, entries) = Log::open(self.store.clone(), LOG)?;
        let mut began = None;
        for entry in &entries {
            if let Body::Began(said) = Body::decode(entry)? {
                began = Some(said);
            }
        }
        Ok(began)
    }
}
