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
            self.advance.reached = target;
            let share =
                ((emitted.get() - before.0) / (EMISSIONS / 8)).max((records - before.1) / (RECORDS / 8));
            self.advance.stride = match share {
                0 => LONGEST.min(Span::from_micros(2 * self.advance.stride.micros())),
                8.. => SHORTEST.max(Span::from_micros(self.advance.stride.micros() / 2)),
                _ => self.advance.stride,
            };
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
