//! Declared parameters: one declaration gives validation, defaults, documentation and error messages.

use std::collections::BTreeMap;
use std::fmt;

use crate::Span;

/// A parameter as its owner declares it.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in a pipeline file.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it is when nobody says.
    pub default: Default,
    /// What it does, in one sentence without a full stop.
    pub doc: &'static str,
}

/// What a parameter takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A finite number in a range.
    Number(Range),
    /// A whole number from the first to the second bound, both included.
    Integer(i64, i64),
    /// A length of time, as in `5s`.
    Span,
    /// A number of bytes, as in `64MiB`.
    Size,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One or several texts.
    Texts,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A range of numbers; a bound is included unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// The lower bound.
    pub from: f64,
    /// The upper bound.
    pub to: f64,
    /// Whether the lower bound itself is refused.
    pub open: bool,
}

impl Range {
    /// Every finite number.
    pub const ANY: Self = Self { from: f64::NEG_INFINITY, to: f64::INFINITY, open: false };
    /// Zero and above.
    pub const NON_NEGATIVE: Self = Self { from: 0.0, to: f64::INFINITY, open: false };
    /// Above zero.
    pub const POSITIVE: Self = Self { from: 0.0, to: f64::INFINITY, open: true };
    /// Above zero, at most one.
    pub const FRACTION: Self = Self { from: 0.0, to: 1.0, open: true };

    fn holds(&self, value: f64) -> bool {
        let above = if self.open { value > self.from } else { value >= self.from };
        value.is_finite() && above && value <= self.to
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from.is_finite(), self.to.is_finite()) {
            (false, false) => f.write_str("a number"),
            (true, false) if self.open => write!(f, "a number above {}", self.from),
            (true, false) => write!(f, "a number of at least {}", self.from),
            (false, true) => write!(f, "a number of at most {}", self.to),
            (true, true) => {
                write!(f, "a number in {}{}, {}]", if self.open { '(' } else { '[' }, self.from, self.to)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(range) => range.fmt(f),
            Self::Integer(from, i64::MAX) => write!(f, "a whole number of at least {from}"),
            Self::Integer(from, to) => write!(f, "a whole number in [{from}, {to}]"),
            Self::Span => f.write_str("a length of time, as in \"5s\""),
            Self::Size => f.write_str("a number of bytes, as in \"64MiB\""),
            Self::Flag => f.write_str("true or false"),
            Self::Text => f.write_str("a text"),
            Self::Texts => f.write_str("a text or a list of texts"),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                write!(f, "one of {}", quoted.join(", "))
            }
        }
    }
}

/// What a parameter is when nobody says.
#[derive(Clone, Debug)]
pub enum Default {
    /// It must be said.
    Required,
    /// It may be left out, which means something of its own.
    Absent,
    /// This number.
    Number(f64),
    /// This whole number.
    Integer(i64),
    /// This text, read as it would be in a pipeline file.
    Text(&'static str),
    /// This truth value.
    Flag(bool),
}

/// A parameter's value, checked against its declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// A length of time.
    Span(Span),
    /// A number of bytes.
    Size(u64),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
}

/// A value as a pipeline file or a program gives it, not yet checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A number with a fraction or exponent.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
}

/// What is wrong with a set of parameters.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// Nobody declared a parameter of this name.
    #[error("unknown parameter \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A required parameter is missing.
    #[error("missing \"{name}\": {doc}")]
    Missing {
        /// The name.
        name: &'static str,
        /// What it does.
        doc: &'static str,
    },
    /// The value is not what the parameter takes.
    #[error("\"{name}\" takes {expected}, not {found}")]
    Refused {
        /// The name.
        name: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The value is possible, but not together with the others.
    #[error("\"{name}\" {reason}")]
    Conflict {
        /// The name.
        name: &'static str,
        /// Why not.
        reason: String,
    },
}

