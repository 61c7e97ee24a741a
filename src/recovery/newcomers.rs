//! Partitions that no run has read yet. They join at a start: so a run that goes on where it stood stops for them, and
//! starts again at once.

use std::collections::BTreeSet;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::{Control, Input};
use tidewatch_dataflows::EventTime;
use tracing::{debug, info, warn};

use super::Plan;
use crate::Error;

/// The partitions of which a plan does not know. The first run reads all from the beginning; to a later one they are new, and
/// their records are late before what may have been committed without them, which is the floor of the plan.
pub(super) fn newcomers(inputs: &[Input], plan: &Plan, at_floor: bool) -> Result<Vec<Position>, Error> {
    let watermark = if plan.positions.is_empty() || !at_floor { EventTime::MIN } else { plan.floor };
    let mut newcomers = Vec::new();
    for input in inputs {
        let source = input.source();
        let is_known = plan.positions.iter().any(|position| position.source == input.name());
        let mut names = source.partitions()?;
        names.sort_unstable();
        names.dedup();
        for name in names.iter().filter(|name| !plan.knows(input.name(), name)) {
            let offset = if is_known { source.joins(name)? } else { source.first(name)? };
            newcomers.push(Position::start(input.name(), name, offset, watermark));
        }
    }
    Ok(newcomers)
}

/// Looks for partitions that appear while a run reads its sources, for as long as this lives.
pub(crate) struct Lookout(
    #[expect(dead_code, reason = "when they are dropped, nobody looks any more")] Vec<Sender<()>>,
);

/// Where partitions are looked for.
struct Look {
    input: Input,
    every: Duration,
    control: Control,
    processes: usize,
    /// Whether the run goes on where it stood when it starts again.
    goes_on: bool,
}

impl Lookout {
    /// Looks in those inputs that can grow. If the run `goes_on` where it stood, it starts again when partitions have appeared;
    /// else they are said, once.
    ///
    /// # Errors
    ///
    /// If a thread cannot be started.
    pub(crate) fn start(
        inputs: &[Input],
        control: &Control,
        processes: usize,
        goes_on: bool,
    ) -> Result<Self, Error> {
        let mut looking = Vec::new();
        for input in inputs {
            let Some(every) = input.source().grows() else { continue };
            let look = Look { input: input.clone(), every, control: control.clone(), processes, goes_on };
            let (sender, over) = channel();
            thread::Builder::new()
                .name("tidewatch-lookout".into())
                .spawn(move || look.until(&over))
                .map_err(|source| Error::Io {
                    what: "a thread that looks for partitions".to_owned(),
                    source,
                })?;
            looking.push(sender);
        }
        Ok(Self(looking))
    }
}

impl Look {
    fn until(&self, over: &Receiver<()>) {
        let mut told = BTreeSet::new();
        while over.recv_timeout(self.every) == Err(RecvTimeoutError::Timeout) {
            // Before that, others may still be finding out where to go on.
            if !self.control.is_open(self.processes) {
                continue;
            }
            let source = self.input.name();
            let found = match self.input.source().partitions() {
                Ok(found) => found,
                Err(error) => {
                    debug!(source, "cannot look for partitions that have appeared: {error}");
                    continue;
                }
            };
            let unknown = self.control.unknown(source, found);
            let appeared: Vec<_> = unknown.into_iter().filter(|name| told.insert(name.clone())).collect();
            if appeared.is_empty() {
                continue;
            }
            let partitions = appeared.join(", ");
            if self.goes_on {
                info!(source, partitions, "partitions have appeared: starts again to read them");
                self.control.start_again();
                return;
            }
            warn!(
                source,
                partitions, "partitions have appeared, which are read when the run is started the next time"
            );
        }
    }
}
