//! Slots of the calendar in local time.

use jiff::tz::TimeZone;
use jiff::Timestamp;

use crate::EventTime;

/// What repeats, and into what it is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Season {
    /// An hour into 60 minutes.
    MinuteOfHour,
    /// A day into 24 hours.
    HourOfDay,
    /// A week into 7 days, from Monday on.
    DayOfWeek,
    /// A week into 168 hours, from Monday on.
    HourOfWeek,
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;

impl Season {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "minute-of-hour" => Self::MinuteOfHour,
            "day-of-week" => Self::DayOfWeek,
            "hour-of-week" => Self::HourOfWeek,
            _ => Self::HourOfDay,
        }
    }

    pub(super) fn slots(self) -> usize {
        match self {
            Self::MinuteOfHour => 60,
            Self::HourOfDay => 24,
            Self::DayOfWeek => 7,
            Self::HourOfWeek => 168,
        }
    }

    /// The slot of a local time, in seconds since 1970, which began on a Thursday.
    #[inline]
    fn slot(self, seconds: i64) -> usize {
        let seconds = seconds + 3 * DAY;
        // By constants: no division is left.
        let slot = match self {
            Self::MinuteOfHour => seconds.rem_euclid(HOUR) / MINUTE,
            Self::HourOfDay => seconds.rem_euclid(DAY) / HOUR,
            Self::DayOfWeek => seconds.rem_euclid(WEEK) / DAY,
            Self::HourOfWeek => seconds.rem_euclid(WEEK) / HOUR,
        };
        slot as usize
    }
}

/// The slots of a season in the local time of a zone.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pub(super) season: Season,
    pub(super) zone: TimeZone,
}

/// Seconds that local time is ahead of UTC, until an instant in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offset {
    seconds: i64,
    until: i64,
}

impl Default for Offset {
    /// An offset that is over.
    fn default() -> Self {
        Self { seconds: 0, until: i64::MIN }
    }
}

impl Calendar {
    /// The slot of an instant that is not before those for which `offset` was used already.
    #[inline]
    pub(super) fn slot(&self, offset: &mut Offset, time: EventTime) -> usize {
        if time.micros() >= offset.until {
            *offset = self.offset(time);
        }
        self.season.slot(time.micros().div_euclid(1_000_000) + offset.seconds)
    }

    /// The offset of local time at an instant, and the next instant at which it changes.
    fn offset(&self, time: EventTime) -> Offset {
        let Ok(timestamp) = Timestamp::from_microsecond(time.micros()) else {
            let first = Timestamp::MIN.as_microsecond();
            let until = if time.micros() < first { first } else { i64::MAX };
            return Offset { seconds: 0, until };
        };
        let seconds = i64::from(self.zone.to_offset(timestamp).seconds());
        let next = self.zone.following(timestamp).next().map(|transition| transition.timestamp());
        Offset { seconds, until: next.unwrap_or(Timestamp::MAX).as_microsecond() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) const SEASONS: [Season; 4] =
        [Season::MinuteOfHour, Season::HourOfDay, Season::DayOfWeek, Season::HourOfWeek];
    pub(in super::super) const ZONES: [&str; 5] =
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];

    /// The slot from the local time as it is written.
    pub(in super::super) fn slot_slow(calendar: &Calendar, time: EventTime) -> usize {
        let local = calendar.zone.to_datetime(Timestamp::from_microsecond(time.micros()).unwrap());
        let (day, hour) = (local.weekday().to_monday_zero_offset() as usize, local.hour() as usize);
        match calendar.season {
            Season::MinuteOfHour => local.minute() as usize,
            Season::HourOfDay => hour,
            Season::DayOfWeek => day,
            Season::HourOfWeek => 24 * day + hour,
        }
    }

    proptest! {
        #[test]
        fn slots_follow_the_calendar_of_the_zone(
            seconds in prop::collection::vec(-60_000_000_000_i64..100_000_000_000, 1..20),
            hours in prop::collection::vec(0i64..10_000, 1..20),
        ) {
            // Anywhere, and some hours within a year.
            let mut seconds: Vec<i64> =
                seconds.into_iter().chain(hours.into_iter().map(|hour| 1_700_000_000 + hour * 3600)).collect();
            seconds.sort_unstable();
            for zone in ZONES {
                for season in SEASONS {
                    let calendar = Calendar { season, zone: TimeZone::get(zone).unwrap() };
                    let mut offset = Offset::default();
                    for seconds in &seconds {
                        let time = EventTime::from_secs(*seconds).unwrap();
                        let slot = calendar.slot(&mut offset, time);
                        prop_assert_eq!(slot_slow(&calendar, time), slot, "{} in {}", time, zone);
                        prop_assert!(slot < season.slots());
                    }
                }
            }
        }
    }

    #[test]
    fn hours_that_are_skipped_and_repeated_are_those_of_the_clock() {
        for (zone, start, hours) in [
            ("Europe/Berlin", "2024-03-30T23:00:00Z", [0, 1, 3, 4]),
            ("Europe/Berlin", "2024-10-26T23:00:00Z", [1, 2, 2, 3]),
            ("America/New_York", "2024-03-10T05:00:00Z", [0, 1, 3, 4]),
            ("America/New_York", "2024-11-03T05:00:00Z", [1, 1, 2, 3]),
            ("Australia/Lord_Howe", "2024-04-06T13:00:00Z", [0, 1, 1, 2]),
        ] {
            let calendar = Calendar { season: Season::HourOfDay, zone: TimeZone::get(zone).unwrap() };
            let (mut offset, start) = (Offset::default(), start.parse::<Timestamp>().unwrap().as_second());
            let found = [0, 1, 2, 3]
                .map(|hour| calendar.slot(&mut offset, EventTime::from_secs(start + hour * HOUR).unwrap()));
            assert_eq!(hours, found, "{zone} from {start}");
        }
    }

    #[test]
    fn times_beyond_the_calendar_have_a_slot() {
        let calendar =
            Calendar { season: Season::HourOfWeek, zone: TimeZone::get("America/New_York").unwrap() };
        let (first, last) = (Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
        let mut offset = Offset::default();
        for micros in [i64::MIN, i64::MIN, first - 1, first, 0, last, last, last + 1, i64::MAX - 1, i64::MAX]
        {
            assert!(calendar.slot(&mut offset, EventTime::from_micros(micros)) < 168, "{micros}");
        }
    }
}
