//! A table for people.

use std::fmt::Write as _;

use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

use super::Encoder;
use crate::Schema;

/// Aligned columns for a terminal, with a header.
///
/// Widths are fixed by the kinds and names of the fields, since events are written as they come. A key that is too long
/// is cut; other text pushes what follows to the right. Characters that could steer a terminal are replaced.
#[derive(Clone, Debug)]
pub struct Table {
    schema: Schema,
    /// The cell that is being written.
    cell: String,
}

const TIME: usize = 27;
const KEY: usize = 40;
const NUMBER: usize = 12;
const INTEGER: usize = 10;
const FLAG: usize = 5;
const TEXT: usize = 24;

impl Table {
    /// A table that names the parts of keys as `schema` does.
    pub fn new(schema: Schema) -> Self {
        Self { schema, cell: String::new() }
    }

    fn line(&mut self, event: &dyn Describe, names: bool, out: &mut Vec<u8>) {
        let start = out.len();
        self.cell.clear();
        event.describe(&mut Line { schema: &self.schema, cell: &mut self.cell, out, names, first: true });
        let end = out.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
        out.truncate(end.max(start));
    }
}

impl Encoder for Table {
    fn header(&mut self, first: &dyn Describe, out: &mut Vec<u8>) -> bool {
        self.line(first, true, out);
        true
    }

    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>) {
        self.line(event, false, out);
    }
}

/// Writes one line: names or values.
struct Line<'a> {
    schema: &'a Schema,
    cell: &'a mut String,
    out: &'a mut Vec<u8>,
    names: bool,
    first: bool,
}

impl Line<'_> {
    /// Writes a cell as wide as its name and its kind ask for, to the left or right edge of it.
    fn put(&mut self, name: &str, width: usize, right: bool, value: impl FnOnce(&mut String)) {
        if !std::mem::take(&mut self.first) {
            self.out.extend_from_slice(b"  ");
        }
        self.cell.clear();
        if self.names {
            self.cell.push_str(name)
        } else {
            value(self.cell)
        }
        let length = self.cell.chars().count();
        let padding = width.max(name.chars().count()).saturating_sub(length);
        if right {
            self.out.resize(self.out.len() + padding, b' ');
        }
        for character in self.cell.chars() {
            let shown = if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
            self.out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if !right {
            self.out.resize(self.out.len() + padding, b' ');
        }
    }
}

impl Fields for Line<'_> {
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.put(name, TEXT, false, |cell| cell.push_str(value.unwrap_or_default()));
    }

    fn time(&mut self, name: &str, value: EventTime) {
        self.put(name, TIME, false, |cell| write!(cell, "{value}").expect("a String takes all text"));
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        let value = value.filter(|number| number.is_finite());
        self.put(name, NUMBER, true, |cell| {
            value.into_iter().for_each(|number| push_significant(cell, number))
        });
    }

    fn integer(&mut self, name: &str, value: Option<u64>) {
        self.put(name, INTEGER, true, |cell| {
            if let Some(number) = value {
                write!(cell, "{number}").expect("a String takes all text");
            }
        });
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.put(name, FLAG, false, |cell| cell.push_str(if value { "yes" } else { "no" }));
    }

    fn key(&mut self, name: &str, key: &Key) {
        let title = self.schema.key.join("/");
        let title = if title.is_empty() { name } else { &title };
        let title = title.char_indices().nth(KEY).map_or(title, |(end, _)| &title[..end]);
        self.put(title, KEY, false, |cell| {
            write!(cell, "{key}").expect("a String takes all text");
            if cell.chars().count() > KEY {
                let end = cell.char_indices().nth(KEY - 1).map_or(cell.len(), |(end, _)| end);
                cell.truncate(end);
                cell.push('…');
            }
        });
    }
}

/// Writes a number to six significant digits, without zeros that say nothing.
fn push_significant(cell: &mut String, number: f64) {
    let start = cell.len();
    write!(cell, "{number:.5e}").expect("a String takes all text");
    let written = &cell[start..];
    let (digits, exponent) = written.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if (-5..6).contains(&exponent) {
        cell.truncate(start);
        let decimals = (5 - exponent) as usize;
        write!(cell, "{number:.decimals$}").expect("a String takes all text");
        if cell[start..].contains('.') {
            let end = cell.trim_end_matches('0').trim_end_matches('.').len();
            cell.truncate(end);
        }
    } else {
        let end = start + digits.trim_end_matches('0').trim_end_matches('.').len();
        cell.truncate(end);
        write!(cell, "e{exponent}").expect("a String takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, EMPTY, FULL};
    use super::*;

    fn encode(schema: Schema, events: &[&dyn Describe]) -> String {
        let (mut table, mut out) = (Table::new(schema), Vec::new());
        assert!(table.header(events[0], &mut out));
        for event in events {
            out.push(b'\n');
            table.encode(*event, &mut out);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_under_their_names() {
        let long = Sample { key: &["a service with a long name", "and a host with one"], ..EMPTY };
        let expected = "\
time                         service/host                                     score       count  late   note
2014-02-14T14:30:00.25Z      api/h,1                                            0.1           3  yes    a \"b\"\u{fffd}\u{fffd}[1m
2014-02-14T14:30:00.25Z      api/h1                                                              yes
2014-02-14T14:30:00.25Z      a service with a long name/and a host w…                            yes";
        assert_eq!(expected, encode(Schema::new(["service", "host"], ["v"]), &[&FULL, &EMPTY, &long]));
    }

    #[test]
    fn numbers_have_six_significant_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-12.5, "-12.5"),
            (100.0, "100"),
            (123_456.7, "123457"),
            (999_999.9, "1e6"),
            (1_234_567.0, "1.23457e6"),
            (0.000_012_345_678, "0.0000123457"),
            (1.5e-9, "1.5e-9"),
            (2.0 / 3.0, "0.666667"),
        ] {
            let mut cell = String::new();
            push_significant(&mut cell, number);
            assert_eq!(text, cell, "{number}");
        }
    }
}
