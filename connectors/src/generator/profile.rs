//! What a generator generates.

use tidewatch_dataflows::params::{Kind, Literal, ParamError, Parameter, Params, Range};
use tidewatch_dataflows::{EventTime, Span};

/// More than this share of late records would not leave each one a record before it that is not late.
const MOST_LATE: f64 = 0.25;

const SHARE: Range = Range { from: 0.0, to: 1.0, open: false };
/// Bounded, so that no sum of values is infinite.
const VALUE: Range = Range { from: 0.0, to: 1e12, open: false };

/// The parameters of a [`Profile`].
pub const PARAMETERS: &[Parameter] = &[
    Parameter::with_default(
        "seed",
        Kind::Integer(0, i64::MAX),
        Literal::Integer(1),
        "what all that is random follows from",
    ),
    Parameter::with_default(
        "keys",
        Kind::Integer(1, 10_000_000),
        Literal::Integer(100),
        "the number of keys",
    ),
    Parameter::with_default(
        "partitions",
        Kind::Integer(1, 65_536),
        Literal::Integer(1),
        "the number of partitions",
    ),
    Parameter::with_default(
        "records",
        Kind::Integer(0, i64::MAX),
        Literal::Integer(1_000_000),
        "the number of records in all partitions together",
    ),
    Parameter::with_default(
        "rate",
        Kind::Number(Range::POSITIVE),
        Literal::Number(1_000.0),
        "records per second of event time, in all partitions together",
    ),
    Parameter::with_default(
        "start",
        Kind::Text,
        Literal::Text("2024-01-01T00:00:00Z"),
        "the event time at which records start, in RFC 3339",
    ),
    Parameter::with_default(
        "season",
        Kind::Span,
        Literal::Text("1h"),
        "the period of the values of each key; above zero",
    ),
    Parameter::with_default(
        "amplitude",
        Kind::Number(VALUE),
        Literal::Number(10.0),
        "how far the season takes a value from its key's level",
    ),
    Parameter::with_default(
        "noise",
        Kind::Number(VALUE),
        Literal::Number(1.0),
        "the standard deviation of the noise on values",
    ),
    Parameter::with_default(
        "disorder",
        Kind::Span,
        Literal::Text("0s"),
        "how far a record may be behind an earlier one of its partition without being late",
    ),
    Parameter::with_default(
        "late",
        Kind::Number(Range { to: MOST_LATE, ..SHARE }),
        Literal::Number(0.0),
        "the share of records that are further behind than \"disorder\"",
    ),
    Parameter::with_default(
        "anomalies",
        Kind::Number(SHARE),
        Literal::Number(0.001),
        "the share of records that are anomalous; none of them is late",
    ),
    Parameter::with_default(
        "magnitude",
        Kind::Number(VALUE),
        Literal::Number(20.0),
        "how far an anomalous value is from what it would have been",
    ),
];

/// What a [`Generator`](super::Generator) generates; [`PARAMETERS`] says what each field is and may be.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::generator::Profile;
///
/// let profile = Profile { seed: 7, keys: 3, ..Profile::default() };
/// assert_eq!(profile.records, 1_000_000);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What all that is random follows from.
    pub seed: u64,
    /// The number of keys, at least one.
    pub keys: u32,
    /// The number of partitions, at least one.
    pub partitions: u32,
    /// The number of records in all partitions together.
    pub records: u64,
    /// Records per second of event time in all partitions together, above zero.
    pub rate: f64,
    /// The event time at which records start.
    pub start: EventTime,
    /// The period of the values of each key, above zero.
    pub season: Span,
    /// How far the season takes a value from its key's level.
    pub amplitude: f64,
    /// The standard deviation of the noise on values.
    pub noise: f64,
    /// How far a record may be behind an earlier one of its partition without being late.
    pub disorder: Span,
    /// The share of records that are further behind, in `[0, 0.25]`.
    pub late: f64,
    /// The share of records that are anomalous, in `[0, 1]`; none of them is late.
    pub anomalies: f64,
    /// How far an anomalous value is from what it would have been.
    pub magnitude: f64,
}

impl Default for Profile {
    fn default() -> Self {
        let params = Params::check(PARAMETERS, []).expect("the defaults are in range");
        Self::from_params(&params).expect("the default start is a time")
    }
}

impl Profile {
    /// The profile that `params` describes, which have been checked against [`PARAMETERS`].
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] if `start` is not a time or a length of time is out of range.
    pub fn from_params(params: &Params) -> Result<Self, ParamError> {
        let start: &str = params.value("start");
        let start: jiff::Timestamp = start.parse().map_err(|_| {
            conflict("start", &format!("is not a time as in \"2024-01-01T00:00:00Z\": \"{start}\""))
        })?;
        let profile = Self {
            seed: params.value("seed"),
            keys: params.value("keys"),
            partitions: params.value("partitions"),
            records: params.value("records"),
            rate: params.value("rate"),
            start: EventTime::from_micros(start.as_microsecond()),
            season: params.value("season"),
            amplitude: params.value("amplitude"),
            noise: params.value("noise"),
            disorder: params.value("disorder"),
            late: params.value("late"),
            anomalies: params.value("anomalies"),
            magnitude: params.value("magnitude"),
        };
        profile.check()?;
        Ok(profile)
    }

    /// Checks each field against its declaration, since a program may have set it.
    pub(super) fn check(&self) -> Result<(), ParamError> {
        let declared = |name: &str| {
            PARAMETERS.iter().find(|parameter| parameter.name == name).expect("every field is declared")
        };
        for (name, value) in [("keys", self.keys), ("partitions", self.partitions)] {
            declared(name).integer(value.into())?;
        }
        for (name, value) in [
            ("rate", self.rate),
            ("amplitude", self.amplitude),
            ("noise", self.noise),
            ("late", self.late),
            ("anomalies", self.anomalies),
            ("magnitude", self.magnitude),
        ] {
            declared(name).number(value)?;
        }
        if self.season <= Span::ZERO {
            return Err(conflict("season", "must be above zero"));
        }
        if self.disorder < Span::ZERO {
            return Err(conflict("disorder", "must not be negative"));
        }
        Ok(())
    }
}

fn conflict(name: &'static str, reason: &str) -> ParamError {
    ParamError::Conflict { name, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::params::Given;

    use super::*;

    fn profile(given: &[(&str, &str)]) -> Result<Profile, ParamError> {
        let given = given.iter().map(|(name, text)| ((*name).to_owned(), Given::Text((*text).to_owned())));
        Profile::from_params(&Params::check(PARAMETERS, given)?)
    }

    #[test]
    fn parameters_become_fields() {
        let given =
            [("seed", "9"), ("keys", "3"), ("start", "1970-01-01T00:00:01+00:00"), ("disorder", "2s")];
        let expected = Profile {
            seed: 9,
            keys: 3,
            start: EventTime::from_micros(1_000_000),
            disorder: Span::from_secs(2),
            ..Profile::default()
        };
        assert_eq!(Ok(expected), profile(&given));
    }

    #[test]
    fn what_cannot_be_generated_is_refused_by_name() {
        for (name, text) in [
            ("keys", "0"),
            ("rate", "0"),
            ("start", "now"),
            ("season", "0s"),
            ("late", "0.3"),
            ("anomalies", "1.1"),
            ("noise", "-1"),
            ("pace", "1"),
        ] {
            assert_eq!(name, profile(&[(name, text)]).unwrap_err().name());
        }
        let negative = Profile { disorder: Span::from_micros(-1), ..Profile::default() };
        assert_eq!("\"disorder\" must not be negative", negative.check().unwrap_err().to_string());
    }
}
