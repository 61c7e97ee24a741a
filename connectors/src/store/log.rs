//! A log of numbered entries in a store, each written by put-if-absent.
//!
//! The job's one log is its only commit point. Its entries are numbered without a hole, and their epochs never fall: a
//! run reads the log to its end and [begins](Log::begin) with an epoch above all others; from then on a process of an
//! older run finds that entry before it can append another, and stops.
//!
//! An entry is the object `PREFIX` and the number in twenty digits. The log begins at the highest of its *marks*, empty
//! objects `PREFIXstart/` and a number: whoever drops entries writes the mark first. So what is missing below it is no
//! damage, and a process that was asleep while entries were dropped, and finds a number free that was taken long ago, sees
//! that its entry is none.

mod entry;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Store;
use crate::Error;

/// Counts the runs of a job: each has a higher one than all before it. The first run has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub number: u64,
    /// The run that wrote it.
    pub epoch: Epoch,
    /// What it says.
    pub body: Vec<u8>,
}

/// A log of numbered entries, as one process reads and writes it.
pub struct Log {
    store: Arc<dyn Store>,
    prefix: String,
    /// Tells this process's entries from those of others that say the same.
    writer: u64,
    /// The number after the last entry that is known.
    next: u64,
    /// The highest epoch of an entry that is known.
    highest: Epoch,
    /// Entries of others that were read and not yet asked for.
    unseen: Vec<Entry>,
    /// Whether it stops at entries of higher epochs.
    heeds: bool,
}

impl Log {
    /// Reads the log to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], with the name of the object, if an entry is damaged or missing; [`Error::Store`].
    pub fn open(store: Arc<dyn Store>, prefix: &str) -> Result<(Self, Vec<Entry>), Error> {
        let writer = getrandom::u64().map_err(|error| Error::io("random numbers")(error.into()))?;
        let prefix = prefix.to_owned();
        let mut log =
            Self { store, prefix, writer, next: 0, highest: Epoch(0), unseen: Vec::new(), heeds: true };
        log.next = log.start()?;
        let entries = log.catch_up()?;
        Ok((log, entries))
    }

    /// The same log for a run that goes on when it should stop, as in a simulation.
    pub fn heedless(self) -> Self {
        Self { heeds: false, ..self }
    }

    /// The highest epoch of an entry that is known.
    pub fn highest(&self) -> Epoch {
        self.highest
    }

    /// Appends the first entry of a run, whose epoch is one above that of every entry before it, and returns that epoch.
    /// What others have appended meanwhile, [`catch_up`](Self::catch_up) returns.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append), but never [`Error::Fenced`].
    pub fn begin(&mut self, body: &[u8]) -> Result<Epoch, Error> {
        loop {
            let epoch = Epoch(self.highest.0 + 1);
            if self.try_append(epoch, body)? {
                return Ok(epoch);
            }
        }
    }

    /// Appends an entry under `epoch`, and returns its number. Several processes of one run may do so at the same time.
    /// After an error the entry may be in the log all the same; if the next call appends it again, it is there once.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if there is an entry of a higher epoch; [`Error::Store`]; [`Error::Damaged`] if an entry of
    /// somebody else is.
    pub fn append(&mut self, epoch: Epoch, body: &[u8]) -> Result<u64, Error> {
        loop {
            self.stop_if_fenced(epoch)?;
            if self.try_append(epoch, body)? {
                return Ok(self.next - 1);
            }
        }
    }

