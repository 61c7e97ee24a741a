//! Partitions that fall silent.
//!
//! A partition without a record for a while is silent. Its watermark is then forced up to the lowest watermark of
//! the partitions that are not, again and again; when all are silent, to the next whole millisecond after everything seen,
//! so that the tail becomes final. Each worker tells the others how its partitions stand. What it heard last may be
//! out of date, which is no matter: any decision is a good one once it is journaled, because a replay takes it again.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::EventTime;

use super::feed::Feed;
use crate::{Error, Journal};

/// How the partitions of a worker stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    from: u64,
    /// The worker that it is for.
    pub(super) to: u64,
    /// The lowest watermark of its partitions that are not silent; `None` if all are silent or have ended.
    lowest: Option<EventTime>,
    /// The greatest event time that it has seen.
    newest: EventTime,
}

/// How the partitions of every worker stand, as far as this one has heard.
pub(super) struct Standings {
    index: usize,
    all: Vec<Standing>,
    told: Option<Standing>,
    newest: EventTime,
    silent: Vec<bool>,
}

impl Standings {
    pub(super) fn new(index: usize, peers: usize) -> Self {
        // Until a worker has spoken, its partitions may be anywhere.
        let unheard =
            |from| Standing { from, to: index as u64, lowest: Some(EventTime::MIN), newest: EventTime::MIN };
        Self {
            index,
            all: (0..peers as u64).map(unheard).collect(),
            told: None,
            newest: EventTime::MIN,
            silent: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, standing: Standing) {
        if let Some(known) = self.all.get_mut(standing.from as usize) {
            *known = standing;
        }
    }

    /// Remembers how far a partition had come that has ended.
    pub(super) fn outlive(&mut self, feed: &Feed) {
        self.newest = self.newest.max(feed.newest());
    }

    /// Sees which of this worker's partitions are silent.
    pub(super) fn look(&mut self, feeds: &mut [Feed], now: Instant, idle: Duration) {
        let is_silent = |feed: &Feed| {
            !feed.is_ready() && !feed.is_replaying() && now.duration_since(feed.quiet_since) >= idle
        };
        self.silent = feeds.iter().map(is_silent).collect();
        self.newest = feeds.iter().map(Feed::newest).fold(self.newest, EventTime::max);
        let active = feeds.iter().zip(&self.silent).filter(|(_, silent)| !**silent);
        self.all[self.index] = Standing {
            from: self.index as u64,
            to: self.index as u64,
            lowest: active.map(|(feed, _)| feed.watermark()).min(),
            newest: self.newest,
        };
    }

    /// Forces the watermarks of silent partitions up.
    pub(super) fn decide(&mut self, feeds: &mut [Feed], journal: &dyn Journal) -> Result<(), Error> {
        let lowest = self.all.iter().filter_map(|standing| standing.lowest).min();
        let newest = self.all.iter().map(|standing| standing.newest).max();
        let target = match (lowest, newest) {
            (Some(lowest), _) => lowest,
            (None, Some(newest)) if newest > EventTime::MIN => newest.next_ms(),
            (None, _) => return Ok(()),
        };
        for (feed, _) in feeds.iter_mut().zip(&self.silent).filter(|(_, silent)| **silent) {
            feed.force(target, journal)?;
        }
        Ok(())
    }

    /// What to tell the other workers, if anything has changed.
    pub(super) fn tell(&mut self) -> impl Iterator<Item = Standing> + '_ {
        let own = self.all[self.index];
        let changed = self.told != Some(own);
        self.told = Some(own);
        let others = (0..self.all.len() as u64).filter(move |to| changed && *to != own.from);
        others.map(move |to| Standing { to, ..own })
    }
}
