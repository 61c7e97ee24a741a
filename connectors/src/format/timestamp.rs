//! How a time is written in a record.

mod civil;

use tidewatch_dataflows::EventTime;

pub use civil::{Ambiguity, Civil};

use crate::Error;

/// How a time is written. RFC 3339 unless something else is said.
///
/// What is finer than a microsecond is cut off towards the past, on both sides of 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339 with an offset, as in `2014-02-14T14:30:00.25+01:00`.
    #[default]
    Rfc3339,
    /// Seconds since 1970 UTC, with or without decimals, as in `1392388200.25`.
    EpochSeconds,
    /// Whole milliseconds since 1970 UTC.
    EpochMillis,
    /// Whole microseconds since 1970 UTC.
    EpochMicros,
    /// Whole nanoseconds since 1970 UTC.
    EpochNanos,
    /// As a strptime format says, in the local time of a zone; made by [`TimeFormat::civil`].
    Civil(Civil),
}

/// Why something is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is written otherwise.
    Malformed,
    /// It is too far from 1970.
    Range,
    /// The local time does not exist or exists twice, and the format says to reject such a time.
    Ambiguous,
}

impl TimeFormat {
    /// Times as a strptime format says, in the local time of a zone with an IANA name.
    ///
    /// The zone is not asked for where the format itself has an offset (`%z`).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidewatch_connectors::format::{Ambiguity, TimeFormat};
    ///
    /// let format = TimeFormat::civil("%d.%m.%Y %H:%M", "Europe/Berlin", Ambiguity::default())?;
    /// assert_eq!(format.parse("14.02.2014 15:30").unwrap().to_string(), "2014-02-14T14:30:00Z");
    /// # Ok::<(), tidewatch_connectors::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if there is no such zone, if a directive is unknown, or if no date comes out.
    pub fn civil(format: &str, zone: &str, ambiguity: Ambiguity) -> Result<Self, Error> {
        Civil::new(format, zone, ambiguity).map(Self::Civil)
    }

    /// Reads a time.
    ///
    /// # Errors
    ///
    /// Why it is not one.
    pub fn parse(&self, text: &str) -> Result<EventTime, Refusal> {
        match self {
            Self::Rfc3339 => event_time(text.parse().map_err(|_| refusal_of_rfc3339(text))?),
            Self::EpochSeconds => decimal_seconds(text),
            Self::EpochMillis | Self::EpochMicros | Self::EpochNanos => self.integer(whole(text)?),
            Self::Civil(civil) => civil.parse(text),
        }
    }

    /// Reads a time that a format gives as a whole number.
    ///
    /// # Errors
    ///
    /// [`Refusal::Range`] if it is too far from 1970, [`Refusal::Malformed`] if times are not numbers.
    pub fn integer(&self, number: i64) -> Result<EventTime, Refusal> {
        let micros = match self {
            Self::EpochSeconds => number.checked_mul(1_000_000),
            Self::EpochMillis => number.checked_mul(1_000),
            Self::EpochMicros => Some(number),
            Self::EpochNanos => Some(number.div_euclid(1_000)),
            Self::Rfc3339 | Self::Civil(_) => return Err(Refusal::Malformed),
        };
        bounded(micros)
    }

    /// Reads a time that a format gives as a number with decimals.
    ///
    /// Of all texts of the number, it means the shortest one: seconds with up to six decimals are exact, as in text (up
    /// to the year 2242), and what is finer is cut off.
    ///
    /// # Errors
    ///
    /// As [`TimeFormat::integer`]; also [`Refusal::Malformed`] for decimals where the unit is not the second.
    pub fn float(&self, number: f64) -> Result<EventTime, Refusal> {
        // Beyond 2^53 not every whole number can be told from its neighbours.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        // Below 2^33, i. e. up to the year 2242, no two times in whole microseconds are the same number of seconds.
        const DISTINCT: f64 = 8_589_934_592.0;
        match self {
            _ if !number.is_finite() => Err(Refusal::Range),
            Self::EpochSeconds => {
                let micros = (number * 1e6).round();
                if number.abs() < DISTINCT && micros / 1e6 == number {
                    return bounded(Some(micros as i64));
                }
                decimal_seconds(&number.to_string())
            }
            _ if number.abs() > EXACT => Err(Refusal::Range),
            _ if number.fract() != 0.0 => Err(Refusal::Malformed),
            _ => self.integer(number as i64),
        }
    }

