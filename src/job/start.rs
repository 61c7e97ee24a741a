//! How the workers of a process start together.

use std::sync::{Barrier, OnceLock};

use tidewatch_connectors::Control;

use crate::cluster::Cluster;
use crate::recovery::Recovered;
use crate::Error;

/// Where the workers of a process meet while they build their dataflows.
pub(super) struct Start {
    workers: Barrier,
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
        Self { workers: Barrier::new(workers), place, recovered: OnceLock::new() }
    }

    /// Finds out where the run goes on, on the first worker that asks; it alone has the error.
    pub(super) fn recover(
        &self,
        recover: impl FnOnce(Place) -> Result<Option<Recovered>, Error>,
    ) -> Result<Option<&Recovered>, Error> {
        let mut failed = None;
        let recovered = self.recovered.get_or_init(|| {
            recover(self.place).unwrap_or_else(|error| {
                failed = Some(error);
                None
            })
        });
        failed.map_or(Ok(recovered.as_ref()), Err)
    }

    /// Waits until every source of every process is open, before any sink is: a sink may empty a file.
    pub(super) fn await_opened(&self, control: &Control, worker: usize) {
        if self.workers.wait().is_leader() {
            control.opened();
        }
        if worker == 0 {
            control.await_opened(self.place.processes);
        }
    }

    /// Waits for all workers of the process.
    pub(super) fn meet(&self) {
        self.workers.wait();
    }
}
