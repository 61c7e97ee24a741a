//! One key with its value, read as a type.

use std::ops::Range;

use tidewatch_dataflows::params::{Given, Kind, ParamError, Parameter, Value};
use tidewatch_dataflows::{Catalogue, Named, Span};
use toml::de::DeValue;
use toml::Spanned;

use super::expand::expand;
use super::near::{advice, nearest};
use super::reader::{Checked, Reader, Reported};
use super::table::Table;

/// A key and its value.
#[derive(Clone)]
pub(super) struct Item<'a> {
    reader: &'a Reader<'a>,
    name: &'a str,
    key: Range<usize>,
    value: &'a Spanned<DeValue<'a>>,
}

/// A text with its place, and as the file says it: the expanded text is never shown.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) written: String,
    pub(super) secret: bool,
    pub(super) at: usize,
}

impl Text {
    /// What to say of the text if it is none of what is possible.
    pub(super) fn advice<'a>(&self, possible: impl IntoIterator<Item = &'a str>) -> String {
        // A suggestion would tell what a secret resembles.
        advice(if self.secret { "" } else { &self.text }, possible)
    }
}

/// A value before it is checked.
pub(super) struct Raw {
    pub(super) given: Given,
    /// How a message shows it.
    pub(super) shown: String,
    /// Whether some of it came from the environment.
    pub(super) secret: bool,
}

