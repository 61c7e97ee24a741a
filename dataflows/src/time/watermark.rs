//! How far the event time of one partition has come.

use super::{EventTime, Span};

/// The watermark of one partition, moved by its own records and by journaled decisions alone.
///
/// For records `r₀, r₁, …` in offset order with event times `t(r)`, the watermark before `rₙ` is
/// `W(n) = max(forced(n), max_{i<n} t(rᵢ) − lateness)`, and `rₙ` is late iff `t(rₙ) < W(n)`.
/// It never falls, and it depends on nothing but the prefix `r₀ … rₙ₋₁` and the decisions at offsets up to `n`.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::{EventTime, Span, Watermark};
///
/// let at = EventTime::from_micros;
/// let mut watermark = Watermark::new(Span::from_micros(10));
/// assert!(watermark.admit(at(100)));
/// assert_eq!(watermark.time(), at(90));
/// assert!(watermark.admit(at(90)));
/// assert!(!watermark.admit(at(89)), "late: before 100 - 10");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    time: EventTime,
    newest: EventTime,
    lateness: Span,
}

impl Watermark {
    /// A watermark before every record, which stays `lateness` behind the newest record seen.
    pub fn new(lateness: Span) -> Self {
        Self { time: EventTime::MIN, newest: EventTime::MIN, lateness }
    }

    /// A watermark that stands at `time` after records up to `newest`, as it did in an earlier run.
    pub fn resumed(lateness: Span, time: EventTime, newest: EventTime) -> Self {
        Self { time, newest, lateness }
    }

    /// Classifies the next record by its event time, then moves past it: `false` if the record is late.
    #[inline]
    pub fn admit(&mut self, time: EventTime) -> bool {
        let on_time = time >= self.time;
        if time > self.newest {
            self.newest = time;
            self.time = self.time.max(time.saturating_sub(self.lateness));
        }
        on_time
    }

    /// Moves the watermark up to `time`, as a journaled decision says; it never falls.
    pub fn force(&mut self, time: EventTime) {
        self.time = self.time.max(time);
    }

    /// W(n): records before this are late.
    #[inline]
    pub fn time(&self) -> EventTime {
        self.time
    }

    /// The greatest event time seen; [`EventTime::MIN`] before the first record.
    pub fn newest(&self) -> EventTime {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, recomputed from the whole prefix.
    fn time_slow(prefix: &[(i64, Option<i64>)], lateness: i64) -> EventTime {
        let seen = prefix.iter().map(|(time, _)| time - lateness);
        let forced = prefix.iter().filter_map(|(_, forced)| *forced);
        seen.chain(forced).max().map_or(EventTime::MIN, EventTime::from_micros)
    }

    proptest! {
        #[test]
        fn agrees_with_its_definition_and_never_falls(
            records in prop::collection::vec((-500i64..500, prop::option::weighted(0.1, -500i64..500)), 0..60),
            lateness in 0i64..200,
        ) {
            let mut watermark = Watermark::new(Span::from_micros(lateness));
            let mut last = EventTime::MIN;
            for n in 0..records.len() {
                let (time, forced) = records[n];
                prop_assert_eq!(time_slow(&records[..n], lateness), watermark.time());
                let on_time = watermark.admit(EventTime::from_micros(time));
                prop_assert_eq!(on_time, EventTime::from_micros(time) >= time_slow(&records[..n], lateness));
                if let Some(forced) = forced {
                    watermark.force(EventTime::from_micros(forced));
                }
                prop_assert!(watermark.time() >= last);
                last = watermark.time();
            }
        }

        #[test]
        fn shuffling_within_lateness_makes_nothing_late(
            mut times in prop::collection::vec(0i64..10_000, 1..80),
            jitter in prop::collection::vec(0i64..100, 80),
        ) {
            // Sorting by time + jitter displaces no record by more than the largest jitter.
            times.sort_unstable();
            let mut arrival: Vec<_> = times.iter().zip(&jitter).map(|(time, jitter)| (time + jitter, *time)).collect();
            arrival.sort_unstable();
            let mut watermark = Watermark::new(Span::from_micros(100));
            for (_, time) in arrival {
                prop_assert!(watermark.admit(EventTime::from_micros(time)));
            }
        }
    }
}
