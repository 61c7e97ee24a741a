//! Partitions that fall silent.
//!
//! A partition without a record for a while is silent. Its watermark is then forced up to the lowest watermark of
//! the partitions that are not, again and again; when all are silent, to the next whole millisecond after everything seen,
//! so that the tail becomes final. That is all partitions of all sources of the dataflow: a source that cannot fall silent is
//! asked, too. Each worker tells the others how its partitions stand. What it heard last may be out of date, which is no
//! matter: any decision is a good one once it is journaled, because a replay takes it again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::EventTime;
use timely::scheduling::SyncActivator;

use super::feed::Feed;
use crate::control::Rule;
use crate::{Control, Error, Journal};

/// How the partitions of a source stand that a worker reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    ingest: u64,
    from: u64,
    /// The worker that it is for.
    pub(super) to: u64,
    /// The lowest watermark of its partitions that are not silent; `None` if all are silent or have ended.
    lowest: Option<EventTime>,
    /// The greatest event time that it has seen.
    newest: EventTime,
}

/// How the partitions of a dataflow stand, as far as a worker has heard; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Table(Rc<Shared>);

#[derive(Default)]
struct Shared {
    /// Of each source, by the number of its ingest operator, and each worker.
    standings: RefCell<BTreeMap<(u64, u64), Standing>>,
    /// What the sources are called.
    names: RefCell<BTreeSet<Arc<str>>>,
    /// Whether a source can fall silent, so that anybody wants to know.
    wanted: Cell<bool>,
}

/// How the partitions of one source stand here, and all that it needs to know of the others.
pub(super) struct Standings {
    own: Standing,
    peers: u64,
    table: Table,
    told: Option<Standing>,
    silent: Vec<bool>,
    /// Whether what earlier runs have decided applies before anything new is decided.
    waits: bool,
}

impl Standings {
    /// Of ingest operator `ingest` on worker `index` of `peers`; whether partitions `can_fall_silent` is said before any is read.
    pub(super) fn new(
        ingest: usize,
        index: usize,
        peers: usize,
        table: Table,
        can_fall_silent: bool,
    ) -> Self {
        // Until a worker has spoken, its partitions may be anywhere.
        let unheard = |from| Standing {
            ingest: ingest as u64,
            from,
            to: from,
            lowest: Some(EventTime::MIN),
            newest: EventTime::MIN,
        };
        let peers = peers as u64;
        (0..peers).map(unheard).for_each(|standing| table.note(standing));
        table.0.wanted.set(table.0.wanted.get() || can_fall_silent);
        Self {
            own: unheard(index as u64),
            peers,
            table,
            told: None,
            silent: Vec::new(),
            waits: Control::current().obeys(Rule::OldDecisionsFirst),
        }
    }

    /// Whether any source of the dataflow has partitions that can fall silent.
    pub(super) fn are_wanted(&self) -> bool {
        self.table.0.wanted.get()
    }

    pub(super) fn hear(&self, standing: Standing) {
        self.table.note(standing);
    }

    /// Remembers how far a partition had come that has ended.
    pub(super) fn outlive(&mut self, feed: &Feed) {
        self.own.newest = self.own.newest.max(feed.newest());
    }

    /// Sees which of this worker's partitions are silent: those without a record for as long as `idle`. One whose watermark is
    /// below `floor` is not: an earlier run has read more of it, and what became of that may be committed.
    pub(super) fn look(&mut self, feeds: &[Feed], now: Instant, idle: Option<Duration>, floor: EventTime) {
        let is_quiet = |feed: &Feed| idle.is_some_and(|idle| now.duration_since(feed.quiet_since) >= idle);
        let is_behind = |feed: &Feed| (feed.is_replaying() && self.waits) || feed.watermark() < floor;
        let is_silent = |feed: &Feed| !feed.is_ready() && !is_behind(feed) && is_quiet(feed);
        self.silent = feeds.iter().map(is_silent).collect();
        let active = feeds.iter().zip(&self.silent).filter(|(_, silent)| !**silent);
        self.own.lowest = active.map(|(feed, _)| feed.watermark()).min();
        self.own.newest = feeds.iter().map(Feed::newest).fold(self.own.newest, EventTime::max);
        self.table.note(self.own);
    }

    /// Has the watermarks of silent partitions forced up.
    pub(super) fn decide(
        &mut self,
        feeds: &mut [Feed],
        journal: &dyn Journal,
        waker: &SyncActivator,
    ) -> Result<(), Error> {
        if !self.silent.contains(&true) {
            return Ok(());
        }
        let standings = self.table.0.standings.borrow();
        let lowest = standings.values().filter_map(|standing| standing.lowest).min();
        let newest = standings.values().map(|standing| standing.newest).max();
        let target = match (lowest, newest) {
            (Some(lowest), _) => lowest,
            (None, Some(newest)) if newest > EventTime::MIN => newest.next_ms(),
            (None, _) => return Ok(()),
        };
        for (feed, _) in feeds.iter_mut().zip(&self.silent).filter(|(_, silent)| **silent) {
            feed.force(target, journal, waker)?;
        }
        Ok(())
    }

    /// What to tell the other workers, if anything has changed.
    pub(super) fn tell(&mut self) -> impl Iterator<Item = Standing> + '_ {
        let own = self.own;
        let changed = self.told != Some(own);
        self.told = Some(own);
        let others = (0..self.peers).filter(move |to| changed && *to != own.from);
        others.map(move |to| Standing { to, ..own })
    }
}

impl Table {
    /// Adds a source; `false` if another one has its name.
    pub(super) fn add(&self, name: &Arc<str>) -> bool {
        self.0.names.borrow_mut().insert(name.clone())
    }

    fn note(&self, standing: Standing) {
        self.0.standings.borrow_mut().insert((standing.ingest, standing.from), standing);
    }
}
