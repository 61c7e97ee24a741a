//! What keeps sources from running ahead of keyed state: timely's channels have no bound of their own.
//!
//! **Protocol.** Keyed state *accepts* rows when it takes them from the channel into its buffer, and says so to the
//! worker that sent them, which keeps no more than a window of rows unaccepted. It accepts them as they arrive, never as
//! they are released: a source must not wait for a frontier that it holds back itself. But while it is behind the frontier that
//! it has, because it is slow itself or those after it are, it accepts nothing. It also says how much waits in its buffer
//! and which frontier that waits for. Past half the limit, sources read only what holds this frontier back;
//! past the limit, the run ends with an error.
//!
//! The notices travel against the direction of the rows, with empty stamps, into an input that is connected to no output: they
//! cannot hold time back. Rows may have several consumers; a source waits for the slowest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;

use super::ports::{port, Port};
use crate::EventTime;

/// How many bytes of rows a source worker may have in channels, at most.
const WINDOW: usize = 4 << 20;
/// How many rows are accepted before their sender is told.
const ACCEPTED: u64 = 256;

/// How many rows may wait at all workers together, whatever their bytes: with those in channels fewer than a buffer can tell
/// apart, should all of them come to one worker and have one time.
const ROWS: usize = 3 << 26;

/// How many bytes of rows of `width` values may wait at all workers together, if it should be `ahead`.
fn limit(width: usize, ahead: usize) -> usize {
    ahead.min(row_bytes(width).saturating_mul(ROWS))
}

/// How many bytes a row of `width` values occupies while it waits.
pub fn row_bytes(width: usize) -> usize {
    16 + size_of::<f64>() * width
}

/// How many rows of `width` values a worker that reads `batch` at a time may have in channels, if `ahead` bytes may wait at all
/// `peers` workers: in total not more than a quarter of that, but enough for what is accepted and not yet told.
pub fn window(width: usize, batch: usize, peers: usize, ahead: usize) -> u64 {
    let bytes = WINDOW.min(ahead / 4 / peers);
    ((bytes / row_bytes(width)) as u64).max(ACCEPTED * peers as u64 + 2 * batch as u64)
}

/// What a consumer of rows says to a worker that sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The worker that it is for.
    pub to: u64,
    /// What it says.
    pub news: News,
}

/// What a [`Notice`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// Rows have been taken from the channel.
    Accepted {
        /// The dictionary of the rows; there is one for each ingest operator of a worker.
        dictionary: u32,
        /// How many rows.
        rows: u64,
    },
    /// Rows wait for the frontier.
    Waiting {
        /// The worker where they wait.
        at: u64,
        /// How many bytes of them.
        bytes: u64,
        /// How many bytes may wait at all workers together.
        limit: u64,
        /// The frontier for which they wait.
        frontier: EventTime,
    },
}

/// A notice with the number of the consumer, among those of the same rows, that gives it.
pub type Told = (usize, Notice);

/// Where consumers of a stream of rows give their notices: one line for each ingest operator that sends them.
#[derive(Clone, Default)]
pub struct Credits<'scope>(Vec<Rc<Line<'scope>>>);

/// The notices of all consumers to one ingest operator.
struct Line<'scope> {
    consumers: Rc<Cell<usize>>,
    loose: RefCell<Option<Loose<'scope>>>,
}

/// An operator that is built when nobody can add a consumer any more.
struct Loose<'scope> {
    builder: OperatorBuilder<'scope, EventTime>,
    output: Port<Told>,
    notices: Vec<StreamVec<'scope, EventTime, Notice>>,
}

impl<'scope> Credits<'scope> {
    /// A line to an ingest operator: what consumers take hold of, the stream of their notices, and how many there are.
    pub fn line(
        scope: Scope<'scope, EventTime>,
    ) -> (Self, StreamVec<'scope, EventTime, Told>, Rc<Cell<usize>>) {
        let mut builder = OperatorBuilder::new("Credits".to_owned(), scope);
        let (output, told) = port(&mut builder);
        let consumers = Rc::new(Cell::new(0));
        let loose = RefCell::new(Some(Loose { builder, output, notices: Vec::new() }));
        (Self(vec![Rc::new(Line { consumers: consumers.clone(), loose })]), told, consumers)
    }

    /// The lines of both.
    pub fn concat(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Adds a consumer, which gives these notices.
    pub(crate) fn consumer(self, notices: StreamVec<'scope, EventTime, Notice>) {
        for line in self.0 {
            if let Some(loose) = &mut *line.loose.borrow_mut() {
                loose.notices.push(notices.clone());
                line.consumers.set(loose.notices.len());
            }
        }
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.loose.take().into_iter().for_each(Loose::build);
    }
}

impl Loose<'_> {
    fn build(self) {
        let Self { mut builder, mut output, notices } = self;
        let mut inputs: Vec<_> = notices
            .into_iter()
            .map(|notices| {
                builder.new_input_connection(notices, Exchange::new(|notice: &Notice| notice.to), [])
            })
            .collect();
        (0..inputs.len()).for_each(|input| builder.set_notify_for(input, FrontierInterest::Never));
        let none = CapabilitySet::new();
        builder.build(move |_capabilities| {
            move |_frontiers| {
                let mut output = output.activate();
                let mut session = output.session(&none);
                for (consumer, input) in inputs.iter_mut().enumerate() {
                    input.for_each(|_, notices| {
                        session.give_iterator(notices.drain(..).map(|notice| (consumer, notice)));
                    });
                }
            }
        });
    }
}

