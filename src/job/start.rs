//! How the workers of a process start together.

use std::sync::OnceLock;

use tidewatch_connectors::control::Meeting;
use tidewatch_connectors::Control;

use crate::cluster::Cluster;
use crate::recovery::Recovered;
use crate::Error;

/// Where the workers of a process meet while they build their dataflows.
pub(super) struct Start {
    workers: Meeting,
    place: Place,
    /// What all of them go on from; nothing if that could not be found out, or all is done.
    recovered: OnceLock<Option<Recovered>>,
}

/// Which part of a run a process is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) process: usize,
    pub(super) processes: usize,
    /// How many workers each process has.
    pub(super) workers: usize,
}

impl Start {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let (process, processes, workers) = (cluster.index(), cluster.processes(), cluster.workers());
        let place = Place { process, processes, workers };
        Self { workers: Meeting::of(workers), place, recovered: OnceLock::new() }
    }

    /// Finds out where the run goes on, on the first worker of the process; it alone has the error.
    pub(super) fn recover(
        &self,
        control: &Control,
        worker: usize,
        recover: impl FnOnce(Place) -> Result<Option<Recovered>, Error>,
    ) -> Result<Option<&Recovered>, Error> {
        let mut failed = None;
        if worker.is_multiple_of(self.place.workers) {
            match recover(self.place) {
                Ok(recovered) => drop(self.recovered.set(recovered)),
                Err(error) => failed = Some(error),
            }
        }
        self.meet(control);
        failed.map_or(Ok(self.recovered.get().and_then(Option::as_ref)), Err)
    }

    /// Waits until every source of every process is open, before any sink is: a sink may empty a file.
    pub(super) fn await_opened(&self, control: &Control, worker: usize) {
        if self.workers.meet(control) {
            control.opened();
        }
        if worker == 0 {
            control.await_opened(self.place.processes);
        }
    }

    /// Waits for all workers of the process.
    pub(super) fn meet(&self, control: &Control) {
        self.workers.meet(control);
    }
}
