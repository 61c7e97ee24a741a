//! What the operators of a run share beside data: counts, failure, interruption.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewatch_dataflows::operators::tally::Counter;
use tidewatch_dataflows::operators::Tally;
use tidewatch_dataflows::EventTime;
use timely::dataflow::ProbeHandle;

use crate::Error;

/// Shared by all workers of a process for one run; clones are the same control.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counts: Counts,
    tally: Arc<Tally>,
    interrupted: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    held: Mutex<BTreeMap<(usize, usize), EventTime>>,
    frozen: Mutex<usize>,
}

/// What ingest counts, over all workers of a process.
#[derive(Debug)]
pub struct Counts {
    /// Records read, whatever became of them.
    pub records: Counter,
    /// Records behind their partition's watermark.
    pub late: Counter,
    /// Records that could not be decoded, or were dated in the future.
    pub malformed: Counter,
    /// How much has been read, in the unit of [`Source::size`](crate::Source::size).
    pub position: Counter,
    earliest: AtomicI64,
    latest: AtomicI64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            late: Counter::default(),
            malformed: Counter::default(),
            position: Counter::default(),
            earliest: AtomicI64::new(i64::MAX),
            latest: AtomicI64::new(i64::MIN),
        }
    }
}

impl Counts {
    /// Widens the span of event time that was read.
    pub fn saw(&self, earliest: EventTime, latest: EventTime) {
        self.earliest.fetch_min(earliest.micros(), Ordering::Relaxed);
        self.latest.fetch_max(latest.micros(), Ordering::Relaxed);
    }

    /// The earliest and latest event times that were read, if any.
    pub fn span(&self) -> Option<(EventTime, EventTime)> {
        let (earliest, latest) = (self.earliest.load(Ordering::Relaxed), self.latest.load(Ordering::Relaxed));
        (earliest <= latest).then(|| (EventTime::from_micros(earliest), EventTime::from_micros(latest)))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// What a worker thread knows of its run.
struct Local {
    control: Control,
    probes: Vec<ProbeHandle<EventTime>>,
    ingests: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Makes this the control of the dataflows that the current thread builds from now on.
    pub fn install(&self) {
        let local = Local { control: self.clone(), probes: Vec::new(), ingests: 0 };
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

    /// Has the run wait, when it is interrupted, until `probe` has passed what was final.
    pub(crate) fn await_probe(probe: ProbeHandle<EventTime>) {
        CURRENT.with(|current| {
            if let Some(local) = current.borrow_mut().as_mut() {
                local.probes.push(probe);
            }
        });
    }

    /// What ingest counts.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What keyed state counts.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.0.tally
    }

    /// Ends the run with an error; the first one counts.
    pub fn fail(&self, error: Error) {
        lock(&self.0.failure).get_or_insert(error);
        self.0.failed.store(true, Ordering::Release);
    }

    /// Whether the run has failed.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Takes the error that ended the run.
    pub fn take_failure(&self) -> Option<Error> {
        lock(&self.0.failure).take()
    }

    /// Asks the run to stop without finalising what is not final.
    pub fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::Release);
    }

    /// Whether the run should stop: sources then read no further and keep their capabilities.
    pub fn interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::Acquire)
    }

    /// Notes the time at which an ingest operator of a worker holds its least capability; `None` once it has ended.
    pub(crate) fn hold(&self, worker: usize, ingest: usize, watermark: Option<EventTime>) {
        let mut held = lock(&self.0.held);
        match watermark {
            Some(watermark) => held.insert((worker, ingest), watermark),
            None => held.remove(&(worker, ingest)),
        };
    }

    /// The lowest watermark that any ingest operator of the process holds; `None` if all have ended.
    pub fn watermark(&self) -> Option<EventTime> {
        lock(&self.0.held).values().min().copied()
    }

    /// Notes that one more worker has stopped reading for good, because of an interruption or the end of its sources. It
    /// is called between two steps of the worker.
    pub fn freeze(&self) {
        *lock(&self.0.frozen) += 1;
    }

    /// Whether this worker has nothing left to flush, once all `peers` workers are frozen: every egress has
    /// passed the lowest held watermark.
    pub fn drained(&self, peers: usize) -> bool {
        if *lock(&self.0.frozen) < peers {
            return false;
        }
        let watermark = self.watermark();
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
