//! What keeps a worker from emitting faster than sinks write.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::scheduling::Activator;

/// How many events a worker may have sent to sinks that they have not taken.
const LIMIT: u64 = 1 << 17;

/// Of one worker: how many events are on their way from it to sinks. Clones are the same.
///
/// Sinks take events as they arrive, and say so when they have written what they could; so a sink that is slow, or its
/// worker, keeps all workers from releasing more. Those who wait are woken.
#[derive(Clone, Default)]
pub struct Pressure(Rc<Shared>);

#[derive(Default)]
struct Shared {
    under_way: Cell<u64>,
    waiting: RefCell<Vec<Rc<Activator>>>,
}

impl Pressure {
    /// Takes note of events that were sent.
    pub fn send(&self, events: u64) {
        self.0.under_way.set(self.0.under_way.get() + events);
    }

    /// Takes note of events that a sink has taken.
    pub fn take(&self, events: u64) {
        self.0.under_way.set(self.0.under_way.get().saturating_sub(events));
        if !self.is_high() {
            self.0.waiting.take().iter().for_each(|waiting| waiting.activate());
        }
    }

    fn is_high(&self) -> bool {
        self.0.under_way.get() >= LIMIT
    }

    /// Whether an operator must wait before it sends more; it is activated when it need not any more.
    pub fn must_wait(&self, operator: &Rc<Activator>) -> bool {
        let high = self.is_high();
        let mut waiting = self.0.waiting.borrow_mut();
        if high && !waiting.iter().any(|known| Rc::ptr_eq(known, operator)) {
            waiting.push(Rc::clone(operator));
        }
        high
    }
}
