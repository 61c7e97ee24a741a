//! Whether a worker may read on, or must wait for those who take its rows (`flow/credits.rs` has the protocol), or for
//! the watermarks under which it has rejected records, which wait for them in sinks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidewatch_dataflows::flow::credits::{self, News, Told};
use tidewatch_dataflows::EventTime;

use crate::Control;

/// What a worker knows of those who take its rows.
pub(super) struct Gate {
    dictionary: u32,
    window: u64,
    batch: u64,
    sent: u64,
    consumers: Rc<Cell<usize>>,
    accepted: Vec<u64>,
    /// What waits, how much may, and for which frontier, by consumer and worker.
    waiting: BTreeMap<(usize, u64), (u64, u64, EventTime)>,
    peers: u64,
    /// Bytes of rejected records that may wait in sinks, at all workers together.
    ahead: u64,
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
    /// A gate for the rows of a dictionary with `width` values, read `batch` at a time, which so many consumers take, each on
    /// all `peers` workers; `ahead` bytes of records that are rejected may wait at all of these.
    pub(super) fn new(
        dictionary: u32,
        width: usize,
        batch: usize,
        consumers: Rc<Cell<usize>>,
        peers: usize,
        ahead: usize,
    ) -> Self {
        Self {
            ahead: ahead as u64,
            dictionary,
            peers: peers as u64,
            window: credits::window(width, batch, peers, ahead),
            batch: batch as u64,
            sent: 0,
            consumers,
            accepted: Vec::new(),
            waiting: BTreeMap::new(),
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
                self.waiting.insert((consumer, at), (bytes, limit, frontier));
            }
        }
    }

    pub(super) fn send(&mut self, rows: usize) {
        self.sent += rows as u64;
    }

    /// How many bytes of rejected records may wait in sinks because of this process: its workers' share.
    fn limit(&self, control: &Control) -> u64 {
        (u128::from(self.ahead) * control.workers().max(1) as u128 / u128::from(self.peers)) as u64
    }

    /// Whether too much of what was rejected waits, which nobody tells when it no longer does.
    pub(super) fn is_held_by_rejected(&self, control: &Control) -> bool {
        control.kept() > self.limit(control) / 2
    }

    /// What may be read.
    pub(super) fn allows(&mut self, control: &Control) -> Allowance {
        if self.is_held_by_rejected(control) {
            let frontier = control.watermark().unwrap_or(EventTime::MAX).floor_ms();
            let (bytes, limit) = (control.kept_from(frontier), self.limit(control));
            if self.is_held_by_rejected(control) {
                return Allowance::Holders { frontier, over: (bytes >= limit).then_some((bytes, limit)) };
            }
        }
        let consumers = self.consumers.get();
        let accepted = |consumer| self.accepted.get(consumer).copied().unwrap_or(0);
        let under_way = (0..consumers).map(|consumer| self.sent - accepted(consumer)).max().unwrap_or(0);
        // Whole batches only, and one of any size if none is under way.
        if under_way > 0 && under_way + self.batch > self.window {
            return Allowance::Nothing;
        }
        let of =
            |consumer| self.waiting.range((consumer, 0)..=(consumer, u64::MAX)).map(|(_, waiting)| *waiting);
        let sum = |consumer| of(consumer).fold((0, 0), |(bytes, _), (more, limit, _)| (bytes + more, limit));
        let fullest = (0..consumers).map(|consumer| (sum(consumer), consumer)).max();
        let Some(((bytes, limit), consumer)) =
            fullest.filter(|((bytes, limit), _)| *bytes > 0 && *bytes >= limit / 2)
        else {
            return Allowance::Everything;
        };
        // Those with their share of what waits tell each step; one of them that is behind, as its sink is, counts.
        let full = of(consumer).filter(|(bytes, limit, _)| *bytes >= limit / 2 / self.peers);
        let frontier = full.map(|(.., frontier)| frontier).min().unwrap_or(EventTime::MIN);
        Allowance::Holders { frontier, over: (bytes >= limit).then_some((bytes, limit)) }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::flow::credits::Notice;

    use super::*;

    fn gate(consumers: usize) -> Gate {
        Gate::new(5, 1, 10, Rc::new(Cell::new(consumers)), 2, 2_000)
    }

    fn allowed(gate: &mut Gate) -> Allowance {
        gate.allows(&Control::default())
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
        let mut gate = gate(2);
        gate.send(gate.window as usize);
        assert_eq!(Allowance::Nothing, allowed(&mut gate));
        let window = gate.window;
        accepted(&mut gate, 0, 5, window);
        accepted(&mut gate, 1, 4, window);
        assert_eq!(
            Allowance::Nothing,
            allowed(&mut gate),
            "the other has accepted nothing of this dictionary"
        );
        accepted(&mut gate, 1, 5, 9);
        assert_eq!(Allowance::Nothing, allowed(&mut gate), "a batch has ten");
        accepted(&mut gate, 1, 5, 1);
        assert_eq!(Allowance::Everything, allowed(&mut gate));
    }

    #[test]
    fn rows_that_nobody_takes_need_no_credit() {
        let mut gate = gate(0);
        gate.send(usize::MAX);
        assert_eq!(Allowance::Everything, allowed(&mut gate));
    }

    #[test]
    fn past_half_the_limit_only_the_holders_of_the_frontier_are_read() {
        let mut gate = gate(1);
        waiting(&mut gate, 0, 49, 3);
        assert_eq!(Allowance::Everything, allowed(&mut gate));
        waiting(&mut gate, 1, 1, 2);
        let frontier = EventTime::from_micros(3);
        assert_eq!(
            Allowance::Holders { frontier, over: None },
            allowed(&mut gate),
            "what is told of few is out of date"
        );
        waiting(&mut gate, 0, 60, 5);
        waiting(&mut gate, 1, 30, 3);
        assert_eq!(Allowance::Holders { frontier, over: None }, allowed(&mut gate));
        waiting(&mut gate, 1, 40, 3);
        assert_eq!(Allowance::Holders { frontier, over: Some((100, 100)) }, allowed(&mut gate));
        waiting(&mut gate, 0, 0, 4);
        waiting(&mut gate, 1, 0, 4);
        assert_eq!(Allowance::Everything, allowed(&mut gate));
    }

    #[test]
    fn what_was_rejected_waits_for_its_watermark() {
        let (mut gate, control) = (gate(0), Control::default());
        control.install();
        let at = EventTime::from_micros;
        control.hold(0, 1, Some(at(5_000)));
        control.keep(at(4_000), 5_000);
        assert_eq!(Allowance::Everything, gate.allows(&control), "that is written");
        control.keep(at(5_000), 600);
        assert!(gate.is_held_by_rejected(&control));
        assert_eq!(Allowance::Holders { frontier: at(5_000), over: None }, gate.allows(&control));
        control.keep(at(6_000), 400);
        let over = Some((1_000, 1_000));
        assert_eq!(Allowance::Holders { frontier: at(5_000), over }, gate.allows(&control));
        control.hold(0, 1, Some(at(6_000)));
        assert_eq!(Allowance::Everything, gate.allows(&control));
    }

    #[test]
    fn the_workers_of_a_process_share_what_may_be_rejected() {
        let (mut gate, control) = (gate(0), Control::default());
        control.install();
        std::thread::scope(|scope| scope.spawn(|| control.install()).join()).expect("it does not panic");
        let at = EventTime::from_micros(5_000);
        control.hold(0, 1, Some(at));
        control.keep(at, 1_999);
        assert_eq!(Allowance::Holders { frontier: at, over: None }, gate.allows(&control));
        control.keep(at, 1);
        assert_eq!(Allowance::Holders { frontier: at, over: Some((2_000, 2_000)) }, gate.allows(&control));
    }
}