    /// Reads what others have appended since.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn catch_up(&mut self) -> Result<Vec<Entry>, Error> {
        self.read_to_end()?;
        Ok(std::mem::take(&mut self.unseen))
    }

    /// Drops the entries below `number`, but never the last one. A run that is fenced drops nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] if there is an entry of a higher epoch; else as [`open`](Self::open).
    pub fn drop_below(&mut self, number: u64, epoch: Epoch) -> Result<(), Error> {
        self.read_to_end()?;
        self.stop_if_fenced(epoch)?;
        let number = number.min(self.next.saturating_sub(1));
        if number <= self.start()? {
            return Ok(());
        }
        // First: whoever sees that an entry is gone must be able to see why.
        self.store.put_new(&self.mark(number), b"")?;
        for listed in self.store.list(&self.prefix)? {
            let dropped = match self.number_of(&listed.name) {
                Some(Numbered::Entry(entry)) => entry < number,
                Some(Numbered::Mark(mark)) => mark < number,
                None => false,
            };
            if dropped {
                self.store.delete(&listed.name)?;
            }
        }
        Ok(())
    }

    /// Whether any entry was dropped, by whomever.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn has_dropped(&self) -> Result<bool, Error> {
        Ok(self.start()? > 0)
    }

    fn stop_if_fenced(&self, epoch: Epoch) -> Result<(), Error> {
        match self.highest > epoch && self.heeds {
            true => Err(Error::Fenced { epoch: self.highest }),
            false => Ok(()),
        }
    }

    /// Tries the next number; `false` if it was taken, by an entry that is now known, or lies before the log's start.
    fn try_append(&mut self, epoch: Epoch, body: &[u8]) -> Result<bool, Error> {
        let name = self.name(self.next);
        let bytes = entry::encode(self.next, epoch, self.writer, body);
        let written = self.store.put_new(&name, &bytes)?
            || match self.store.get(&name)? {
                Some(found) if found == bytes => true,
                Some(found) => {
                    self.take(&found)?;
                    return Ok(false);
                }
                None => false,
            };
        // Only now can it be said whether the number was free because nobody had reached it, or because its entry had been
        // dropped.
        let start = self.start()?;
        if start > self.next {
            self.store.delete(&name)?;
            self.next = start;
            return Ok(false);
        }
        if !written {
            return Err(self.missing(self.next));
        }
        self.next += 1;
        self.highest = self.highest.max(epoch);
        Ok(true)
    }

    /// Reads entries up to where none follows.
    fn read_to_end(&mut self) -> Result<(), Error> {
        loop {
            while let Some(bytes) = self.store.get(&self.name(self.next))? {
                self.take(&bytes)?;
            }
            let listed = self.store.list(&self.prefix)?;
            let numbers = || listed.iter().filter_map(|listed| self.number_of(&listed.name));
            let is_followed =
                numbers().any(|number| matches!(number, Numbered::Entry(entry) if entry >= self.next));
            let start = start_of(numbers());
            if start > self.next {
                self.next = start;
            } else if !is_followed {
                // The start is never past the last entry.
                return match start == self.next && start > 0 {
                    true => Err(self.missing(start)),
                    false => Ok(()),
                };
            } else if self.store.get(&self.name(self.next))?.is_none() && self.start()? <= self.next {
                return Err(self.missing(self.next));
            }
        }
    }

    /// Takes the bytes of the next entry.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let entry = entry::decode(self.next, bytes)
            .map_err(|reason| Error::Damaged { object: self.store.object(&self.name(self.next)), reason })?;
        self.next += 1;
        self.highest = self.highest.max(entry.epoch);
        self.unseen.push(entry);
        Ok(())
    }

    fn missing(&self, number: u64) -> Error {
        Error::Damaged { object: self.store.object(&self.name(number)), reason: "it is missing".to_owned() }
    }

    /// The number at which the log begins.
    fn start(&self) -> Result<u64, Error> {
        let listed = self.store.list(&format!("{}{START}", self.prefix))?;
        Ok(start_of(listed.iter().filter_map(|listed| self.number_of(&listed.name))))
    }

    fn name(&self, number: u64) -> String {
        format!("{}{number:020}", self.prefix)
    }

    fn mark(&self, number: u64) -> String {
        format!("{}{START}{number:020}", self.prefix)
    }

    /// What an object of the log is; `None` if it is something else.
    fn number_of(&self, name: &str) -> Option<Numbered> {
        let rest = name.strip_prefix(&self.prefix)?;
        match rest.strip_prefix(START) {
            Some(mark) => mark.parse().ok().map(Numbered::Mark),
            None => rest.parse().ok().map(Numbered::Entry),
        }
    }
}

/// What the names of marks begin with, after the prefix.
const START: &str = "start/";

enum Numbered {
    Entry(u64),
    Mark(u64),
}

fn start_of(numbers: impl Iterator<Item = Numbered>) -> u64 {
    let marks = numbers.filter_map(|number| match number {
        Numbered::Mark(mark) => Some(mark),
        Numbered::Entry(_) => None,
    });
    marks.max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
