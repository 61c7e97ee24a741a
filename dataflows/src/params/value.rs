//! Values of parameters: as they are declared, as they are given, and as they were checked.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::Span;

/// A default, as a declaration spells it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Literal {
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// A text, read as it would be in a pipeline file.
    Text(&'static str),
    /// A truth value.
    Flag(bool),
    /// Numbers by name.
    #[serde(serialize_with = "as_map")]
    Table(&'static [(&'static str, f64)]),
}

fn as_map<S: Serializer>(entries: &&[(&str, f64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().copied())
}

/// As a pipeline file spells it.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(name, number)| format!("{name} = {number}")).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
            literal => Given::from(*literal).fmt(f),
        }
    }
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
    /// Texts by name.
    Table(Vec<(String, String)>),
}

impl From<Literal> for Given {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Number(value) => Self::Number(value),
            Literal::Integer(value) => Self::Integer(value),
            Literal::Text(value) => Self::Text(value.to_owned()),
            Literal::Flag(value) => Self::Flag(value),
            Literal::Table(entries) => Self::Table(
                entries.iter().map(|(name, number)| ((*name).to_owned(), number.to_string())).collect(),
            ),
        }
    }
}

/// As a message or an example shows it: a text in quotes.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Flag(value) => value.fmt(f),
            Self::Text(value) => write!(f, "\"{value}\""),
            Self::Texts(values) => write!(f, "{values:?}"),
            // One of them may be a secret.
            Self::Table(_) => f.write_str("a table"),
        }
    }
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
    /// A text or chosen word.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Texts by name.
    Table(BTreeMap<String, String>),
}

/// Reads a value as a type; one that the type cannot hold is returned as it is.
macro_rules! readable {
    ($($type:ty: $($pattern:pat => $read:expr),+;)*) => {$(
        impl<'a> TryFrom<&'a Value> for $type {
            type Error = &'a Value;

            fn try_from(value: &'a Value) -> Result<Self, &'a Value> {
                let read = match value {
                    $($pattern => $read,)+
                    _ => None,
                };
                read.ok_or(value)
            }
        }
    )*};
}

readable! {
    f64: Value::Number(number) => Some(*number);
    i64: Value::Integer(number) => Some(*number);
    u32: Value::Integer(number) => Self::try_from(*number).ok();
    u64: Value::Integer(number) => Self::try_from(*number).ok(), Value::Size(bytes) => Some(*bytes);
    usize: Value::Integer(number) => Self::try_from(*number).ok();
    Span: Value::Span(span) => Some(*span);
    bool: Value::Flag(flag) => Some(*flag);
    &'a str: Value::Text(text) => Some(text.as_str());
    &'a [String]: Value::Texts(texts) => Some(texts.as_slice());
    &'a BTreeMap<String, String>: Value::Table(texts) => Some(texts);
}