impl<'a> Item<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        name: &'a str,
        key: Range<usize>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self { reader, name, key, value }
    }

    /// Where the value starts.
    pub(super) fn at(&self) -> usize {
        self.value.span().start
    }

    /// Where the key starts.
    pub(super) fn key_at(&self) -> usize {
        self.key.start
    }

    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Reports a mistake in the value.
    pub(super) fn fault(&self, message: impl Into<String>) -> Reported {
        self.reader.fault(self.at(), message)
    }

    /// The value as a table, where a text has been ruled out already.
    pub(super) fn table_or_text(&self, place: &'static str) -> Checked<Table<'a>> {
        match self.value() {
            DeValue::Table(_) => self.table(place),
            _ => Err(self.refuse("a text or a table")),
        }
    }

    /// The value as a table.
    pub(super) fn table(&self, place: &'static str) -> Checked<Table<'a>> {
        match self.value() {
            DeValue::Table(entries) => Ok(Table::new(self.reader, entries, place, self.at())),
            _ => Err(self.refuse("a table")),
        }
    }

    /// The value as a table with keys of any name.
    pub(super) fn entries(&self) -> Checked<Vec<(&'a str, Item<'a>)>> {
        let DeValue::Table(entries) = self.value() else { return Err(self.refuse("a table")) };
        let item = |(key, value): (&'a Spanned<_>, _)| {
            let name: &'a str = AsRef::<str>::as_ref(key.get_ref());
            (name, Item::new(self.reader, name, key.span(), value))
        };
        Ok(entries.iter().map(item).collect())
    }

    /// The value as a list of tables; `expected` says so.
    pub(super) fn tables(&self, place: &'static str, expected: &str) -> Checked<Vec<Table<'a>>> {
        let DeValue::Array(list) = self.value() else { return Err(self.refuse(expected)) };
        all(list.iter().map(|value| match value.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(self.reader, entries, place, value.span().start)),
            _ => Err(Self { value, ..self.clone() }.refuse(expected)),
        }))
    }

    /// A text that says something.
    pub(super) fn text(&self) -> Checked<Text> {
        match self.value() {
            DeValue::String(_) => text(self.reader, self.name, self.value),
            _ => Err(self.refuse("a text")),
        }
    }

    /// What the text names, with the text as the file says it; `what` is it, as in `detector`.
    pub(super) fn lookup<T: Named>(
        &self,
        what: &str,
        catalogue: &'a Catalogue<T>,
    ) -> Checked<(&'a T, &'a str)> {
        let text = self.text()?;
        let found = catalogue.get(&text.text).zip(self.value().as_str());
        let unknown = || format!("unknown {what} {:?}{}", text.written, text.advice(catalogue.names()));
        found.ok_or_else(|| self.fault(unknown()))
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self) -> Checked<Vec<Text>> {
        match self.value() {
            DeValue::String(_) => Ok(vec![text(self.reader, self.name, self.value)?]),
            DeValue::Array(list) => all(list.iter().map(|value| match value.get_ref() {
                DeValue::String(_) => text(self.reader, self.name, value),
                _ => Err(Self { value, ..self.clone() }.refuse("a text or a list of texts")),
            })),
            _ => Err(self.refuse("a text or a list of texts")),
        }
    }

    /// Checks the value against a declaration; the messages show what is written, not what the environment holds.
    pub(super) fn check(&self, parameter: &Parameter) -> Checked<(Raw, Value)> {
        let raw = self.raw(&parameter.kind)?;
        // What the operating system says of it would name nothing.
        if self.name == "path" && matches!(&raw.given, Given::Text(text) if text.is_empty()) {
            return Err(self.fault(format!("{:?} is empty; name a file", self.name)));
        }
        match parameter.check(raw.given.clone()) {
            Ok(value) => Ok((raw, value)),
            Err(ParamError::Refused { expected, .. }) => {
                let near = match (&parameter.kind, &raw.given) {
                    (Kind::Choice(words), Given::Text(text)) if !raw.secret => nearest(text, words),
                    _ => None,
                };
                let advice = near.map(|word| format!("; did you mean {word:?}?")).unwrap_or_default();
                Err(self.fault(format!("{:?} takes {expected}, not {}{advice}", self.name, raw.shown)))
            }
            Err(_) => Err(self.fault(format!("{:?} cannot be {}", self.name, raw.shown))),
        }
    }

    /// The word as what it stands for.
    pub(super) fn choice<T: Copy>(&self, words: &'static [&'static str], meanings: &[T]) -> Checked<T> {
        let (raw, value) = self.check(&declare(Kind::Choice(words)))?;
        let index = words.iter().position(|word| matches!(&value, Value::Text(text) if text == word));
        index
            .and_then(|index| meanings.get(index).copied())
            .ok_or_else(|| self.fault(format!("{:?} cannot be {}", self.name, raw.shown)))
    }

    pub(super) fn number(&self, parameter: &Parameter) -> Checked<f64> {
        match self.check(parameter)? {
            (_, Value::Number(number)) => Ok(number),
            _ => Err(self.refuse("a number")),
        }
    }

    pub(super) fn flag(&self) -> Checked<bool> {
        match self.check(&declare(Kind::Flag))? {
            (_, Value::Flag(flag)) => Ok(flag),
            _ => Err(self.refuse("true or false")),
        }
    }

    pub(super) fn span(&self) -> Checked<Span> {
        match self.check(&declare(Kind::Span))? {
            (_, Value::Span(span)) => Ok(span),
            _ => Err(self.refuse("a length of time")),
        }
    }

    /// A length of time that is not zero.
    pub(super) fn positive_span(&self) -> Checked<Span> {
        match self.span()? {
            Span::ZERO => Err(self.fault(format!("{:?} must be longer than zero", self.name))),
            span => Ok(span),
        }
    }

    /// A whole number of at least zero.
    pub(super) fn natural(&self) -> Checked<u64> {
        match self.check(&declare(Kind::Integer(0, i64::MAX)))? {
            (_, Value::Integer(number)) => u64::try_from(number).map_err(|_| self.refuse("a whole number")),
            _ => Err(self.refuse("a whole number")),
        }
    }

    /// A whole number or a size, at least one.
    pub(super) fn amount(&self, kind: Kind) -> Checked<u64> {
        let amount = match self.check(&declare(kind))? {
            (_, Value::Integer(number)) => u64::try_from(number).unwrap_or(0),
            (_, Value::Size(bytes)) => bytes,
            _ => 0,
        };
        if amount == 0 {
            return Err(self.fault(format!("{:?} must be above zero", self.name)));
        }
        Ok(amount)
    }

    fn refuse(&self, expected: &str) -> Reported {
        self.fault(format!("{:?} takes {expected}, not {}", self.name, self.shown()))
    }

    fn shown(&self) -> String {
        match self.value() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
            _ => self.reader.written(self.value.span()).to_owned(),
        }
    }

    fn raw(&self, kind: &Kind) -> Checked<Raw> {
        let (mut secret, shown) = (false, self.shown());
        let given = match self.value() {
            DeValue::String(_) => {
                let text = expanded(self.reader, self.value)?;
                secret = text.secret;
                Given::Text(text.text)
            }
            DeValue::Array(_) if matches!(kind, Kind::Texts) => {
                let texts = self.texts()?;
                secret = texts.iter().any(|text| text.secret);
                Given::Texts(texts.into_iter().map(|text| text.text).collect())
            }
            DeValue::Table(_) if matches!(kind, Kind::Table) => {
                let mut entries = Vec::new();
                secret = self.flatten("", &mut entries)?;
                Given::Table(entries)
            }
            DeValue::Boolean(flag) => Given::Flag(*flag),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) => Given::Integer(number),
                Err(_) => return Err(self.fault(format!("{:?} is too large a number: {shown}", self.name))),
            },
            DeValue::Float(digits) => Given::Number(digits.as_str().parse().unwrap_or(f64::NAN)),
            _ => return Err(self.refuse(&kind.to_string())),
        };
        Ok(Raw { given, shown, secret })
    }
}

