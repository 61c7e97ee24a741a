//! Makes rows of the cells that a format finds.

use std::fmt::Write as _;

use tidewatch_dataflows::record::KEY_SEPARATOR;
use tidewatch_dataflows::EventTime;

use super::layout::{provided, Provided};
use super::timestamp::{Refusal, TimeFormat};
use super::{excerpt, Layout, Missing, Row};
use crate::source::Envelope;

/// What a format found where a field should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    /// Nothing, or an explicit null.
    Missing,
    /// A field of a format in which everything is text.
    Raw(&'a [u8]),
    /// Text in a format that also has numbers.
    Text(&'a str),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    /// An array or object.
    Nested,
}

/// A part of the key.
#[derive(Clone, Debug)]
enum Part {
    Constant(String),
    Slot(usize),
    /// The key of the message.
    Key,
    /// A header of the message.
    Header(String),
}

/// A layout made ready for one partition: each distinct field has a slot.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    fields: Vec<String>,
    time: usize,
    parse: TimeFormat,
    key: Vec<Part>,
    values: Vec<usize>,
    missing: Missing,
    non_finite: Missing,
}

impl Plan {
    pub(super) fn new(layout: &Layout, partition: &str) -> Self {
        let mut fields: Vec<String> = Vec::new();
        let mut slot = |field: &str| {
            fields.iter().position(|known| known == field).unwrap_or_else(|| {
                fields.push(field.to_owned());
                fields.len() - 1
            })
        };
        let time = slot(&layout.time.field);
        let values = layout.values().map(&mut slot).collect();
        let key = layout
            .key_parts()
            .map(|part| match provided(part) {
                Some(Provided::Partition) => Part::Constant(partition.to_owned()),
                Some(Provided::Topic) => Part::Constant(
                    partition.rsplit_once('/').map_or(partition, |(topic, _)| topic).to_owned(),
                ),
                Some(Provided::Key) => Part::Key,
                Some(Provided::Header(name)) => Part::Header(name.to_owned()),
                None => Part::Slot(slot(part)),
            })
            .collect();
        let parse = layout.time.parse.clone();
        Self { fields, time, parse, key, values, missing: layout.missing, non_finite: layout.non_finite }
    }