    /// What a time is called in messages, as in "a time in epoch milliseconds".
    pub fn description(&self) -> String {
        match self {
            Self::Rfc3339 => "a time in RFC 3339".to_owned(),
            Self::EpochSeconds => "a time in epoch seconds".to_owned(),
            Self::EpochMillis => "a time in epoch milliseconds".to_owned(),
            Self::EpochMicros => "a time in epoch microseconds".to_owned(),
            Self::EpochNanos => "a time in epoch nanoseconds".to_owned(),
            Self::Civil(civil) => format!("a time in the format \"{}\"", civil.format()),
        }
    }

    /// What is wrong, as in "is not a time in RFC 3339".
    pub fn explain(&self, refusal: Refusal) -> String {
        match (refusal, self) {
            (Refusal::Ambiguous, Self::Civil(civil)) => {
                format!("is a local time that {} skips or repeats", civil.zone())
            }
            (Refusal::Range, _) => "is a time out of range".to_owned(),
            _ => format!("is not {}", self.description()),
        }
    }
}

/// The least and greatest times are no instants: no record can be before or after every record.
fn bounded(micros: Option<i64>) -> Result<EventTime, Refusal> {
    let time = micros.map(EventTime::from_micros).ok_or(Refusal::Range)?;
    if time == EventTime::MIN || time == EventTime::MAX {
        return Err(Refusal::Range);
    }
    Ok(time)
}

/// Why a text is not a time in RFC 3339: it may be one that is too near to the end of the year 9999, or to year -9999.
#[cold]
fn refusal_of_rfc3339(text: &str) -> Refusal {
    match jiff::fmt::temporal::Pieces::parse(text) {
        Ok(pieces) if pieces.time().is_some() && pieces.offset().is_some() => Refusal::Range,
        _ => Refusal::Malformed,
    }
}

fn event_time(timestamp: jiff::Timestamp) -> Result<EventTime, Refusal> {
    // Both parts have the sign of the whole, so rounding down the nanoseconds rounds towards the past.
    let nanos = i64::from(timestamp.subsec_nanosecond());
    let micros = timestamp.as_second().checked_mul(1_000_000);
    bounded(micros.and_then(|micros| micros.checked_add(nanos.div_euclid(1_000))))
}

fn whole(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => Refusal::Range,
        _ => Refusal::Malformed,
    })
}

