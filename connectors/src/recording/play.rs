//! When the records of a recording are given again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidewatch_dataflows::EventTime;

/// Which records of a recording are played, and how fast; clones share one clock.
#[derive(Clone, Debug, Default)]
pub struct Play {
    from: Option<EventTime>,
    to: Option<EventTime>,
    clock: Option<Arc<Clock>>,
}

#[derive(Debug)]
struct Clock {
    /// Seconds of event time per second.
    speed: f64,
    /// The event time at which playing starts, as far as it is known beforehand; the greatest if it is not.
    origin: AtomicI64,
    /// When playing started, and the event time of that moment.
    start: OnceLock<(Instant, EventTime)>,
}

impl Play {
    /// Everything, as fast as it can be taken.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only records with an event time of at least `from`, and below `to`.
    ///
    /// A record whose time cannot be read is played if the last one before it with a time is; those before the first
    /// time are played if there is no `from`.
    #[must_use]
    pub fn between(mut self, from: Option<EventTime>, to: Option<EventTime>) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    /// So many seconds of event time per second: no record is given before its time has come.
    #[must_use]
    pub fn speed(mut self, speed: f64) -> Self {
        let origin = AtomicI64::new(i64::MAX);
        self.clock = Some(Arc::new(Clock { speed, origin, start: OnceLock::new() }));
        self
    }

    /// Whether records are given when their time has come.
    pub(super) fn is_paced(&self) -> bool {
        self.clock.is_some()
    }

    /// Has the clock start no later than with a record of this time, or with the first one that is played.
    pub(super) fn starts_with(&self, time: EventTime) {
        if let Some(clock) = &self.clock {
            let time = self.from.map_or(time, |from| from.max(time));
            clock.origin.fetch_min(time.micros(), Ordering::Relaxed);
        }
    }

    pub(super) fn has_start(&self) -> bool {
        self.from.is_some()
    }

    #[inline]
    pub(super) fn has(&self, time: EventTime) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }

    /// Whether nothing between these times, both included, is played.
    pub(super) fn has_none_of(&self, earliest: EventTime, latest: EventTime) -> bool {
        self.from.is_some_and(|from| latest < from) || self.to.is_some_and(|to| to <= earliest)
    }

    /// Whether the time of a record has come. The first call starts the clock.
    pub(super) fn is_due(&self, time: EventTime) -> bool {
        let Some(clock) = &self.clock else { return true };
        let (start, origin) = clock.start.get_or_init(|| {
            let origin = match clock.origin.load(Ordering::Relaxed) {
                i64::MAX => time,
                origin => EventTime::from_micros(origin),
            };
            (Instant::now(), origin)
        });
        let due = time.since(*origin).seconds() / clock.speed;
        // More than a Duration can hold is never.
        Duration::try_from_secs_f64(due).is_ok_and(|due| start.elapsed() >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_start_and_not_its_end() {
        let at = EventTime::from_micros;
        let play = Play::all().between(Some(at(10)), Some(at(20)));
        assert_eq!([false, true, true, false], [9, 10, 19, 20].map(|time| play.has(at(time))));
        assert!(play.has_none_of(at(0), at(9)) && play.has_none_of(at(20), at(30)));
        assert!(!play.has_none_of(at(0), at(10)) && !play.has_none_of(at(19), at(30)));
    }

    #[test]
    fn nothing_is_given_before_its_time() {
        let at = EventTime::from_micros;
        let play = Play::all().speed(1000.0);
        assert!(play.is_due(at(0)) && play.is_due(at(-5)));
        assert!(!play.is_due(at(60_000_000)));
        std::thread::sleep(Duration::from_millis(70));
        assert!(play.is_due(at(60_000_000)) && !play.is_due(EventTime::MAX));
    }
}
