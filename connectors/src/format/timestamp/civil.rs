//! Local times in a written-out format.

use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Disambiguation, TimeZone};
use tidewatch_dataflows::EventTime;

use super::{event_time, Refusal};
use crate::Error;

/// Which instant is meant by a local time that a change of the clocks skips (a gap) or repeats (a fold).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ambiguity {
    /// In a fold the earlier instant; in a gap, the local time moved later by the length of the gap.
    #[default]
    Compatible,
    /// The earlier of the two candidates.
    Earlier,
    /// The later of the two candidates.
    Later,
    /// None: such a time is malformed.
    Reject,
}

/// A strptime format with a time zone and a rule for ambiguous times.
#[derive(Clone, Debug)]
pub struct Civil(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    format: String,
    zone: TimeZone,
    zone_name: String,
    ambiguity: Ambiguity,
    fixed: Option<Vec<Piece>>,
}

/// A piece of a format of which every instance has the same width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(u8),
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl PartialEq for Civil {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (&self.0, &other.0);
        (&left.format, &left.zone_name, left.ambiguity) == (&right.format, &right.zone_name, right.ambiguity)
    }
}

impl Eq for Civil {}

impl Civil {
    pub(super) fn new(format: &str, zone: &str, ambiguity: Ambiguity) -> Result<Self, Error> {
        let known = TimeZone::get(zone)
            .map_err(|_| Error::Configuration(format!("there is no time zone \"{zone}\"")))?;
        let civil = Self(Arc::new(Parts {
            format: format.to_owned(),
            zone: known,
            zone_name: zone.to_owned(),
            ambiguity,
            fixed: pieces(format),
        }));
        civil.check()?;
        Ok(civil)
    }

    /// Writes a time and reads it again, since neither direction alone finds each mistake in a format.
    fn check(&self) -> Result<(), Error> {
        let format = &self.0.format;
        let bad = |error: jiff::Error| Error::Configuration(format!("time format \"{format}\": {error}"));
        let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(self.0.zone.clone());
        let text = BrokenDownTime::from(&sample).to_string(format).map_err(bad)?;
        let broken = BrokenDownTime::parse(format, &text).map_err(bad)?;
        match broken.timestamp() {
            Some(_) => Ok(()),
            None => broken.to_datetime().map(|_| ()).map_err(bad),
        }
    }

    pub(super) fn format(&self) -> &str {
        &self.0.format
    }

    pub(super) fn zone(&self) -> &str {
        &self.0.zone_name
    }

    pub(super) fn parse(&self, text: &str) -> Result<EventTime, Refusal> {
        let fixed = self.0.fixed.as_deref().and_then(|pieces| parse_fixed(pieces, text.as_bytes()));
        match fixed {
            Some(local) => self.resolve(local),
            None => self.parse_slow(text),
        }
    }

    fn parse_slow(&self, text: &str) -> Result<EventTime, Refusal> {
        let broken = BrokenDownTime::parse(&self.0.format, text).map_err(|_| Refusal::Malformed)?;
        if broken.timestamp().is_some() || broken.offset().is_some() {
            // What makes a date but no instant is too near to an end of the calendar.
            let refusal = |_| broken.to_datetime().map_or(Refusal::Malformed, |_| Refusal::Range);
            return event_time(broken.to_timestamp().map_err(refusal)?);
        }
        self.resolve(broken.to_datetime().map_err(|_| Refusal::Malformed)?)
    }

    fn resolve(&self, local: DateTime) -> Result<EventTime, Refusal> {
        let rule = match self.0.ambiguity {
            Ambiguity::Compatible => Disambiguation::Compatible,
            Ambiguity::Earlier => Disambiguation::Earlier,
            Ambiguity::Later => Disambiguation::Later,
            Ambiguity::Reject => Disambiguation::Reject,
        };
        let candidates = self.0.zone.to_ambiguous_timestamp(local);
        if candidates.is_ambiguous() && self.0.ambiguity == Ambiguity::Reject {
            return Err(Refusal::Ambiguous);
        }
        event_time(candidates.disambiguate(rule).map_err(|_| Refusal::Range)?)
    }
}