impl Item<'_> {
    /// Adds what a table holds, by its path with dots, so that `a.b = 1` and `"a.b" = 1` are the same; returns whether some
    /// of it came from the environment.
    fn flatten(&self, before: &str, into: &mut Vec<(String, String)>) -> Checked<bool> {
        let mut secret = false;
        for (name, item) in self.entries()? {
            let path = format!("{before}{name}");
            secret |= match item.value() {
                DeValue::Table(entries) if entries.is_empty() => {
                    return Err(item.fault(format!("{:?} is an empty table", item.name)));
                }
                DeValue::Table(_) => item.flatten(&format!("{path}."), into)?,
                DeValue::Array(_) | DeValue::Datetime(_) => {
                    return Err(item.refuse("a text, a number, or true or false"));
                }
                _ => {
                    let raw = item.raw(&Kind::Text)?;
                    let text = match raw.given {
                        Given::Text(text) => text,
                        number => number.to_string(),
                    };
                    into.push((path, text));
                    raw.secret
                }
            };
        }
        Ok(secret)
    }
}

/// All the values, or the knowledge that some could not be had; each is tried.
pub(super) fn all<T>(values: impl Iterator<Item = Checked<T>>) -> Checked<Vec<T>> {
    let values: Vec<_> = values.collect();
    values.into_iter().collect()
}

fn declare(kind: Kind) -> Parameter {
    Parameter::optional("", kind, "")
}

fn text<'a>(reader: &Reader<'a>, name: &str, value: &Spanned<DeValue<'a>>) -> Checked<Text> {
    let text = expanded(reader, value)?;
    // A control character in a name would break keys apart, and messages over lines.
    match (text.text.is_empty(), text.text.chars().any(|char| char.is_control() && char != '\t')) {
        (true, _) => Err(reader.fault(text.at, format!("{name:?} is empty"))),
        (_, true) => Err(reader.fault(text.at, format!("{name:?} contains a control character"))),
        _ => Ok(text),
    }
}

fn expanded<'a>(reader: &Reader<'a>, value: &Spanned<DeValue<'a>>) -> Checked<Text> {
    let (at, written) = (value.span().start, value.get_ref().as_str().unwrap_or_default());
    match expand(written, reader.environment) {
        Ok(expanded) => Ok(Text {
            text: expanded.text.into_owned(),
            written: written.to_owned(),
            secret: expanded.secret,
            at,
        }),
        Err(wrong) => {
            let within = reader.written(value.span()).find(&wrong.at).unwrap_or(0);
            Err(reader.fault(at + within, wrong.message))
        }
    }
}
