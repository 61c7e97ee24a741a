//! An intake that collects, for the tests of readers.

use std::ops::ControlFlow;

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Offset};
use timely::scheduling::SyncActivator;

use super::{Intake, Raw, Reader, Status};
use crate::Error;

/// What a reader gave, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Collected {
    pub(crate) headers: Vec<String>,
    /// Offset, line and payload.
    pub(crate) raws: Vec<(u64, Option<u64>, Vec<u8>)>,
    pub(crate) appended: Vec<Option<EventTime>>,
    pub(crate) rows: Vec<(u64, EventTime, String, Vec<f64>)>,
    /// Offset, line, payload and reason.
    pub(crate) damaged: Vec<(u64, Option<u64>, Vec<u8>, String)>,
    /// Breaks after every so many records; never if zero.
    pub(crate) every: usize,
    given: usize,
}

impl Collected {
    pub(crate) fn breaking_every(every: usize) -> Self {
        Self { every, ..Self::default() }
    }

    /// The same, as if nothing had made it break.
    pub(crate) fn at_rest(self) -> Self {
        Self { every: 0, given: 0, ..self }
    }

    fn flow(&mut self) -> ControlFlow<()> {
        self.given += 1;
        match self.every != 0 && self.given.is_multiple_of(self.every) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Reads until the reader is pending or has ended.
    pub(crate) fn drain(&mut self, reader: &mut dyn Reader) -> Result<Status, Error> {
        loop {
            match reader.read(self)? {
                Status::More => {}
                status => return Ok(status),
            }
        }
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.raws.iter().map(|(_, _, payload)| String::from_utf8_lossy(payload).into_owned()).collect()
    }
}

impl Intake for Collected {
    fn header(&mut self, line: &[u8]) -> Result<(), Error> {
        match line {
            b"wrong" => Err(Error::Configuration("wrong header".into())),
            _ => {
                self.headers.push(String::from_utf8_lossy(line).into_owned());
                Ok(())
            }
        }
    }

    fn raw(&mut self, raw: Raw<'_>) -> ControlFlow<()> {
        self.raws.push((raw.offset.0, raw.line, raw.payload.to_vec()));
        self.appended.push(raw.appended);
        self.flow()
    }

    fn row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) -> ControlFlow<()> {
        self.rows.push((offset.0, time, key.key.to_string(), values.to_vec()));
        self.flow()
    }

    fn damaged(&mut self, raw: Raw<'_>, reason: String) -> ControlFlow<()> {
        self.damaged.push((raw.offset.0, raw.line, raw.payload.to_vec(), reason));
        self.flow()
    }
}

/// A waker of a worker that is gone.
pub(crate) fn waker() -> SyncActivator {
    timely::execute_directly(|worker| worker.sync_activator_for(vec![]))
}