    /// The distinct fields; the index of a field is its slot.
    pub(super) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Fills `row` with what `cell` finds at each slot, and with what is in the envelope.
    pub(super) fn read<'a>(
        &self,
        cell: impl Fn(usize) -> Cell<'a>,
        envelope: Option<&dyn Envelope>,
        row: &mut Row,
    ) -> Result<(), String> {
        row.time = self.time(cell(self.time))?;
        row.key.clear();
        for (index, part) in self.key.iter().enumerate() {
            if index > 0 {
                row.key.push(KEY_SEPARATOR);
            }
            let start = row.key.len();
            match part {
                Part::Constant(text) => row.key.push_str(text),
                Part::Slot(slot) => self.key(*slot, cell(*slot), &mut row.key)?,
                Part::Key => {
                    self.enclosed(part, envelope.and_then(|envelope| envelope.key()), &mut row.key)?;
                }
                Part::Header(name) => {
                    self.enclosed(part, envelope.and_then(|envelope| envelope.header(name)), &mut row.key)?;
                }
            }
            if row.key[start..].contains(KEY_SEPARATOR) {
                let found = excerpt(&row.key.as_bytes()[start..]);
                return Err(format!("{} holds the key separator U+001F: {found}", self.part_name(part)));
            }
        }
        row.values.clear();
        for slot in &self.values {
            row.values.push(self.value(*slot, cell(*slot))?);
        }
        Ok(())
    }

    fn part_name(&self, part: &Part) -> String {
        match part {
            Part::Constant(_) => "the partition's name".to_owned(),
            Part::Slot(slot) => format!("field \"{}\"", self.fields[*slot]),
            Part::Key => "the message's key".to_owned(),
            Part::Header(name) => format!("header \"{name}\""),
        }
    }

    /// Adds something of the envelope to the key.
    #[inline]
    fn enclosed(&self, part: &Part, found: Option<&[u8]>, key: &mut String) -> Result<(), String> {
        match found.map(std::str::from_utf8) {
            None | Some(Ok("")) => Err(format!("{} is missing", self.part_name(part))),
            Some(Ok(text)) => {
                key.push_str(text);
                Ok(())
            }
            Some(Err(_)) => {
                let found = excerpt(found.unwrap_or_default());
                Err(format!("{} is not UTF-8: {found}", self.part_name(part)))
            }
        }
    }

    #[inline]
    fn time(&self, cell: Cell<'_>) -> Result<EventTime, String> {
        let time = match cell {
            Cell::Raw(bytes) => text(bytes).map_or(Err(Refusal::Malformed), |text| self.parse.parse(text)),
            Cell::Text(text) => self.parse.parse(text),
            Cell::Signed(number) => self.parse.integer(number),
            Cell::Unsigned(number) => i64::try_from(number)
                .map_err(|_| Refusal::Range)
                .and_then(|number| self.parse.integer(number)),
            Cell::Float(number) => self.parse.float(number),
            Cell::Missing | Cell::Flag(_) | Cell::Nested => Err(Refusal::Malformed),
        };
        time.map_err(|refusal| match cell {
            Cell::Missing | Cell::Raw(b"") | Cell::Text("") => self.is_missing(self.time),
            _ => self.complain(self.time, &self.parse.explain(refusal), cell),
        })
    }

    #[inline]
    fn key(&self, slot: usize, cell: Cell<'_>, key: &mut String) -> Result<(), String> {
        // Beyond 2^53 several numbers that differ in the text would be the same key.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match cell {
            Cell::Missing | Cell::Raw(b"") | Cell::Text("") => return Err(self.is_missing(slot)),
            Cell::Raw(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => key.push_str(text),
                Err(_) => return Err(self.complain(slot, "is not UTF-8", cell)),
            },
            Cell::Text(text) => key.push_str(text),
            Cell::Unsigned(number) => write!(key, "{number}").expect("a String takes all text"),
            Cell::Signed(number) => write!(key, "{number}").expect("a String takes all text"),
            Cell::Float(number) if number.abs() <= EXACT => {
                write!(key, "{number}").expect("a String takes all text");
            }
            Cell::Float(_) => return Err(self.complain(slot, "is too large for a key", cell)),
            Cell::Flag(flag) => key.push_str(if flag { "true" } else { "false" }),
            Cell::Nested => return Err(self.complain(slot, "is not a text", cell)),
        }
        Ok(())
    }

    #[inline]
    fn value(&self, slot: usize, cell: Cell<'_>) -> Result<f64, String> {
        let number = match cell {
            Cell::Raw(bytes) => match text(bytes) {
                Some("") => return self.absent(slot),
                Some(text) => text.parse().ok(),
                None => None,
            },
            Cell::Unsigned(number) => Some(number as f64),
            Cell::Signed(number) => Some(number as f64),
            Cell::Float(number) => Some(number),
            Cell::Text(text) if text.trim_ascii().is_empty() => return self.absent(slot),
            // Where numbers are not text, only what no number can say is.
            Cell::Text(text) => {
                text.parse().ok().filter(|number: &f64| !number.is_finite() && !has_digit(text))
            }
            Cell::Missing => return self.absent(slot),
            Cell::Flag(_) | Cell::Nested => None,
        };
        match number {
            Some(number) if number.is_finite() => Ok(number),
            Some(_) if self.non_finite == Missing::Keep => Ok(f64::NAN),
            Some(_) => Err(self.complain(slot, "is not finite", cell)),
            None => Err(self.complain(slot, "is not a number", cell)),
        }
    }

    fn absent(&self, slot: usize) -> Result<f64, String> {
        match self.missing {
            Missing::Keep => Ok(f64::NAN),
            Missing::Reject => Err(self.is_missing(slot)),
        }
    }

    #[cold]
    fn is_missing(&self, slot: usize) -> String {
        format!("field \"{}\" is missing", self.fields[slot])
    }

    #[cold]
    fn complain(&self, slot: usize, what: &str, cell: Cell<'_>) -> String {
        let found = match cell {
            Cell::Missing => "null".to_owned(),
            Cell::Raw(bytes) => excerpt(bytes),
            Cell::Text(text) => excerpt(text.as_bytes()),
            Cell::Unsigned(number) => number.to_string(),
            Cell::Signed(number) => number.to_string(),
            Cell::Float(number) => format!("{number:?}"),
            Cell::Flag(flag) => flag.to_string(),
            Cell::Nested => "an array or object".to_owned(),
        };
        format!("field \"{}\" {what}: {found}", self.fields[slot])
    }
}

/// A field without the spaces around it, if it is text.
#[inline]
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.trim_ascii()).ok()
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}
