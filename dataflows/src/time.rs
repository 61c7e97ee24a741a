//! Event time: the timestamp of every dataflow.

mod lapse;
mod span;
mod watermark;

use std::fmt;

use bytemuck::{Pod, Zeroable};
use differential_dataflow::lattice::Lattice;
use serde::{Deserialize, Serialize};
use timely::order::TotalOrder;
use timely::progress::timestamp::{PathSummary, Refines};
use timely::progress::Timestamp;
use timely::PartialOrder;

pub use lapse::Lapse;
pub use span::{Span, SpanError};
pub use watermark::Watermark;

/// An instant of event time, in microseconds since 1970-01-01T00:00:00Z.
///
/// This is the timely timestamp of every dataflow, so a frontier is a watermark.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::EventTime;
///
/// let time = EventTime::from_micros(1_392_388_200_250_001);
/// assert_eq!(time.to_string(), "2014-02-14T14:30:00.250001Z");
/// assert_eq!(time.floor_ms().to_string(), "2014-02-14T14:30:00.25Z");
/// ```
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize,
)]
#[repr(transparent)]
#[serde(transparent)]
pub struct EventTime(i64);

impl EventTime {
    /// The least instant: before every record.
    pub const MIN: Self = Self(i64::MIN);
    /// The greatest instant: after every record.
    pub const MAX: Self = Self(i64::MAX);

    /// Makes an instant from microseconds since 1970 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes an instant from milliseconds since 1970 UTC; `None` if it cannot be represented.
    pub const fn from_millis(millis: i64) -> Option<Self> {
        match millis.checked_mul(1_000) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Makes an instant from seconds since 1970 UTC; `None` if it cannot be represented.
    pub const fn from_secs(secs: i64) -> Option<Self> {
        match secs.checked_mul(1_000_000) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Microseconds since 1970 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The last whole millisecond at or before this instant.
    ///
    /// Capabilities are downgraded no finer than this.
    pub const fn floor_ms(self) -> Self {
        match self.0.div_euclid(1_000).checked_mul(1_000) {
            Some(micros) => Self(micros),
            None => Self::MIN,
        }
    }

    /// The first whole millisecond after this instant.
    pub const fn next_ms(self) -> Self {
        Self(self.floor_ms().0.saturating_add(1_000))
    }

    /// This instant moved later by `span`, at most to [`EventTime::MAX`].
    pub const fn saturating_add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.micros()))
    }

    /// This instant moved earlier by `span`, at least to [`EventTime::MIN`].
    pub const fn saturating_sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.micros()))
    }

    /// The time that passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Span {
        let micros = self.0.saturating_sub(earlier.0);
        Span::from_micros(if micros < 0 { 0 } else { micros })
    }
}

/// Writes RFC 3339 in UTC with at most six decimals, or plain microseconds outside the years that RFC 3339 can say.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) if (0..=9999).contains(&jiff::tz::TimeZone::UTC.to_datetime(timestamp).year()) => {
                timestamp.fmt(f)
            }
            _ => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialOrder for EventTime {
    #[inline]
    fn less_than(&self, other: &Self) -> bool {
        self < other
    }
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }
}

impl TotalOrder for EventTime {}

impl Timestamp for EventTime {
    type Summary = Span;
    fn minimum() -> Self {
        Self::MIN
    }
}

impl PathSummary<EventTime> for Span {
    fn results_in(&self, source: &EventTime) -> Option<EventTime> {
        source.0.checked_add(self.micros()).map(EventTime)
    }
    fn followed_by(&self, other: &Self) -> Option<Self> {
        self.micros().checked_add(other.micros()).map(Span::from_micros)
    }
}

impl Refines<()> for EventTime {
    fn to_inner(_: ()) -> Self {
        Self::MIN
    }
    fn to_outer(self) {}
    fn summarize(_: Span) {}
}

/// Makes event time usable as the time of a differential collection.
impl Lattice for EventTime {
    fn join(&self, other: &Self) -> Self {
        *self.max(other)
    }
    fn meet(&self, other: &Self) -> Self {
        *self.min(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_rounds_towards_the_past_on_both_sides_of_1970() {
        for (micros, floor) in [(0, 0), (999, 0), (1_000, 1_000), (-1, -1_000), (-1_000, -1_000)] {
            assert_eq!(EventTime(floor), EventTime(micros).floor_ms(), "{micros}");
        }
        assert_eq!(EventTime::MIN, EventTime::MIN.floor_ms());
    }

    #[test]
    fn text_is_rfc_3339_or_plain_microseconds() {
        assert_eq!("1970-01-01T00:00:00Z", EventTime(0).to_string());
        assert_eq!("9223372036854775807us", EventTime::MAX.to_string());
    }
}
