//! Lengths of event time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::PartialOrder;

/// A length of event time, in microseconds; how far a timestamp moves along a dataflow path.
///
/// Spelled as in `250ms`, `5s`, `1h 30m`, `7d` (a day is 24 hours).
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::Span;
///
/// assert_eq!("1h 30m".parse(), Ok(Span::from_secs(5400)));
/// assert_eq!(Span::from_secs(5400).to_string(), "1h 30m");
/// assert!("soon".parse::<Span>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Makes a span from microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Makes a span from milliseconds, at most the longest that can be represented.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Makes a span from seconds, at most the longest that can be represented.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds, with their fraction.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl From<Duration> for Span {
    /// Whole microseconds of `duration`, at most the longest span.
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl From<Span> for Duration {
    /// The span as wall-clock duration; zero if it is negative.
    fn from(span: Span) -> Self {
        Duration::from_micros(u64::try_from(span.0).unwrap_or(0))
    }
}

/// Spells a span in code: `"5m"` where a [`Span`] is taken.
///
/// # Panics
///
/// Panics if the literal is not a span. Text from outside goes through [`str::parse`].
impl From<&'static str> for Span {
    fn from(text: &'static str) -> Self {
        match text.parse() {
            Ok(span) => span,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a length of time; write it as in \"250ms\", \"5s\", \"1h 30m\" or \"7d\"")]
pub struct SpanError(String);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.to_owned());
        let days_of_24_hours = jiff::SpanRelativeTo::days_are_24_hours();
        let span: jiff::Span = text.parse().map_err(|_| error())?;
        let duration = span.to_duration(days_of_24_hours).map_err(|_| error())?;
        let micros = i64::try_from(duration.as_micros()).map_err(|_| error())?;
        match micros {
            ..0 => Err(error()),
            _ => Ok(Self(micros)),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, i64); 6] = [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
            ("us", 1),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        let mut gap = "";
        for (unit, micros) in UNITS {
            if rest / micros != 0 {
                write!(f, "{gap}{}{unit}", rest / micros)?;
                gap = " ";
                rest %= micros;
            }
        }
        Ok(())
    }
}

impl PartialOrder for Span {
    fn less_equal(&self, other: &Self) -> bool {
        self <= other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_spans_have_their_length() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("5s", 5_000_000),
            ("1m", 60_000_000),
            ("1h30m", 5_400_000_000),
            ("2d", 172_800_000_000),
            ("0s", 0),
        ] {
            assert_eq!(Ok(Span(micros)), text.parse(), "{text}");
            assert_eq!(Ok(Span(micros)), Span(micros).to_string().parse(), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for text in ["", "5", "-5s", "5 parsecs", "1y2w", "99999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
