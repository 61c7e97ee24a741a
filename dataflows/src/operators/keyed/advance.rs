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
    /// Takes note that state has come to `target`, and for how many eighths of what one activation may do. What was not
    /// advanced says nothing: a frontier that creeps must not prepare a long stride for one that jumps.
    fn learn(&mut self, target: EventTime, share: u64) {
        let advanced = self.stride.micros().min(target.since(self.reached).micros());
        let next = match share {
            0 => 2 * advanced,
            8.. => advanced / 2,
            _ => advanced,
        };
        self.stride = Span::from_micros(next.clamp(SHORTEST.micros(), LONGEST.micros()));
        self.reached = target;
    }
}

/// From where state was restored.
impl From<EventTime> for Advance {
    fn from(reached: EventTime) -> Self {
        Self { reached, ..Self::default() }
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
            records += self.release(target, out);
            let share =
                ((emitted.get() - before.0) / (EMISSIONS / 8)).max((records - before.1) / (RECORDS / 8));
            self.advance.learn(target, share);
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
    fn a_stride_is_at_most_twice_what_was_advanced_before() {
        let at = |millis| EventTime::from_millis(millis).expect("it is near");
        let mut advance = Advance::default();
        advance.learn(at(0), 1);
        assert_eq!(Span::from_secs(1), advance.stride, "from the beginning of time it was a whole one");
        (1..100).for_each(|millis| advance.learn(at(millis), 0));
        assert_eq!(Span::from_millis(2), advance.stride, "a creeping frontier says nothing of long strides");
        for (share, expected) in [(0, 4), (0, 8), (7, 8), (8, 4), (9, 2), (8, 1), (8, 1)] {
            advance.learn(advance.reached.saturating_add(advance.stride), share);
            assert_eq!(Span::from_millis(expected), advance.stride);
        }
        (0..20).for_each(|_| advance.learn(advance.reached.saturating_add(advance.stride), 0));
        assert_eq!(LONGEST, advance.stride);
    }
}
