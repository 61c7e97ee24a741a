//! How a run is told to stop before its sources have ended: for good, or to start again at once where it stood.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Mutex;

use super::Control;
use crate::lock;

/// That it goes on, that it stops to start again, and that it stops for good: what is more overrules what is less.
const ON: u8 = 0;
const AGAIN: u8 = 1;
const FOR_GOOD: u8 = 2;

/// How a run is to stop.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    how: AtomicU8,
    /// The run that has started in place of this one.
    successor: Mutex<Option<Control>>,
}

impl Control {
    /// Asks the run to stop without finalising what is not final; the one that has started in its place, if there is one.
    pub fn interrupt(&self) {
        self.stop(FOR_GOOD);
        let successor = lock(&self.0.stopping.successor).clone();
        successor.iter().for_each(Self::interrupt);
    }

    /// Asks the run to stop as if it were interrupted, so that it starts again at once; no more than that, if somebody
    /// interrupts it.
    pub fn start_again(&self) {
        self.stop(AGAIN);
    }

    fn stop(&self, how: u8) {
        self.0.stopping.how.fetch_max(how, Ordering::AcqRel);
        self.notify();
    }

    /// Whether the run should stop: sources then read no further and keep their capabilities.
    pub fn interrupted(&self) -> bool {
        self.0.stopping.how.load(Ordering::Acquire) > ON
    }

    /// Whether it stops only to start again.
    pub fn starts_again(&self) -> bool {
        self.0.stopping.how.load(Ordering::Acquire) == AGAIN
    }

    /// The control of the run that starts in place of this one, which has ended: interrupted if this one was.
    pub fn successor(&self) -> Self {
        let successor = Self::default();
        *lock(&self.0.stopping.successor) = Some(successor.clone());
        if self.0.stopping.how.load(Ordering::Acquire) == FOR_GOOD {
            successor.interrupt();
        }
        successor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_interrupts_a_run_that_starts_again_ends_it() {
        let how = |control: &Control| (control.interrupted(), control.starts_again());
        let control = Control::default();
        assert_eq!((false, false), how(&control));
        control.start_again();
        assert_eq!((true, true), how(&control));
        let next = control.successor();
        assert_eq!((false, false), how(&next));
        control.interrupt();
        assert_eq!([(true, false); 2], [how(&control), how(&next)]);
        control.start_again();
        assert_eq!([(true, false); 2], [how(&control), how(&control.successor())]);
    }

    #[test]
    fn processes_start_again_together_unless_one_is_interrupted() {
        let (one, two) = (Control::default(), Control::default());
        one.start_again();
        two.hear(0, one.bulletin());
        assert!(two.starts_again());
        two.interrupt();
        one.hear(1, two.bulletin());
        assert!(one.interrupted() && !one.starts_again());
    }
}
