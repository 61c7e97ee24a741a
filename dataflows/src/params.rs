//! Declared parameters: one declaration gives validation, defaults, documentation and error messages.

mod error;
mod kind;
mod value;

use std::collections::BTreeMap;

use crate::{Lapse, Span};

pub use error::ParamError;
pub use kind::{Kind, Range};
pub use value::{Given, Literal, Value};

/// A parameter as its owner declares it.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in a pipeline file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub presence: Presence,
    /// What it does, in one sentence without a full stop.
    pub doc: &'static str,
}

/// What a parameter is when nobody says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Presence {
    /// It must be said.
    Required,
    /// It may be left out, which means something of its own.
    Optional,
    /// It is this.
    Default(Literal),
}

impl Parameter {
    /// Declares a parameter that must be given.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Required, doc }
    }

    /// Declares a parameter that may be left out, which means something of its own.
    pub const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Optional, doc }
    }

    /// Declares a parameter with a default.
    pub const fn with_default(name: &'static str, kind: Kind, default: Literal, doc: &'static str) -> Self {
        Self { name, kind, presence: Presence::Default(default), doc }
    }

    /// Whether it must be given.
    pub fn is_required(&self) -> bool {
        self.presence == Presence::Required
    }

    /// Checks a number against the declaration, and returns it.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if it is out of range.
    pub fn number(&self, value: f64) -> Result<f64, ParamError> {
        match self.check(Given::Number(value))? {
            Value::Number(value) => Ok(value),
            _ => Err(self.refuse(&Given::Number(value))),
        }
    }

    /// Checks a whole number against the declaration, and returns it.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if it is out of range.
    pub fn integer(&self, value: i64) -> Result<i64, ParamError> {
        match self.check(Given::Integer(value))? {
            Value::Integer(value) => Ok(value),
            _ => Err(self.refuse(&Given::Integer(value))),
        }
    }

    /// Checks a number of records or a length of time against the declaration, and returns it.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if it is out of range.
    pub fn lapse(&self, lapse: Lapse) -> Result<Lapse, ParamError> {
        let given = match lapse {
            Lapse::Records(records) => Given::Integer(records.into()),
            Lapse::Time(span) => Given::Text(span.to_string()),
        };
        self.check(given).map(|_| lapse)
    }

    /// Checks any given value; a text is read as what the parameter takes.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if it is not what the parameter takes.
    pub fn check(&self, given: Given) -> Result<Value, ParamError> {
        let read = match (&self.kind, &given) {
            (Kind::Number(range), Given::Number(value)) => {
                range.holds(*value).then_some(Value::Number(*value))
            }
            (Kind::Number(range), Given::Integer(value)) => {
                let value = *value as f64;
                range.holds(value).then_some(Value::Number(value))
            }
            (Kind::Number(range), Given::Text(text)) => {
                text.parse().ok().filter(|value| range.holds(*value)).map(Value::Number)
            }
            (Kind::Integer(from, to), Given::Integer(value)) => {
                (from..=to).contains(&value).then_some(Value::Integer(*value))
            }
            (Kind::Integer(from, to), Given::Text(text)) => {
                text.parse().ok().filter(|value| (from..=to).contains(&value)).map(Value::Integer)
            }
            (Kind::Lapse(from, to), Given::Integer(records)) => {
                (from..=to).contains(&records).then_some(Value::Integer(*records))
            }
            (Kind::Lapse(from, to), Given::Text(text)) => match text.parse() {
                Ok(records) => (from..=to).contains(&&records).then_some(Value::Integer(records)),
                Err(_) => text.parse().ok().filter(|span| *span > Span::ZERO).map(Value::Span),
            },
            (Kind::Span, Given::Text(text)) => text.parse().ok().map(Value::Span),
            (Kind::Size, Given::Integer(bytes)) => u64::try_from(*bytes).ok().map(Value::Size),
            (Kind::Size, Given::Text(text)) => {
                text.parse::<bytesize::ByteSize>().ok().map(|size| Value::Size(size.0))
            }
            (Kind::Flag, Given::Flag(value)) => Some(Value::Flag(*value)),
            (Kind::Flag, Given::Text(text)) => text.parse().ok().map(Value::Flag),
            (Kind::Text, Given::Text(text)) => Some(Value::Text(text.clone())),
            (Kind::Texts, Given::Text(text)) => Some(Value::Texts(vec![text.clone()])),
            (Kind::Texts, Given::Texts(texts)) => Some(Value::Texts(texts.clone())),
            (Kind::Table, Given::Table(entries)) => Some(Value::Table(entries.iter().cloned().collect())),
            (Kind::Choice(words), Given::Text(text)) => {
                words.contains(&text.as_str()).then(|| Value::Text(text.clone()))
            }
            _ => None,
        };
        read.ok_or_else(|| self.refuse(&given))
    }

    fn refuse(&self, given: &Given) -> ParamError {
        ParamError::Refused { name: self.name, expected: self.kind.to_string(), found: given.to_string() }
    }

    fn default_value(&self) -> Result<Option<Value>, ParamError> {
        match self.presence {
            Presence::Required => Err(ParamError::Missing { name: self.name, doc: self.doc }),
            Presence::Optional => Ok(None),
            Presence::Default(literal) => self.check(literal.into()).map(Some),
        }
    }
}

