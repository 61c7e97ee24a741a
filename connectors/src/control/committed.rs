//! How far the output of a run is committed.

use serde::{Deserialize, Serialize};

use super::Control;
use crate::{lock, Progress, Shard};

/// How far some shards of sinks are committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// How many shards these are.
    pub shards: u32,
    /// What all of them have committed; [`Progress::End`] if there are none.
    pub lowest: Progress,
    /// What one of them has committed, and none has more; [`Progress::START`] if there are none.
    pub highest: Progress,
}

/// No shards.
impl Default for Committed {
    fn default() -> Self {
        Self { shards: 0, lowest: Progress::End, highest: Progress::START }
    }
}

impl Committed {
    /// All these shards together.
    fn and(self, other: Self) -> Self {
        Self {
            shards: self.shards + other.shards,
            lowest: self.lowest.min(other.lowest),
            highest: self.highest.max(other.highest),
        }
    }
}

impl Control {
    /// Gives a number to a sink with so many shards in all processes; every process opens the same ones in the same order.
    pub(crate) fn open_shards(&self, shards: u32) -> usize {
        let mut sinks = lock(&self.0.shards);
        sinks.push(shards);
        sinks.len() - 1
    }

    /// Notes how far a shard of this process is committed.
    pub(crate) fn commit(&self, sink: usize, shard: Shard, progress: Progress) {
        lock(&self.0.committed).insert((sink, shard), progress);
    }

    /// How far the shards of this process are committed.
    pub(super) fn committed_here(&self) -> Committed {
        let one = |progress: &Progress| Committed { shards: 1, lowest: *progress, highest: *progress };
        lock(&self.0.committed).values().map(one).fold(Committed::default(), Committed::and)
    }

    /// How far the shards of all sinks of all processes are committed; `None` as long as not all of them are known. Once sinks
    /// are opened, this is what earlier runs have committed; what it says later may be a little behind.
    pub fn committed(&self) -> Option<Committed> {
        let shards: u32 = lock(&self.0.shards).iter().sum();
        let others = lock(&self.0.others);
        let all = others.values().map(|other| other.committed).fold(self.committed_here(), Committed::and);
        (all.shards == shards).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::EventTime;

    use super::super::Bulletin;
    use super::*;

    #[test]
    fn what_is_committed_is_known_once_all_processes_have_opened_their_shards() {
        let (one, two) = (Control::default(), Control::default());
        let below = |micros| Progress::Below(EventTime::from_micros(micros));
        assert_eq!(Some(Committed::default()), one.committed());
        for control in [&one, &two] {
            assert_eq!((0, 1), (control.open_shards(2), control.open_shards(1)));
        }
        one.commit(0, Shard(0), below(5));
        one.commit(1, Shard(0), Progress::End);
        one.hear(1, Bulletin::default());
        assert_eq!(None, one.committed());
        two.commit(0, Shard(1), below(3));
        one.hear(1, two.bulletin());
        assert_eq!(Some(Committed { shards: 3, lowest: below(3), highest: Progress::End }), one.committed());
        two.commit(0, Shard(1), below(7));
        one.hear(1, two.bulletin());
        assert_eq!(Some(below(5)), one.committed().map(|committed| committed.lowest));
    }
}
