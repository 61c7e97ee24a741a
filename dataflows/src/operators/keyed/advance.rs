//! How keyed state advances to a frontier that is far away: in strides, with turns for others between them.
//!
//! A jump of the frontier can make very much due at once: timers of every key, for as long as the jump. What one stride
//! emits decides how long the next one is, so that what is emitted in one activation has a bound whatever the data, and
//! those downstream can write it before more is emitted.

use std::cell::Cell;

use super::group::Outputs;
use super::state::KeyedState;
use crate::{EventTime, Logic, Record, Span};

/// How much is emitted in one activation before others have their turn; a last stride may exceed it.
const EMISSIONS: u64 = 1 << 16;
/// How many records are released in one activation before others have their turn.
const RECORDS: u64 = 1 << 20;
const SHORTEST: Span = Span::from_millis(1);
const LONGEST: Span = Span::from_secs(16);

/// How far keyed state has come.
pub(super) struct Advance {
    /// Every record and timer before it has been seen.
    reached: EventTime,
    stride: Span,
}

impl Default for Advance {
    fn default() -> Self {
        Self { reached: EventTime::MIN, stride: Span::from_secs(1) }
    }
}

impl Advance {
    /// Decides on the next stride after one with this share of what one activation may give, in eighths. Only one that was
    /// made whole can show that it was short.
    fn learn(&mut self, share: u64, whole: bool) {
        self.stride = match share {
            0 if whole => LONGEST.min(Span::from_micros(2 * self.stride.micros())),
            8.. => SHORTEST.max(Span::from_micros(self.stride.micros() / 2)),
            _ => self.stride,
        };
    }
}

impl<L: Logic<In = Record, Out: Clone>> KeyedState<L> {
    /// How far state has come: every record and timer before it has been seen.
    pub(super) fn reached(&self) -> EventTime {
        self.advance.reached
    }

    /// Brings state towards `limit`, a whole millisecond. Returns the number of records, and whether it has arrived.
    pub(super) fn advance(
        &mut self,
        limit: EventTime,
        emitted: &Cell<u64>,
        out: &mut Outputs<'_, L::Out>,
    ) -> (u64, bool) {
        let mut records = 0;
        while self.advance.reached < limit {
            if emitted.get() >= EMISSIONS || records >= RECORDS {
                return (records, false);
            }
            let target = self.target(limit);
            let before = (emitted.get(), records);
            let whole = self.advance.reached.saturating_add(self.advance.stride) <= target;
            records += self.release(target, out);
            self.advance.reached = target;
            let share =
                ((emitted.get() - before.0) / (EMISSIONS / 8)).max((records - before.1) / (RECORDS / 8));
            self.advance.learn(share, whole);
        }
        (records, true)
    }

    /// The end of the next stride: not where nothing happens.
    fn target(&self, limit: EventTime) -> EventTime {
        let Advance { reached, stride } = self.advance;
        if limit <= reached.saturating_add(stride) {
            return limit;
        }
        let next = self.buckets.earliest().min(self.groups.due()).max(reached);
        limit.min(next.saturating_add(stride).floor_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_grow_while_they_are_made_whole_and_give_little() {
        let mut advance = Advance::default();
        let start = advance.stride;
        (0..100).for_each(|_| advance.learn(0, false));
        assert_eq!(start, advance.stride, "a frontier that creeps says nothing about a jump");
        (0..100).for_each(|_| advance.learn(0, true));
        assert_eq!(LONGEST, advance.stride);
        advance.learn(7, true);
        assert_eq!(LONGEST, advance.stride);
        (0..100).for_each(|_| advance.learn(8, false));
        assert_eq!(SHORTEST, advance.stride);
    }
}