impl ParamError {
    /// The parameter that is wrong.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name } => name,
            Self::Missing { name, .. } | Self::Refused { name, .. } | Self::Conflict { name, .. } => name,
        }
    }
}

impl Parameter {
    /// Declares a parameter that must be given.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, default: Default::Required, doc }
    }

    /// Declares a parameter that may be left out, which means something of its own.
    pub const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, default: Default::Absent, doc }
    }

    /// Declares a parameter with a default.
    pub const fn with_default(name: &'static str, kind: Kind, default: Default, doc: &'static str) -> Self {
        Self { name, kind, default, doc }
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
            (Kind::Choice(words), Given::Text(text)) => {
                words.contains(&text.as_str()).then(|| Value::Text(text.clone()))
            }
            _ => None,
        };
        read.ok_or_else(|| self.refuse(&given))
    }

    fn refuse(&self, given: &Given) -> ParamError {
        let found = match given {
            Given::Number(value) => value.to_string(),
            Given::Integer(value) => value.to_string(),
            Given::Flag(value) => value.to_string(),
            Given::Text(value) => format!("\"{value}\""),
            Given::Texts(values) => format!("{values:?}"),
        };
        ParamError::Refused { name: self.name, expected: self.kind.to_string(), found }
    }

    fn default_value(&self) -> Result<Option<Value>, ParamError> {
        let given = match self.default {
            Default::Required => return Err(ParamError::Missing { name: self.name, doc: self.doc }),
            Default::Absent => return Ok(None),
            Default::Number(value) => Given::Number(value),
            Default::Integer(value) => Given::Integer(value),
            Default::Text(value) => Given::Text(value.to_owned()),
            Default::Flag(value) => Given::Flag(value),
        };
        self.check(given).map(Some)
    }
}

/// The values of a set of declared parameters, complete and checked.
///
/// # Panics
///
/// A getter panics if it asks for a name or type that was not declared: a mistake of the declaring code.
#[derive(Clone, Debug, PartialEq, std::default::Default)]
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

    /// The length of time, if there is one.
    pub fn span(&self, name: &str) -> Option<Span> {
        self.get(name, |value| if let Value::Span(span) = value { Some(*span) } else { None })
    }

    /// The number; it is required or has a default.
    pub fn number(&self, name: &str) -> f64 {
        self.opt_number(name).unwrap_or_else(|| panic!("parameter \"{name}\" has a value"))
    }

    /// The number, if there is one.
    pub fn opt_number(&self, name: &str) -> Option<f64> {
        self.get(name, |value| if let Value::Number(number) = value { Some(*number) } else { None })
    }

    /// The whole number, if there is one.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.get(name, |value| if let Value::Integer(number) = value { Some(*number) } else { None })
    }

    /// The number of bytes, if there is one.
    pub fn size(&self, name: &str) -> Option<u64> {
        self.get(name, |value| if let Value::Size(bytes) = value { Some(*bytes) } else { None })
    }

    /// The truth value; `false` if there is none.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name, |value| if let Value::Flag(flag) = value { Some(*flag) } else { None })
            .unwrap_or(false)
    }

    /// The text or chosen word, if there is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name, |value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    /// The text, if there is a parameter of this name and it is a text.
    pub fn given_text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The texts; empty if there are none.
    pub fn texts(&self, name: &str) -> &[String] {
        self.get(name, |value| if let Value::Texts(texts) = value { Some(texts.as_slice()) } else { None })
            .unwrap_or(&[])
    }

    fn get<'a, T>(&'a self, name: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.0.get(name)?;
        Some(read(value).unwrap_or_else(|| panic!("parameter \"{name}\" is declared as another kind")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: [Parameter; 3] = [
        Parameter::with_default(
            "alpha",
            Kind::Number(Range::FRACTION),
            Default::Number(0.05),
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
        assert_eq!((0.05, Some(Span::from_secs(5))), (params.number("alpha"), params.span("every")));
        assert_eq!(None, params.text("mode"));
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
