//! What ingest does each time its operator is activated: it reads, looks for silence, and says when it is to be called again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewatch_dataflows::flow::ports::Port;
use tidewatch_dataflows::flow::Pressure;
use tidewatch_dataflows::record::{Dictionary, RowBatch};
use tidewatch_dataflows::{Event, EventTime};
use timely::container::NoopBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::scheduling::{Activator, SyncActivator};

use super::feed::Feed;
use super::gate::{Allowance, Gate};
use super::idle::{Standing, Standings};
use super::taking::Rules;
use super::turns::{Asking, Turns};
use super::Rejected;
use crate::{Control, Error, Journal};

/// How many turns there are before other operators have theirs.
const TURNS: usize = 4;
/// After how many bytes of rejected records those who keep them have their turn to say so.
const REJECTED: usize = 64 << 10;
/// How long to wait for a watermark that nobody tells.
const LOOK: Duration = Duration::from_millis(20);

/// Where the operator gives what it has.
pub(super) struct Ports {
    pub(super) rows: OutputBuilder<EventTime, NoopBuilder<RowBatch>>,
    pub(super) rejected: Port<Rejected>,
    pub(super) ends: Port<(u64, EventTime)>,
    pub(super) standings: Port<Standing>,
}

/// A source at work, on one worker.
pub(super) struct Work {
    pub(super) control: Control,
    pub(super) index: usize,
    pub(super) peers: usize,
    /// The number of the operator.
    pub(super) ingest: usize,
    pub(super) activator: Rc<Activator>,
    pub(super) waker: SyncActivator,
    pub(super) ports: Ports,
    pub(super) rules: Rules,
    pub(super) feeds: Vec<Feed>,
    pub(super) dictionary: Dictionary,
    pub(super) batch: RowBatch,
    pub(super) rejections: Vec<Rejected>,
    pub(super) turns: Turns,
    pub(super) asking: Asking,
    pub(super) gate: Gate,
    pub(super) pressure: Pressure,
    pub(super) standings: Standings,
    pub(super) idle: Option<Duration>,
    pub(super) journal: Arc<dyn Journal>,
    /// Nothing is decided about a partition whose watermark is below it.
    pub(super) floor: EventTime,
    /// The highest watermark of the partitions that have ended, and for when it is said.
    pub(super) end: EventTime,
    pub(super) ends_at: Option<Capability<EventTime>>,
}

impl Work {
    /// Reads some records.
    pub(super) fn go_on(&mut self) -> Result<(), Error> {
        self.feeds.iter_mut().for_each(Feed::conclude);
        let now = self.control.now();
        let asked = self.asking.is_due(now);
        if asked {
            self.feeds.iter_mut().for_each(Feed::retry);
        }
        let allowance = self.read()?;
        // Who is not asked is not silent.
        self.feeds.iter_mut().filter(|feed| !feed.may_be_read(allowance)).for_each(|feed| feed.excuse(now));
        // Those who can be were asked just now. The end of the last one is told at once, because nothing comes after it.
        if self.standings.are_wanted() && (asked || self.feeds.is_empty()) {
            self.look_for_silence(now)?;
        }
        let held = self.feeds.iter().map(|feed| feed.watermark().floor_ms()).min();
        self.control.hold(self.index, self.ingest, held);
        self.rest(allowance);
        Ok(())
    }

    /// Reads where the watermark is lowest, so that the frontier moves; a few turns, then others work. Returns what may be
    /// read after that.
    fn read(&mut self) -> Result<Allowance, Error> {
        let mut turns_left = TURNS;
        let mut allowance = match self.pressure.must_wait(&self.activator) {
            true => Allowance::Nothing,
            false => self.gate.allows(&self.control),
        };
        while let Some(at) = self.turns.next(&self.feeds, allowance).filter(|_| turns_left > 0) {
            let feed = &mut self.feeds[at];
            if let Allowance::Holders { over: Some(over), .. } = allowance {
                return Err(feed.holds_too_much(over));
            }
            let (dictionary, rejections) = (&mut self.dictionary, &mut self.rejections);
            match feed.read(&self.rules, self.turns.records(), dictionary, &mut self.batch, rejections)? {
                // A partition that had nothing costs no turn, but one on a long skip does.
                0 if !feed.is_ready() => {}
                _ => turns_left -= 1,
            }
            let Some((rows_at, rejected_at)) = feed.capabilities() else { continue };
            if !self.batch.is_empty() {
                self.gate.send(self.batch.len());
                self.ports.rows.activate().session_with_builder(rows_at).give_container(&mut self.batch);
            }
            if self.rejections.iter().map(Event::weight).sum::<usize>() > REJECTED {
                turns_left = 0;
            }
            let rejections = self.rejections.drain(..);
            self.ports.rejected.activate().session(rejected_at).give_iterator(rejections);
            if feed.settle() {
                self.end = self.end.max(feed.watermark());
                self.standings.outlive(feed);
                self.feeds.swap_remove(at);
            }
            allowance = self.gate.allows(&self.control);
        }
        Ok(allowance)
    }

    /// Sees to it that partitions that have been silent for long hold nobody back.
    fn look_for_silence(&mut self, now: Instant) -> Result<(), Error> {
        self.standings.look(&self.feeds, now, self.idle, self.floor);
        self.standings.decide(&mut self.feeds, self.journal.as_ref(), &self.waker)?;
        let mut output = self.ports.standings.activate();
        output.session(&CapabilitySet::new()).give_iterator(self.standings.tell());
        Ok(())
    }

    /// Says when there is something to do again, or that there will not be.
    fn rest(&mut self, allowance: Allowance) {
        if self.feeds.is_empty() {
            if let Some(ends_at) = self.ends_at.take() {
                let all = (0..self.peers as u64).map(|worker| (worker, self.end));
                self.ports.ends.activate().session(&ends_at).give_iterator(all);
            }
        } else if self.feeds.iter().any(|feed| feed.may_be_read(allowance)) {
            self.activator.activate();
        } else if self.gate.is_held_by_rejected(&self.control) {
            self.control.activate_after(&self.activator, LOOK);
        } else if let Some(wait) = self.asking.wait(self.control.now()) {
            self.control.activate_after(&self.activator, wait);
        }
    }
}
