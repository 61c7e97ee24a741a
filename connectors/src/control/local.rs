//! What a worker thread knows of its run: operators find it while they are built.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tidewatch_dataflows::flow::Pressure;
use tidewatch_dataflows::EventTime;
use timely::dataflow::ProbeHandle;
use timely::scheduling::Activator;

use super::Control;
use crate::ingest::{Positions, Table};

thread_local! {
    static CURRENT: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// What a worker thread knows of its run.
struct Local {
    control: Control,
    probes: Vec<ProbeHandle<EventTime>>,
    ingests: usize,
    pressure: Pressure,
    /// Of each dataflow, by its number.
    standings: BTreeMap<usize, Table>,
    positions: BTreeMap<usize, Positions>,
    /// Who is to be activated when, in a simulation.
    alarms: Vec<(Instant, Activator)>,
}

impl Control {
    /// Makes this the control of the dataflows that the current thread builds from now on.
    pub fn install(&self) {
        self.0.start.get_or_init(|| self.now());
        self.0.workers.fetch_add(1, Ordering::Relaxed);
        let local = Local {
            control: self.clone(),
            probes: Vec::new(),
            ingests: 0,
            pressure: Pressure::default(),
            standings: BTreeMap::new(),
            positions: BTreeMap::new(),
            alarms: Vec::new(),
        };
        CURRENT.with(|current| *current.borrow_mut() = Some(local));
    }

    /// The control that this thread's dataflows share; a new one, if nobody runs them.
    pub fn current() -> Self {
        CURRENT
            .with(|current| current.borrow().as_ref().map(|local| local.control.clone()).unwrap_or_default())
    }

    /// A number for an ingest operator, the same on every worker that builds the same dataflows.
    pub(crate) fn next_ingest() -> usize {
        CURRENT.with(|current| {
            current.borrow_mut().as_mut().map_or(0, |local| {
                local.ingests += 1;
                local.ingests
            })
        })
    }

    /// What is on its way from this worker to sinks.
    pub(crate) fn pressure() -> Pressure {
        CURRENT
            .with(|current| current.borrow().as_ref().map(|local| local.pressure.clone()).unwrap_or_default())
    }

    /// How the partitions of a dataflow of this worker stand.
    pub(crate) fn standings(dataflow: usize) -> Table {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            current
                .as_mut()
                .map(|local| local.standings.entry(dataflow).or_default().clone())
                .unwrap_or_default()
        })
    }

    /// Where the partitions stand that this worker reads into a dataflow, if its sources were told from where to go on.
    pub fn positions(dataflow: usize) -> Positions {
        CURRENT.with(|current| {
            let mut current = current.borrow_mut();
            current
                .as_mut()
                .map(|local| local.positions.entry(dataflow).or_default().clone())
                .unwrap_or_default()
        })
    }

    /// Has an operator of this worker activated when [`sound_alarms`](Self::sound_alarms) is told that it is time.
    pub(super) fn note_alarm(time: Instant, activator: &Activator) {
        CURRENT.with(|current| {
            if let Some(local) = current.borrow_mut().as_mut() {
                local.alarms.push((time, activator.clone()));
            }
        });
    }

    /// Activates the operators of this worker whose time has come.
    pub(super) fn sound_alarms(now: Instant) {
        CURRENT.with(|current| {
            if let Some(local) = current.borrow_mut().as_mut() {
                local.alarms.retain(|(time, activator)| {
                    let is_due = *time <= now;
                    if is_due {
                        activator.activate();
                    }
                    !is_due
                });
            }
        });
    }

    /// Has the run wait, when it is interrupted, until `probe` has passed what was final.
    pub fn await_probe(probe: ProbeHandle<EventTime>) {
        CURRENT.with(|current| {
            if let Some(local) = current.borrow_mut().as_mut() {
                local.probes.push(probe);
            }
        });
    }

    /// Whether every egress of this worker has passed `watermark`, or its end if there is none.
    pub(super) fn have_probes_passed(watermark: Option<EventTime>) -> bool {
        CURRENT.with(|current| {
            current.borrow().as_ref().is_none_or(|local| {
                local.probes.iter().all(|probe| match watermark {
                    Some(watermark) => !probe.less_than(&watermark),
                    None => probe.done(),
                })
            })
        })
    }
}
