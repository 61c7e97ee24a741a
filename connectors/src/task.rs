//! Work that blocks, on threads of its own: a worker never waits for a store or a broker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Control, Error};

/// How long a thread sleeps at most before it looks whether the run was interrupted.
const LOOK: Duration = Duration::from_millis(50);

/// Work that comes up now and then, done one piece after another.
///
/// It looks at no clock: whoever drives it says what time it is, a thread or a simulation.
pub trait Task: Send {
    /// Does one piece if there is anything to do. `now` is the time since any fixed instant; in `haste`, because the run is
    /// interrupted, nothing waits that can be done.
    ///
    /// # Errors
    ///
    /// What ends the run; the task must not be used any more.
    fn step(&mut self, now: Duration, haste: bool) -> Result<Next, Error>;

    /// Waits until something has come that is in haste, but no longer than `limit`.
    fn wait(&mut self, limit: Duration);
}

/// When a [`Task`] has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Now,
    /// At this time, or when something comes.
    At(Duration),
    /// When something comes.
    Idle,
    /// Never again.
    Done,
}

/// The thread of a task.
#[derive(Debug)]
pub struct Spawned {
    control: Control,
    thread: JoinHandle<()>,
    has_ended: Arc<AtomicBool>,
}

impl Control {
    /// Starts a thread that does the work of a task as it comes up, until it is done or the run has failed; an error of the
    /// task ends the run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the thread cannot be started.
    pub fn spawn(&self, name: &str, task: impl Task + 'static) -> Result<Spawned, Error> {
        let (control, has_ended) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let (ticket, ends) = (self.announce(name), has_ended.clone());
        let run = move || {
            let _entered = ticket.enter();
            drive(task, &control);
            ends.store(true, Ordering::Release);
        };
        let thread = thread::Builder::new().name(format!("tidewatch-{name}")).spawn(run);
        let thread = thread.map_err(Error::io(format!("the thread \"{name}\"")))?;
        Ok(Spawned { control: self.clone(), thread, has_ended })
    }
}

impl Spawned {
    /// Waits until the thread has ended.
    pub fn join(self) {
        while self.control.scheduler().is_some() && !self.has_ended.load(Ordering::Acquire) {
            self.control.rest(LOOK, |_| {});
        }
        self.thread.join().expect("a panic ends the process");
    }
}

fn drive(mut task: impl Task, control: &Control) {
    let start = control.now();
    let elapsed = || control.now().duration_since(start);
    while !control.failed() {
        let limit = match task.step(elapsed(), control.interrupted()) {
            Ok(Next::Now) => Duration::ZERO,
            Ok(Next::At(time)) => time.saturating_sub(elapsed()).min(LOOK),
            Ok(Next::Idle) => LOOK,
            Ok(Next::Done) => return,
            Err(error) => return control.fail(error),
        };
        control.rest(limit, |limit| task.wait(limit));
    }
}

/// What comes to a task, in order.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
    next: Option<T>,
    is_closed: bool,
}

/// Makes an inbox, and what things are sent to it with; it is closed when the last sender is dropped.
pub fn inbox<T>() -> (mpsc::Sender<T>, Inbox<T>) {
    let (sender, receiver) = mpsc::channel();
    (sender, Inbox { receiver, next: None, is_closed: false })
}

impl<T> Inbox<T> {
    /// Looks at what comes next, if it is there.
    pub fn peek(&mut self) -> Option<&T> {
        if self.next.is_none() {
            self.next = self
                .receiver
                .try_recv()
                .map_err(|error| self.is_closed = error == TryRecvError::Disconnected)
                .ok();
        }
        self.next.as_ref()
    }

    /// Takes what comes next, if it is there and `wanted`.
    pub fn take_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        self.peek().is_some_and(wanted).then(|| self.next.take()).flatten()
    }

    /// What a task with nothing left to do says: that it waits for more, or that there will never be any.
    pub fn rest(&self) -> Next {
        match self.is_closed {
            true => Next::Done,
            false => Next::Idle,
        }
    }

    /// Waits until something has come or nothing will, but no longer than `limit`.
    pub fn wait(&mut self, limit: Duration) {
        if self.next.is_none() {
            match self.receiver.recv_timeout(limit) {
                Ok(next) => self.next = Some(next),
                Err(error) => self.is_closed = error == RecvTimeoutError::Disconnected,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::lock;

    /// Adds up what comes, and fails at zero.
    struct Sum {
        numbers: Inbox<u64>,
        sum: Arc<Mutex<u64>>,
    }

    impl Task for Sum {
        fn step(&mut self, _now: Duration, _haste: bool) -> Result<Next, Error> {
            match self.numbers.take_if(|_| true) {
                Some(0) => Err(Error::Configuration("zero".to_owned())),
                Some(number) => {
                    *lock(&self.sum) += number;
                    Ok(Next::Now)
                }
                None => Ok(self.numbers.rest()),
            }
        }

        fn wait(&mut self, limit: Duration) {
            self.numbers.wait(limit);
        }
    }

    fn sum(numbers: &[u64]) -> (Control, u64) {
        let (control, sum, (sender, inbox)) = (Control::default(), Arc::default(), inbox());
        let spawned = control.spawn("sum", Sum { numbers: inbox, sum: Arc::clone(&sum) }).unwrap();
        numbers.iter().for_each(|number| {
            // It may have failed by then.
            let _ = sender.send(*number);
        });
        drop(sender);
        spawned.join();
        let sum = *lock(&sum);
        (control, sum)
    }

    #[test]
    fn a_task_does_all_that_has_come_before_it_ends() {
        let (control, sum) = sum(&[1, 2, 3, 4]);
        assert_eq!((10, false), (sum, control.failed()));
    }

    #[test]
    fn an_error_of_a_task_ends_the_run() {
        let (control, sum) = sum(&[1, 0, 3]);
        assert_eq!((1, "zero".to_owned()), (sum, control.take_failure().unwrap().to_string()));
    }
}