fn decimal_seconds(text: &str) -> Result<EventTime, Refusal> {
    let Some((seconds, decimals)) = text.split_once('.') else {
        return TimeFormat::EpochSeconds.integer(whole(text)?);
    };
    if decimals.is_empty() || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Malformed);
    }
    let six = decimals.bytes().chain(std::iter::repeat(b'0')).take(6);
    let micros = six.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'));
    let finer = decimals.bytes().skip(6).any(|digit| digit != b'0');
    let whole = whole(seconds)?.checked_mul(1_000_000);
    let negative = seconds.starts_with('-');
    bounded(whole.and_then(|whole| match negative {
        true => whole.checked_sub(micros)?.checked_sub(i64::from(finer)),
        false => whole.checked_add(micros),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(format: &TimeFormat, text: &str) -> Result<i64, Refusal> {
        format.parse(text).map(EventTime::micros)
    }

    #[test]
    fn what_is_finer_than_a_microsecond_is_cut_off_towards_the_past() {
        for (format, text, expected) in [
            (TimeFormat::EpochSeconds, "1392388200", 1_392_388_200_000_000),
            (TimeFormat::EpochSeconds, "1392388200.25", 1_392_388_200_250_000),
            (TimeFormat::EpochSeconds, "-0.5", -500_000),
            (TimeFormat::EpochSeconds, "0.0000019", 1),
            (TimeFormat::EpochSeconds, "-0.0000011", -2),
            (TimeFormat::EpochMillis, "-1", -1_000),
            (TimeFormat::EpochMicros, "-1", -1),
            (TimeFormat::EpochNanos, "1999", 1),
            (TimeFormat::EpochNanos, "-1", -1),
            (TimeFormat::EpochNanos, "-1000", -1),
            (TimeFormat::Rfc3339, "1969-12-31T23:59:59.9999999Z", -1),
            (TimeFormat::Rfc3339, "1970-01-01T01:00:00.0000019+01:00", 1),
            (TimeFormat::Rfc3339, "1969-12-31T23:59:58.5-00:30", 1_798_500_000),
        ] {
            assert_eq!(Ok(expected), micros(&format, text), "{text}");
        }
    }

    #[test]
    fn numbers_are_times_where_the_unit_says_so() {
        let micros = |format: TimeFormat, number: f64| format.float(number).map(EventTime::micros);
        assert_eq!(Ok(1_392_388_200_250_001), micros(TimeFormat::EpochSeconds, 1_392_388_200.250_001));
        assert_eq!(Ok(-1_500_000), micros(TimeFormat::EpochSeconds, -1.5));
        assert_eq!(Ok(1_392_388_200_000_000), micros(TimeFormat::EpochMillis, 1_392_388_200_000.0));
        assert_eq!(Err(Refusal::Malformed), micros(TimeFormat::EpochMillis, 0.5));
        assert_eq!(Err(Refusal::Range), micros(TimeFormat::EpochSeconds, 1e300));
        assert_eq!(Err(Refusal::Range), micros(TimeFormat::EpochNanos, 1e16));
        assert_eq!(Ok(1), micros(TimeFormat::EpochSeconds, 0.000_001_9));
        assert_eq!(Ok(-2), micros(TimeFormat::EpochSeconds, -0.000_001_1));
        for format in [TimeFormat::EpochSeconds, TimeFormat::EpochMillis] {
            assert_eq!(Err(Refusal::Range), micros(format, f64::INFINITY));
        }
        assert_eq!(Err(Refusal::Malformed), TimeFormat::Rfc3339.integer(2014));
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        for (format, text, refusal) in [
            (TimeFormat::EpochMillis, "", Refusal::Malformed),
            (TimeFormat::EpochMillis, "1.5", Refusal::Malformed),
            (TimeFormat::EpochMillis, "12:30", Refusal::Malformed),
            (TimeFormat::EpochMillis, "9223372036854775807", Refusal::Range),
            (TimeFormat::EpochMicros, "9223372036854775807", Refusal::Range),
            (TimeFormat::EpochMicros, "-9223372036854775808", Refusal::Range),
            (TimeFormat::EpochNanos, "9223372036854775808", Refusal::Range),
            (TimeFormat::EpochSeconds, "1e9", Refusal::Malformed),
            (TimeFormat::EpochSeconds, "1.", Refusal::Malformed),
            (TimeFormat::EpochSeconds, "1.-5", Refusal::Malformed),
            (TimeFormat::EpochSeconds, "9223372036854775.9", Refusal::Range),
            (TimeFormat::Rfc3339, "2014-02-14T14:30:00", Refusal::Malformed),
            (TimeFormat::Rfc3339, "2014-02-14", Refusal::Malformed),
            (TimeFormat::Rfc3339, "9999-12-31T23:59:59Z", Refusal::Range),
            (TimeFormat::Rfc3339, "9999-12-31T24:59:59Z", Refusal::Malformed),
            (TimeFormat::Rfc3339, "2014-02-30T14:30:00Z", Refusal::Malformed),
        ] {
            assert_eq!(Err(refusal), format.parse(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_is_read_again(micros in -62_000_000_000_000_000_i64..253_000_000_000_000_000) {
            let time = EventTime::from_micros(micros);
            let sign = if micros < 0 { "-" } else { "" };
            let (seconds, decimals) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
            prop_assert_eq!(Ok(time), TimeFormat::Rfc3339.parse(&time.to_string()));
            prop_assert_eq!(Ok(time), TimeFormat::EpochMicros.parse(&micros.to_string()));
            prop_assert_eq!(Ok(time), TimeFormat::EpochSeconds.parse(&format!("{sign}{seconds}.{decimals:06}")));
            prop_assert_eq!(Ok(time.floor_ms()), TimeFormat::EpochMillis.parse(&micros.div_euclid(1_000).to_string()));
        }

        #[test]
        fn seconds_are_the_same_time_as_text_and_as_a_number(
            seconds in -8_589_934_591_i64..8_589_934_591, decimals in "[0-9]{1,6}",
        ) {
            let text = format!("{seconds}.{decimals}");
            let number = TimeFormat::EpochSeconds.float(text.parse().unwrap());
            prop_assert_eq!(TimeFormat::EpochSeconds.parse(&text), number, "{}", text);
        }

        #[test]
        fn small_seconds_are_cut_off_as_text_and_as_a_number(
            seconds in -999_i64..1000, decimals in "[0-9]{1,11}",
        ) {
            let text = format!("{seconds}.{decimals}");
            let number = TimeFormat::EpochSeconds.float(text.parse().unwrap());
            prop_assert_eq!(TimeFormat::EpochSeconds.parse(&text), number, "{}", text);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "[-+0-9.:TZ e]{0,30}|.{0,20}") {
            for format in [TimeFormat::EpochSeconds, TimeFormat::EpochNanos, TimeFormat::Rfc3339] {
                let _ = format.parse(&text);
            }
        }
    }
}
