//! How long something goes on.

use std::fmt;

use super::Span;
use crate::params::Value;

/// How long something goes on: for a number of a key's records, or for a length of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// So many records.
    Records(u32),
    /// So long.
    Time(Span),
}

impl Lapse {
    /// No time at all.
    pub const NONE: Self = Self::Records(0);
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(1) => f.write_str("1 record"),
            Self::Records(records) => write!(f, "{records} records"),
            Self::Time(span) => span.fmt(f),
        }
    }
}

impl<'a> TryFrom<&'a Value> for Lapse {
    type Error = &'a Value;

    fn try_from(value: &'a Value) -> Result<Self, &'a Value> {
        match value {
            Value::Integer(records) => u32::try_from(*records).map(Self::Records).map_err(|_| value),
            Value::Span(span) => Ok(Self::Time(*span)),
            _ => Err(value),
        }
    }
}
