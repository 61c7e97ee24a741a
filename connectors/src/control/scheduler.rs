//! What runs when: the threads and the clock of the machine, or those of a simulation.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use timely::scheduling::Activator;
use timely::worker::Worker;

use super::{Control, Rule};
use crate::lock;

/// Has the threads of a run take turns, in a time of its own, as a simulation does.
///
/// It is a thread's turn from the return of [`enter`](Self::enter) or [`pause`](Self::pause) until it calls `pause` or
/// [`leave`](Self::leave). A thread that waits for others pauses again and again.
pub trait Scheduler: Debug + Send + Sync {
    /// What time it is.
    fn now(&self) -> Instant;

    /// Takes note of a thread that is about to be started, and gives it a number.
    fn announce(&self, name: &str) -> usize;

    /// Begins to run the thread that calls this, which has this number; returns at its first turn.
    fn enter(&self, thread: usize);

    /// Ends the turn of the thread that calls this, and returns at its next one. It has nothing to do before `limit` has
    /// passed, unless others give it something; its turn may come sooner all the same.
    fn pause(&self, limit: Duration);

    /// The thread that calls this takes no turn any more.
    fn leave(&self);
}

impl Control {
    /// The control of a run whose threads take turns, and that obeys all rules but `broken`.
    pub fn simulated(scheduler: Arc<dyn Scheduler>, broken: Option<Rule>) -> Self {
        Self(Arc::new(super::Shared { scheduler: Some(scheduler), broken, ..super::Shared::default() }))
    }

    pub(crate) fn scheduler(&self) -> Option<&Arc<dyn Scheduler>> {
        self.0.scheduler.as_ref()
    }

    /// What time it is, for whoever decides by a clock.
    pub fn now(&self) -> Instant {
        self.scheduler().map_or_else(Instant::now, |scheduler| scheduler.now())
    }

    /// Has this thread do nothing for as long as `limit`, or until `wait` returns, which is given that limit.
    pub fn rest(&self, limit: Duration, wait: impl FnOnce(Duration)) {
        match self.scheduler() {
            Some(scheduler) => scheduler.pause(limit),
            None if limit.is_zero() => {}
            None => wait(limit),
        }
    }

    /// Activates an operator of this thread's worker after so long.
    pub fn activate_after(&self, activator: &Activator, delay: Duration) {
        match self.scheduler() {
            Some(scheduler) => Self::note_alarm(scheduler.now() + delay, activator),
            None => activator.activate_after(delay),
        }
    }

    /// Has this thread's worker take a step, and then wait no longer than `limit` until there is something to do.
    pub fn step(&self, worker: &mut Worker, limit: Duration) {
        match self.scheduler() {
            Some(scheduler) => {
                Self::sound_alarms(scheduler.now());
                worker.step();
                scheduler.pause(limit);
            }
            None => drop(worker.step_or_park(Some(limit))),
        }
    }

    /// Calls `act` with each of `items` at the same time, on threads of their own; returns what it has returned, in order.
    pub(crate) fn at_once<I: Send, T: Send>(
        &self,
        items: impl Iterator<Item = I>,
        act: impl Fn(I) -> T + Sync,
    ) -> Vec<T> {
        if self.scheduler().is_some() {
            return items.map(act).collect();
        }
        let act = &act;
        thread::scope(|scope| {
            let threads: Vec<_> = items.map(|item| scope.spawn(move || act(item))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
        })
    }

    /// Announces a thread that is about to be started.
    pub fn announce(&self, name: &str) -> Ticket {
        Ticket(self.scheduler().map(|scheduler| (scheduler.clone(), scheduler.announce(name))))
    }
}

/// With what a thread of a run begins.
#[derive(Debug)]
pub struct Ticket(Option<(Arc<dyn Scheduler>, usize)>);

impl Ticket {
    /// Called first by the thread, which takes part until what is returned is dropped.
    pub fn enter(&self) -> Entered {
        Entered(self.0.as_ref().map(|(scheduler, thread)| {
            scheduler.enter(*thread);
            scheduler.clone()
        }))
    }
}

/// A thread that takes part in a run.
#[derive(Debug)]
pub struct Entered(Option<Arc<dyn Scheduler>>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(scheduler) = &self.0 {
            scheduler.leave();
        }
    }
}

/// Where so many threads of a run wait for each other, any number of times.
#[derive(Debug)]
pub struct Meeting {
    of: usize,
    come: Mutex<usize>,
    all: Condvar,
}

impl Meeting {
    /// Of so many threads.
    pub fn of(threads: usize) -> Self {
        Self { of: threads, come: Mutex::default(), all: Condvar::new() }
    }

    /// Waits until all have come; `true` for the last one of them.
    pub fn meet(&self, control: &Control) -> bool {
        let mut come = lock(&self.come);
        *come += 1;
        let (is_last, all) = (come.is_multiple_of(self.of), come.div_ceil(self.of) * self.of);
        self.all.notify_all();
        while *come < all {
            match control.scheduler() {
                Some(scheduler) => {
                    drop(come);
                    scheduler.pause(Duration::MAX);
                    come = lock(&self.come);
                }
                None => come = self.all.wait(come).unwrap_or_else(PoisonError::into_inner),
            }
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_on_before_all_have_come() {
        let (meeting, control) = (Meeting::of(3), Control::default());
        let passed = Mutex::new(0);
        let last = control.at_once(0..3, |_| {
            let mut last = 0;
            for round in 0..20 {
                last += usize::from(meeting.meet(&control));
                assert!((3 * round..=3 * round + 2).contains(&*lock(&passed)), "round {round}");
                *lock(&passed) += 1;
                meeting.meet(&control);
            }
            last
        });
        assert_eq!(20, last.into_iter().sum::<usize>(), "one of them is the last, each time");
    }
}