/// What a consumer of rows has accepted and holds, and what of it others must know.
pub(crate) struct Meter {
    index: u64,
    peers: u64,
    width: usize,
    limit: u64,
    /// Rows of each dictionary that were accepted and not yet told.
    accepted: Vec<(u32, u64)>,
    told: (u64, EventTime),
}

impl Meter {
    /// A consumer on worker `index` of `peers` of rows of `width` values, of which `ahead` bytes may wait.
    pub(crate) fn new(index: usize, peers: usize, width: usize, ahead: usize) -> Self {
        let (index, peers, limit) = (index as u64, peers as u64, limit(width, ahead) as u64);
        Self { index, peers, width, limit, accepted: Vec::new(), told: (0, EventTime::MIN) }
    }

    /// Takes note of rows that were taken from the channel.
    pub(crate) fn accept(&mut self, dictionary: u32, rows: usize) {
        match self.accepted.iter_mut().find(|(known, _)| *known == dictionary) {
            Some((_, accepted)) => *accepted += rows as u64,
            None => self.accepted.push((dictionary, rows as u64)),
        }
    }

    /// Gives what others must know, now that `rows` rows wait for `frontier`, or for work to be done that is `behind` it.
    pub(crate) fn tell(
        &mut self,
        rows: usize,
        frontier: EventTime,
        behind: bool,
        give: &mut impl FnMut(Notice),
    ) {
        // What is not told yet is a part of every window: it keeps nobody waiting.
        for (dictionary, accepted) in
            self.accepted.iter_mut().filter(|(_, rows)| !behind && *rows >= ACCEPTED)
        {
            let news = News::Accepted { dictionary: *dictionary, rows: std::mem::take(accepted) };
            give(Notice { to: u64::from(*dictionary) % self.peers, news });
        }
        // Whoever has its share of half the limit is one of those for whom sources may wait: it must tell each step.
        let bytes = (rows * row_bytes(self.width)) as u64;
        let share = self.limit / 2 / self.peers;
        let steps = self.told.0 >= share && frontier != self.told.1;
        if bytes.abs_diff(self.told.0) > share / 8 || steps {
            self.told = (bytes, frontier);
            let news = News::Waiting { at: self.index, bytes, limit: self.limit, frontier };
            (0..self.peers).for_each(|to| give(Notice { to, news }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(meter: &mut Meter, rows: usize, frontier: i64) -> Vec<Notice> {
        let mut notices = Vec::new();
        meter.tell(rows, EventTime::from_micros(frontier), false, &mut |notice| notices.push(notice));
        notices
    }

    #[test]
    fn rows_are_acknowledged_to_the_worker_that_sent_them_some_at_a_time() {
        let mut meter = Meter::new(1, 2, 1, usize::MAX);
        meter.accept(7, 1);
        assert!(told(&mut meter, 0, 0).is_empty());
        meter.accept(7, ACCEPTED as usize);
        meter.accept(4, 3);
        meter.tell(0, EventTime::MIN, true, &mut |notice| panic!("{notice:?}, and it is behind"));
        let news = News::Accepted { dictionary: 7, rows: 1 + ACCEPTED };
        assert_eq!(vec![Notice { to: 1, news }], told(&mut meter, 0, 0));
        assert!(told(&mut meter, 0, 0).is_empty());
    }

    #[test]
    fn no_more_rows_may_wait_than_a_buffer_can_tell_apart() {
        for (width, ahead) in [(0, 16 << 30), (1, 16 << 30), (2, usize::MAX), (1, 1 << 20)] {
            let limit = limit(width, ahead);
            assert!(limit <= ahead && limit / row_bytes(width) < 1 << 28, "{limit}");
        }
        assert_eq!(1 << 20, limit(1, 1 << 20));
    }

    #[test]
    fn a_full_buffer_tells_everyone_each_step_of_its_frontier() {
        let limit = 1_600 * row_bytes(1) as u64;
        let mut meter = Meter::new(0, 2, 1, limit as usize);
        let waiting = |to, rows: usize, frontier| {
            let bytes = (rows * row_bytes(1)) as u64;
            let news = News::Waiting { at: 0, bytes, limit, frontier: EventTime::from_micros(frontier) };
            Notice { to, news }
        };
        assert!(told(&mut meter, 50, 1).is_empty(), "an eighth of its share changes nothing");
        assert_eq!(vec![waiting(0, 300, 1), waiting(1, 300, 1)], told(&mut meter, 300, 1));
        assert!(told(&mut meter, 310, 2).is_empty(), "it is not full");
        assert_eq!(2, told(&mut meter, 400, 2).len());
        assert_eq!(vec![waiting(0, 400, 3), waiting(1, 400, 3)], told(&mut meter, 400, 3));
        assert!(told(&mut meter, 410, 3).is_empty());
        assert_eq!(vec![waiting(0, 10, 4), waiting(1, 10, 4)], told(&mut meter, 10, 4));
        assert!(told(&mut meter, 10, 5).is_empty());
    }
}
