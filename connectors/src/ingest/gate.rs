//! Whether a worker may read on, or must wait for those who take its rows (`operators/credits.rs` has the protocol).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidewatch_dataflows::operators::credits::{self, News, Told};
use tidewatch_dataflows::EventTime;

/// What a worker knows of those who take its rows.
pub(super) struct Gate {
    dictionary: u32,
    window: u64,
    sent: u64,
    consumers: Rc<Cell<usize>>,
    accepted: Vec<u64>,
    /// What waits, and how much may, by consumer and worker.
    waiting: BTreeMap<(usize, u64), (u64, u64)>,
    /// The greatest frontier that a consumer has told.
    frontier: EventTime,
}

/// What may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// Whatever there is.
    Everything,
    /// What holds the frontier back at or before this time; past the limit, it cannot be read either.
    Holders {
        /// The frontier.
        frontier: EventTime,
        /// The bytes that wait, if they are more than the limit, which is the other number.
        over: Option<(u64, u64)>,
    },
    /// Nothing: rows in channels have not been accepted.
    Nothing,
}

impl Gate {
    /// A gate for the rows of a dictionary with `width` values, which so many consumers take.
    pub(super) fn new(dictionary: u32, width: usize, consumers: Rc<Cell<usize>>) -> Self {
        Self {
            dictionary,
            window: credits::window(width),
            sent: 0,
            consumers,
            accepted: Vec::new(),
            waiting: BTreeMap::new(),
            frontier: EventTime::MIN,
        }
    }

    pub(super) fn hear(&mut self, (consumer, notice): Told) {
        match notice.news {
            News::Accepted { dictionary, rows } if dictionary == self.dictionary => {
                if self.accepted.len() <= consumer {
                    self.accepted.resize(consumer + 1, 0);
                }
                self.accepted[consumer] += rows;
            }
            // Another ingest operator's.
            News::Accepted { .. } => {}
            News::Waiting { at, bytes, limit, frontier } => {
                self.waiting.insert((consumer, at), (bytes, limit));
                self.frontier = self.frontier.max(frontier);
            }
        }
    }

    pub(super) fn send(&mut self, rows: usize) {
        self.sent += rows as u64;
    }

    /// What may be read, `batch` records at a time.
    pub(super) fn allows(&self, batch: usize) -> Allowance {
        let consumers = self.consumers.get();
        let accepted = |consumer| self.accepted.get(consumer).copied().unwrap_or(0);
        let under_way = (0..consumers).map(|consumer| self.sent - accepted(consumer)).max().unwrap_or(0);
        // Whole batches only, and one of any size if none is under way.
        if under_way > 0 && under_way + batch as u64 > self.window {
            return Allowance::Nothing;
        }
        let fullest = (0..consumers).map(|consumer| {
            let waiting = self.waiting.range((consumer, 0)..=(consumer, u64::MAX));
            waiting.fold((0, 0), |(bytes, _), (_, (more, limit))| (bytes + more, *limit))
        });
        match fullest.max() {
            Some((bytes, limit)) if bytes > 0 && bytes >= limit / 2 => Allowance::Holders {
                frontier: self.frontier,
                over: (bytes >= limit).then_some((bytes, limit)),
            },
            _ => Allowance::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::operators::credits::Notice;

    use super::*;

    fn gate(consumers: usize) -> Gate {
        Gate::new(5, 1, Rc::new(Cell::new(consumers)))
    }

    fn accepted(gate: &mut Gate, consumer: usize, dictionary: u32, rows: u64) {
        gate.hear((consumer, Notice { to: 0, news: News::Accepted { dictionary, rows } }));
    }

    fn waiting(gate: &mut Gate, at: u64, bytes: u64, frontier: i64) {
        let frontier = EventTime::from_micros(frontier);
        gate.hear((0, Notice { to: 0, news: News::Waiting { at, bytes, limit: 100, frontier } }));
    }

    #[test]
    fn a_window_of_rows_goes_ahead_of_the_slowest_consumer() {
        let window = credits::window(1);
        let mut gate = gate(2);
        gate.send(window as usize);
        assert_eq!(Allowance::Nothing, gate.allows(1));
        accepted(&mut gate, 0, 5, window);
        accepted(&mut gate, 1, 4, window);
        assert_eq!(Allowance::Nothing, gate.allows(1), "the other has accepted nothing of this dictionary");
        accepted(&mut gate, 1, 5, 10);
        assert_eq!((Allowance::Everything, Allowance::Nothing), (gate.allows(10), gate.allows(11)));
    }

    #[test]
    fn rows_that_nobody_takes_need_no_credit() {
        let mut gate = gate(0);
        gate.send(usize::MAX);
        assert_eq!(Allowance::Everything, gate.allows(1));
    }

    #[test]
    fn past_half_the_limit_only_the_holders_of_the_frontier_are_read() {
        let mut gate = gate(1);
        waiting(&mut gate, 0, 49, 3);
        assert_eq!(Allowance::Everything, gate.allows(1));
        waiting(&mut gate, 1, 1, 2);
        let frontier = EventTime::from_micros(3);
        assert_eq!(Allowance::Holders { frontier, over: None }, gate.allows(1));
        waiting(&mut gate, 1, 51, 2);
        assert_eq!(Allowance::Holders { frontier, over: Some((100, 100)) }, gate.allows(1));
        waiting(&mut gate, 0, 0, 4);
        waiting(&mut gate, 1, 0, 4);
        assert_eq!(Allowance::Everything, gate.allows(1));
    }
}