/// The values of a set of declared parameters, complete and checked.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::params::{Given, Kind, Literal, Parameter, Params, Range};
/// use tidewatch_dataflows::Span;
///
/// let declared = [
///     Parameter::with_default("alpha", Kind::Number(Range::FRACTION), Literal::Number(0.05), "how fast to forget"),
///     Parameter::optional("after", Kind::Span, "when to give up"),
/// ];
/// let params = Params::check(&declared, [("after".to_owned(), Given::Text("5m".to_owned()))])?;
/// assert_eq!(params.value::<f64>("alpha"), 0.05);
/// assert_eq!(params.optional("after"), Some(Span::from_secs(300)));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Params(BTreeMap<&'static str, Value>);

impl Params {
    /// Checks what was given against the declarations, and fills in the defaults.
    ///
    /// # Errors
    ///
    /// The first [`ParamError`]: unknown names first, in the order given, then the declarations in their order.
    pub fn check(
        declared: &[Parameter],
        given: impl IntoIterator<Item = (String, Given)>,
    ) -> Result<Self, ParamError> {
        let mut values = BTreeMap::new();
        for (name, given) in given {
            let parameter = declared.iter().find(|parameter| parameter.name == name);
            let parameter = parameter.ok_or(ParamError::Unknown { name })?;
            values.insert(parameter.name, parameter.check(given)?);
        }
        for parameter in declared {
            if !values.contains_key(parameter.name) {
                if let Some(value) = parameter.default_value()? {
                    values.insert(parameter.name, value);
                }
            }
        }
        Ok(Self(values))
    }

    /// The same with another value of a parameter.
    ///
    /// # Errors
    ///
    /// [`ParamError::Refused`] if it is not what the parameter takes.
    pub fn with(mut self, parameter: &Parameter, given: Given) -> Result<Self, ParamError> {
        self.0.insert(parameter.name, parameter.check(given)?);
        Ok(self)
    }

    /// The value of a parameter that is required or has a default: an `f64`, whole number, [`Span`], number
    /// of bytes (`u64`), `bool`, text or chosen word (`&str`), several texts (`&[String]`), or texts by
    /// name (`&BTreeMap<String, String>`), as its kind demands.
    ///
    /// # Panics
    ///
    /// Panics if no such parameter is declared, or if it is of a kind that the type does not hold: mistakes of the
    /// declaring code.
    pub fn value<'a, T: TryFrom<&'a Value, Error = &'a Value>>(&'a self, name: &str) -> T {
        self.optional(name).unwrap_or_else(|| panic!("parameter \"{name}\" has no value"))
    }

    /// The value of a parameter that may be left out, if it was given.
    ///
    /// # Panics
    ///
    /// As [`Params::value`], but for a parameter without a value.
    pub fn optional<'a, T: TryFrom<&'a Value, Error = &'a Value>>(&'a self, name: &str) -> Option<T> {
        // Not the value: it may be a secret.
        let otherwise = |_| panic!("parameter \"{name}\" is declared otherwise");
        self.get(name).map(|value| T::try_from(value).unwrap_or_else(otherwise))
    }

    /// The value, whatever it is, if there is a parameter of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    const DECLARED: [Parameter; 3] = [
        Parameter::with_default(
            "alpha",
            Kind::Number(Range::FRACTION),
            Literal::Number(0.05),
            "how fast to forget",
        ),
        Parameter::required("every", Kind::Span, "how long a window is"),
        Parameter::optional("mode", Kind::Choice(&["a", "b"]), "which"),
    ];

    fn check(given: &[(&str, Given)]) -> Result<Params, String> {
        let given = given.iter().map(|(name, given)| ((*name).to_owned(), given.clone()));
        Params::check(&DECLARED, given).map_err(|error| error.to_string())
    }

    #[test]
    fn text_is_read_as_what_the_parameter_takes_and_defaults_fill_in() {
        let params = check(&[("every", Given::Text("5s".into()))]).unwrap();
        assert_eq!((0.05, Span::from_secs(5)), (params.value("alpha"), params.value("every")));
        assert_eq!(None, params.optional::<&str>("mode"));
    }

    #[test]
    #[should_panic = "parameter \"mode\" has no value"]
    fn what_may_be_left_out_has_no_value_to_rely_on() {
        let params = check(&[("every", Given::Text("5s".into()))]).unwrap();
        params.value::<&str>("mode");
    }

    #[test]
    #[should_panic = "parameter \"alpha\" is declared otherwise"]
    fn a_value_is_not_read_as_another_kind() {
        let params = check(&[("every", Given::Text("5s".into()))]).unwrap();
        params.value::<i64>("alpha");
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let every = ("every", Given::Text("5s".into()));
        for (given, message) in [
            (vec![], "missing \"every\": how long a window is"),
            (vec![("beta", Given::Flag(true))], "unknown parameter \"beta\""),
            (vec![every.clone(), ("alpha", Given::Number(0.0))], "\"alpha\" takes a number in (0, 1], not 0"),
            (
                vec![every.clone(), ("alpha", Given::Text("x".into()))],
                "\"alpha\" takes a number in (0, 1], not \"x\"",
            ),
            (vec![every, ("mode", Given::Text("c".into()))], "\"mode\" takes one of \"a\", \"b\", not \"c\""),
        ] {
            assert_eq!(Err(message.to_owned()), check(&given));
        }
    }
}
