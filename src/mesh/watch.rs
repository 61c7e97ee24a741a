//! What a process knows of the others, tells them, and does when one is lost.
//!
//! Membership is static, so the loss of one process ends them all. Whoever notices it first tells the others before it
//! goes, so that nobody takes the messenger for the cause.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidewatch_connectors::{Bulletin, Control};

use super::{lock, Member, LOST};
use crate::error::exit_code_of;

/// How long those who know of a loss have to tell the others.
const TELL: Duration = Duration::from_millis(200);
/// How long the processes have to end together after an error.
const END: Duration = Duration::from_secs(4);

/// How a connection was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Loss {
    /// The process closed it, or its kernel did.
    Closed,
    /// Something else, in words.
    Broken(String),
}

/// Why the run must end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reason {
    /// An error that the process itself reports, with its exit code.
    Error(u8, String),
    /// It is gone, or cannot be heard.
    Lost(Loss),
}

/// The process that is the reason why the run must end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) process: usize,
    pub(super) reason: Reason,
}

/// What goes to the other processes, at least every second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    bulletin: Bulletin,
    failed: Option<Failed>,
    /// Whether its workers have ended, so that nothing follows.
    pub(super) last: bool,
}

/// How a run ended, by the last reports of all processes: the same for each of them.
pub(super) struct Departure {
    pub(super) interrupted: bool,
    /// Whether all that were interrupted were so only to start again.
    pub(super) starts_again: bool,
    /// The process with an error; the first one, if several have one.
    pub(super) failed: Option<Failed>,
}

pub(super) struct Watch {
    me: usize,
    addresses: Vec<String>,
    supervisor: Option<u32>,
    control: Control,
    /// The first reason that is known here, and since when.
    failed: Mutex<Option<(Failed, Instant)>>,
    /// The last reports, of this process too.
    last: Mutex<BTreeMap<usize, Report>>,
    ending: AtomicBool,
    over: AtomicBool,
}

impl Watch {
    pub(super) fn new(member: &Member, control: &Control) -> Self {
        Self {
            me: member.index,
            addresses: member.addresses.clone(),
            supervisor: member.supervisor,
            control: control.clone(),
            failed: Mutex::default(),
            last: Mutex::default(),
            ending: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn control(&self) -> &Control {
        &self.control
    }

    /// What to tell the others now.
    pub(super) fn report(&self) -> Report {
        if let Some(last) = lock(&self.last).get(&self.me) {
            return last.clone();
        }
        self.note_own_failure();
        let failed = lock(&self.failed).as_ref().map(|(failed, _)| failed.clone());
        Report { bulletin: self.control.bulletin(), failed, last: false }
    }

    /// The same, without saying yet that it is the last one.
    pub(super) fn interim(&self) -> Report {
        Report { last: false, ..self.report() }
    }

    pub(super) fn hear(&self, process: usize, report: Report) {
        self.control.hear(process, report.bulletin.clone());
        if let Some(failed) = &report.failed {
            self.fail(failed.clone());
        }
        if report.last {
            lock(&self.last).insert(process, report);
        }
    }

    /// Notes that the workers of this process have ended, with an error or without.
    pub(super) fn finish(&self, error: Option<(u8, String)>) {
        let own = error.map(|(code, text)| Failed { process: self.me, reason: Reason::Error(code, text) });
        if let Some(own) = &own {
            self.fail(own.clone());
        }
        let failed = own.or_else(|| lock(&self.failed).as_ref().map(|(failed, _)| failed.clone()));
        let last = Report { bulletin: self.control.bulletin(), failed, last: true };
        lock(&self.last).insert(self.me, last);
        self.control.notify();
    }

    /// How the run ended, once every process has said its last.
    pub(super) fn departure(&self) -> Departure {
        let last = lock(&self.last);
        let interrupted = || last.values().filter(|report| report.bulletin.interrupted);
        Departure {
            interrupted: interrupted().next().is_some(),
            starts_again: interrupted().next().is_some()
                && interrupted().all(|report| report.bulletin.starts_again),
            failed: last
                .values()
                .filter_map(|report| report.failed.clone())
                .min_by_key(|failed| failed.process),
        }
    }

    /// Looks for what nobody reports: that the supervisor is gone, or that the others do not end.
    pub(super) fn look(&self) {
        if let Some(supervisor) = self.supervisor {
            if std::os::unix::process::parent_id() != supervisor {
                self.end(
                    1,
                    (self.me == 0).then(|| "the process that supervises this one is gone".to_owned()),
                );
            }
        }
        let overdue = lock(&self.failed).clone().filter(|(_, since)| since.elapsed() > END);
        if let Some((failed, _)) = overdue {
            self.end_because(&failed);
        }
    }

    /// Ends this process because of a lost connection, unless it is over anyway.
    pub(super) fn lost(&self, process: usize, loss: Loss) -> ! {
        if self.over.load(Ordering::Acquire) {
            sleep_for_ever();
        }
        self.fail(Failed { process, reason: Reason::Lost(loss) });
        std::thread::sleep(TELL);
        let failed = lock(&self.failed).clone();
        let (failed, _) = failed.expect("one has just been noted");
        self.end_because(&failed)
    }

    /// Lets the threads of the connections go.
    pub(super) fn close(&self) {
        self.over.store(true, Ordering::Release);
        self.control.notify();
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn fail(&self, failed: Failed) {
        lock(&self.failed).get_or_insert((failed, Instant::now()));
        self.control.abandon();
    }

    fn note_own_failure(&self) {
        if let Some((code, text)) = self.control.failure(|error| (exit_code_of(error), error.to_string())) {
            let failed = Failed { process: self.me, reason: Reason::Error(code, text) };
            lock(&self.failed).get_or_insert((failed, Instant::now()));
        }
    }

    /// Ends this process, without its workers.
    fn end_because(&self, failed: &Failed) -> ! {
        let name = super::name(failed.process, &self.addresses);
        // Of supervised processes, whose messages all go to one place, one speaks for all.
        let speaks = self.supervisor.is_none() || self.me == usize::from(failed.process == 0);
        match &failed.reason {
            Reason::Error(code, text) if failed.process == self.me => {
                self.end(*code, (*code != 0).then(|| text.clone()))
            }
            Reason::Error(code, text) => {
                let told = self.supervisor.is_some() || *code == 0;
                self.end(*code, (!told).then(|| format!("{name}: {text}")))
            }
            // The supervisor knows how it ended.
            Reason::Lost(Loss::Closed) if self.supervisor.is_some() => self.end(LOST, None),
            Reason::Lost(Loss::Closed) => self
                .end(1, Some(format!("{name} is lost: it closed its connection before the end of the run"))),
            Reason::Lost(Loss::Broken(how)) => self.end(1, speaks.then(|| format!("{name} is lost: {how}"))),
        }
    }

    fn end(&self, code: u8, message: Option<String>) -> ! {
        // Of several threads that notice, one ends the process.
        if self.ending.swap(true, Ordering::AcqRel) {
            sleep_for_ever();
        }
        if let Some(message) = message {
            crate::log::complain(&message);
        }
        crate::exit::exit(code.into())
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