/// The pieces of a format that has a full date and nothing of variable width.
fn pieces(format: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match bytes.next()? {
                b'Y' => pieces.push(Piece::Year),
                b'm' => pieces.push(Piece::Month),
                b'd' => pieces.push(Piece::Day),
                b'H' => pieces.push(Piece::Hour),
                b'M' => pieces.push(Piece::Minute),
                b'S' => pieces.push(Piece::Second),
                b'F' => pieces.extend(pieces_of_date()),
                b'T' => pieces.extend(pieces_of_time()),
                _ => return None,
            },
            literal => pieces.push(Piece::Literal(literal)),
        }
    }
    let has = |piece| pieces.contains(&piece);
    (has(Piece::Year) && has(Piece::Month) && has(Piece::Day)).then_some(pieces)
}

fn pieces_of_date() -> [Piece; 5] {
    [Piece::Year, Piece::Literal(b'-'), Piece::Month, Piece::Literal(b'-'), Piece::Day]
}

fn pieces_of_time() -> [Piece; 5] {
    [Piece::Hour, Piece::Literal(b':'), Piece::Minute, Piece::Literal(b':'), Piece::Second]
}

/// Reads what has every digit and nothing else; the rest, good or bad, is left to jiff.
fn parse_fixed(pieces: &[Piece], text: &[u8]) -> Option<DateTime> {
    let (mut year, mut month, mut day, mut hour, mut minute, mut second) = (0, 0, 0, 0, 0, 0);
    let mut rest = text;
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => {
                rest = rest.strip_prefix(std::slice::from_ref(literal))?;
            }
            Piece::Year => year = digits::<4>(&mut rest)?,
            Piece::Month => month = digits::<2>(&mut rest)? as i8,
            Piece::Day => day = digits::<2>(&mut rest)? as i8,
            Piece::Hour => hour = digits::<2>(&mut rest)? as i8,
            Piece::Minute => minute = digits::<2>(&mut rest)? as i8,
            Piece::Second => second = digits::<2>(&mut rest)? as i8,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

#[inline]
fn digits<const N: usize>(text: &mut &[u8]) -> Option<i16> {
    let (head, rest) = text.split_first_chunk::<N>()?;
    *text = rest;
    head.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i16::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::TimeFormat;

    const SECONDS: &str = "%Y-%m-%d %H:%M:%S";

    fn read(zone: &str, ambiguity: Ambiguity, text: &str) -> Result<String, Refusal> {
        let format = TimeFormat::civil(SECONDS, zone, ambiguity).unwrap();
        format.parse(text).map(|time| time.to_string())
    }

    #[test]
    fn a_gap_is_bridged_and_a_fold_takes_the_earlier_instant_unless_told_otherwise() {
        use Ambiguity::{Compatible, Earlier, Later};
        for (zone, local, rule, expected) in [
            ("Europe/Berlin", "2024-03-31 01:59:59", Compatible, "2024-03-31T00:59:59Z"),
            ("Europe/Berlin", "2024-03-31 02:30:00", Compatible, "2024-03-31T01:30:00Z"),
            ("Europe/Berlin", "2024-03-31 02:30:00", Earlier, "2024-03-31T00:30:00Z"),
            ("Europe/Berlin", "2024-03-31 02:30:00", Later, "2024-03-31T01:30:00Z"),
            ("Europe/Berlin", "2024-03-31 03:00:00", Compatible, "2024-03-31T01:00:00Z"),
            ("Europe/Berlin", "2024-10-27 02:30:00", Compatible, "2024-10-27T00:30:00Z"),
            ("Europe/Berlin", "2024-10-27 02:30:00", Earlier, "2024-10-27T00:30:00Z"),
            ("Europe/Berlin", "2024-10-27 02:30:00", Later, "2024-10-27T01:30:00Z"),
            ("Europe/Berlin", "2024-10-27 03:00:00", Compatible, "2024-10-27T02:00:00Z"),
            ("America/New_York", "2024-03-10 02:30:00", Compatible, "2024-03-10T07:30:00Z"),
            ("America/New_York", "2024-03-10 02:30:00", Earlier, "2024-03-10T06:30:00Z"),
            ("America/New_York", "2024-11-03 01:30:00", Compatible, "2024-11-03T05:30:00Z"),
            ("America/New_York", "2024-11-03 01:30:00", Later, "2024-11-03T06:30:00Z"),
            ("UTC", "1969-12-31 23:59:59", Compatible, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(Ok(expected.to_owned()), read(zone, rule, local), "{local} {zone} {rule:?}");
        }
        let with_offset = TimeFormat::civil("%Y-%m-%d %H:%M:%S %z", "UTC", Compatible).unwrap();
        assert_eq!(Err(Refusal::Range), with_offset.parse("9999-12-31 23:59:59 +0000"));
        assert_eq!(Err(Refusal::Malformed), with_offset.parse("2024-02-30 23:59:59 +0000"));
        assert_eq!(Err(Refusal::Range), read("UTC", Compatible, "9999-12-31 23:59:59"));
        // A leap second is the second before it.
        assert_eq!(Ok("2016-12-31T23:59:59Z".to_owned()), read("UTC", Compatible, "2016-12-31 23:59:60"));
        let rfc3339 = TimeFormat::Rfc3339.parse("2016-12-31T23:59:60Z").map(|time| time.to_string());
        assert_eq!(Ok("2016-12-31T23:59:59Z".to_owned()), rfc3339);
        for (zone, local) in
            [("Europe/Berlin", "2024-03-31 02:30:00"), ("America/New_York", "2024-11-03 01:30:00")]
        {
            assert_eq!(Err(Refusal::Ambiguous), read(zone, Ambiguity::Reject, local));
        }
        assert_eq!(
            Ok("2024-07-01T10:00:00Z".to_owned()),
            read("Europe/Berlin", Ambiguity::Reject, "2024-07-01 12:00:00")
        );
    }

    #[test]
    fn an_offset_in_the_text_goes_before_the_zone() {
        let format = TimeFormat::civil("%d/%b/%Y:%H:%M:%S %z", "Europe/Berlin", Ambiguity::Reject).unwrap();
        let time = format.parse("14/Feb/2014:14:30:00 -0500").unwrap();
        assert_eq!("2014-02-14T19:30:00Z", time.to_string());
    }

    #[test]
    fn a_format_without_a_time_of_day_means_midnight() {
        let format = TimeFormat::civil("%Y%m%d", "Europe/Berlin", Ambiguity::default()).unwrap();
        assert_eq!("2014-02-13T23:00:00Z", format.parse("20140214").unwrap().to_string());
    }

    #[test]
    fn unknown_zones_and_bad_formats_are_found_at_once() {
        let error =
            |format, zone| TimeFormat::civil(format, zone, Ambiguity::default()).unwrap_err().to_string();
        assert_eq!("there is no time zone \"Europe/Berln\"", error(SECONDS, "Europe/Berln"));
        for format in ["%Y-%m-%d %&", "%Y-%m", "%H:%M:%S", "%", "", "today"] {
            let error = error(format, "UTC");
            assert!(error.starts_with(&format!("time format \"{format}\": ")), "{error}");
        }
    }

    #[test]
    fn malformed_times_are_refused() {
        for text in [
            "",
            "2014-02-14",
            "2014-02-30 14:30:00",
            "2014-02-14 14:30:00 ",
            "14.2.14 x",
            "2014-13-01 00:00:00",
        ] {
            assert_eq!(Err(Refusal::Malformed), read("UTC", Ambiguity::default(), text), "{text}");
        }
        let text = "9999-12-31 23:59:59";
        assert_eq!(Err(Refusal::Range), read("America/New_York", Ambiguity::default(), text));
    }

    fn near_times() -> impl Strategy<Value = String> {
        let good = (0..10_000u32, 0..14u32, 0..33u32, 0..26u32, 0..62u32, 0..62u32)
            .prop_map(|(y, mo, d, h, mi, s)| format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02}"));
        let short = (0..3_000u32, 0..14u32, 0..33u32).prop_map(|(y, m, d)| format!("{y}-{m}-{d} 1:2:3"));
        prop_oneof![4 => good, 1 => short, 1 => "[-+ 0-9:]{15,21}"]
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_the_slow_one(
            text in near_times(),
            format in prop_oneof![Just(SECONDS), Just("%F %T"), Just("%Y-%m-%d%n%H:%M:%S")],
            zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York")],
        ) {
            let civil = Civil::new(format, zone, Ambiguity::Reject).unwrap();
            prop_assert_eq!(civil.parse_slow(&text), civil.parse(&text));
        }

        #[test]
        // Before 1900 come offsets with seconds, which %z leaves out.
        fn a_local_time_that_is_written_is_read_again(seconds in -2_208_000_000_i64..30_000_000_000) {
            for zone in ["UTC", "Europe/Berlin", "America/New_York"] {
                let format = TimeFormat::civil("%F %T %z", zone, Ambiguity::Reject).unwrap();
                let zoned = jiff::Timestamp::from_second(seconds).unwrap().in_tz(zone).unwrap();
                let text = zoned.strftime("%F %T %z").to_string();
                prop_assert_eq!(Ok(EventTime::from_secs(seconds).unwrap()), format.parse(&text));
            }
        }
    }
}
