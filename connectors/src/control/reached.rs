//! How far the partitions of a run have been read.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::{EventTime, Offset};

use super::Control;
use crate::{lock, Partition};

/// How many partitions a process tells the others of: those that are furthest behind in event time.
const TOLD: usize = 1000;

/// How far a partition has been read that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The name of the source.
    pub source: String,
    /// The name of the partition within the source.
    pub partition: String,
    /// The least offset that its next record can have.
    pub next: Offset,
    /// Its watermark.
    pub watermark: EventTime,
    /// How many offsets there still are up to its present end, if that is known.
    pub lag: Option<u64>,
}

/// No lag is as long as this.
const UNKNOWN: u64 = u64::MAX;

/// Where a partition stands, told by the worker that reads it.
#[derive(Debug)]
pub(crate) struct Stand {
    partition: Partition,
    next: AtomicU64,
    watermark: AtomicI64,
    lag: AtomicU64,
    has_ended: AtomicBool,
}

impl Stand {
    /// Tells where reading has come.
    #[inline]
    pub(crate) fn tell(&self, next: Offset, watermark: EventTime, lag: Option<u64>) {
        self.next.store(next.0, Ordering::Relaxed);
        self.watermark.store(watermark.micros(), Ordering::Relaxed);
        self.lag.store(lag.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// Tells that nothing will ever follow.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    fn reached(&self) -> Reached {
        let lag = self.lag.load(Ordering::Relaxed);
        Reached {
            source: self.partition.source.to_string(),
            partition: self.partition.name.to_string(),
            next: Offset(self.next.load(Ordering::Relaxed)),
            watermark: EventTime::from_micros(self.watermark.load(Ordering::Relaxed)),
            lag: (lag != UNKNOWN).then_some(lag),
        }
    }
}

impl Control {
    /// Takes a partition in that this process reads.
    pub(crate) fn stand(&self, partition: &Partition) -> Arc<Stand> {
        let (next, watermark) = (AtomicU64::new(0), AtomicI64::new(EventTime::MIN.micros()));
        let (lag, has_ended) = (AtomicU64::new(UNKNOWN), AtomicBool::new(false));
        let stand = Arc::new(Stand { partition: partition.clone(), next, watermark, lag, has_ended });
        lock(&self.0.stands).push(stand.clone());
        stand
    }

    /// How far the partitions of this process have been read that have not ended: those that are furthest behind, by
    /// watermark and name.
    pub(super) fn own_reached(&self) -> Vec<Reached> {
        let mut stands = lock(&self.0.stands);
        stands.retain(|stand| !stand.has_ended.load(Ordering::Relaxed));
        let mut reached = ordered(stands.iter().map(|stand| stand.reached()).collect());
        reached.truncate(TOLD);
        reached
    }

    /// How far the partitions of the run have been read that have not ended, as far as this process has heard: of each
    /// process those that are furthest behind, by watermark and name. The first one holds the frontier back.
    pub fn reached(&self) -> Vec<Reached> {
        let others = lock(&self.0.others);
        let others: Vec<_> = others.values().flat_map(|bulletin| bulletin.reached.clone()).collect();
        ordered(self.own_reached().into_iter().chain(others).collect())
    }
}

fn ordered(mut reached: Vec<Reached>) -> Vec<Reached> {
    reached.sort_by(|one, other| {
        let order =
            |reached: &Reached| (reached.watermark, reached.source.clone(), reached.partition.clone());
        order(one).cmp(&order(other))
    });
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_that_is_furthest_behind_comes_first_wherever_it_is_read() {
        let (one, two) = (Control::default(), Control::default());
        let at = EventTime::from_micros;
        let ahead = one.stand(&Partition::new("s", "ahead"));
        let behind = two.stand(&Partition::new("s", "behind"));
        ahead.tell(Offset(7), at(2), None);
        behind.tell(Offset(5), at(1), Some(3));
        one.hear(1, two.bulletin());
        let names = |control: &Control| {
            control.reached().into_iter().map(|reached| (reached.partition, reached.lag)).collect::<Vec<_>>()
        };
        assert_eq!(vec![("behind".to_owned(), Some(3)), ("ahead".to_owned(), None)], names(&one));
        behind.end();
        one.hear(1, two.bulletin());
        assert_eq!(vec![("ahead".to_owned(), None)], names(&one), "it has ended");
    }
}
