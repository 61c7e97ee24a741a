//! A table for people.

use std::fmt::Write as _;

use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

use super::Encoder;
use crate::Schema;

/// Aligned columns for a terminal, with a header.
///
/// Widths are fixed by the kinds and names of the fields, since events are written as they come. Of a key that is too
/// long the end is kept; other text pushes what follows to the right. A table that is [fitted](Self::fit) to a width
/// narrows its columns, leaves out the last ones that still have no room, and cuts what is too long. Characters that
/// could steer a terminal are replaced.
#[derive(Clone, Debug)]
pub struct Table {
    schema: Schema,
    /// The cell that is being written.
    cell: String,
    /// The most characters that a line may have.
    width: Option<usize>,
    /// The widths of the columns that fit; empty before the header, or if there is no limit.
    fitted: Vec<usize>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Time,
    Key,
    Number,
    Integer,
    Flag,
    Text,
}

impl Kind {
    /// How wide a column is if there is room.
    fn width(self) -> usize {
        match self {
            Self::Time => 27,
            Self::Key => KEY,
            Self::Number => 12,
            Self::Integer => 10,
            Self::Flag => 5,
            Self::Text => 24,
        }
    }

    /// How wide a column is at least.
    fn least(self) -> usize {
        match self {
            // Whole seconds.
            Self::Time => 20,
            Self::Key => 16,
            Self::Text => 10,
            kind => kind.width(),
        }
    }
}

const KEY: usize = 40;
const GAP: &str = "  ";
/// What stands for what was cut.
const CUT: char = '…';

impl Table {
    /// A table that names the parts of keys as `schema` does.
    pub fn new(schema: Schema) -> Self {
        Self { schema, cell: String::new(), width: None, fitted: Vec::new() }
    }

    /// The same table with lines of at most `width` characters, if there is such a limit; one column is always shown.
    pub fn fit(mut self, width: Option<usize>) -> Self {
        self.width = width;
        self
    }

    fn line(&mut self, event: &dyn Describe, names: bool, out: &mut Vec<u8>) {
        let start = out.len();
        self.cell.clear();
        let fitted = (!self.fitted.is_empty()).then_some(&self.fitted[..]);
        event.describe(&mut Line {
            schema: &self.schema,
            cell: &mut self.cell,
            out,
            names,
            fitted,
            column: 0,
        });
        let end = out.iter().rposition(|byte| *byte != b' ').map_or(start, |last| last + 1);
        out.truncate(end.max(start));
    }
}

/// Divides `width` among columns with these kinds and names: the first ones that fit at their least, and what is left
/// over first to keys, then to texts, then to times.
fn divide(columns: &[(Kind, usize)], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    let mut left = width;
    for (index, (kind, name)) in columns.iter().enumerate() {
        let gap = if index > 0 { GAP.len() } else { 0 };
        let least = match kind {
            Kind::Key | Kind::Text => kind.least(),
            kind => kind.least().max(*name),
        };
        match left.checked_sub(gap + least) {
            Some(rest) => {
                left = rest;
                widths.push(least);
            }
            None if index == 0 => return vec![width.max(1)],
            None => break,
        }
    }
    for wanting in [Kind::Key, Kind::Text, Kind::Time] {
        for (given, (kind, _)) in widths.iter_mut().zip(columns).filter(|(_, (kind, _))| *kind == wanting) {
            let more = kind.width().saturating_sub(*given).min(left);
            *given += more;
            left -= more;
        }
    }
    widths
}

impl Encoder for Table {
    fn header(&mut self, first: &dyn Describe, out: &mut Vec<u8>) -> bool {
        if let Some(width) = self.width {
            let mut columns = Columns(Vec::new());
            first.describe(&mut columns);
            self.fitted = divide(&columns.0, width);
        }
        self.line(first, true, out);
        true
    }

    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>) {
        self.line(event, false, out);
    }
}

/// Finds the kinds of columns and the lengths of their names.
struct Columns(Vec<(Kind, usize)>);

impl Columns {
    fn push(&mut self, kind: Kind, name: &str) {
        self.0.push((kind, name.chars().count()));
    }
}

impl Fields for Columns {
    fn text(&mut self, name: &str, _: Option<&str>) {
        self.push(Kind::Text, name);
    }
    fn time(&mut self, name: &str, _: EventTime) {
        self.push(Kind::Time, name);
    }
    fn number(&mut self, name: &str, _: Option<f64>) {
        self.push(Kind::Number, name);
    }
    fn integer(&mut self, name: &str, _: Option<u64>) {
        self.push(Kind::Integer, name);
    }
    fn flag(&mut self, name: &str, _: bool) {
        self.push(Kind::Flag, name);
    }
    fn key(&mut self, name: &str, _: &Key) {
        self.push(Kind::Key, name);
    }
}

/// Writes one line: names or values.
struct Line<'a> {
    schema: &'a Schema,
    cell: &'a mut String,
    out: &'a mut Vec<u8>,
    names: bool,
    fitted: Option<&'a [usize]>,
    column: usize,
}

impl Line<'_> {
    /// Writes a cell as wide as its name and its kind ask for, or as it was given, to the left or right edge of it.
    fn put(&mut self, name: &str, kind: Kind, value: impl FnOnce(&mut String)) {
        let column = self.column;
        self.column += 1;
        let width = match self.fitted {
            Some(widths) => match widths.get(column) {
                Some(width) => *width,
                None => return,
            },
            None => kind.width().max(name.chars().count()),
        };
        if column > 0 {
            self.out.extend_from_slice(GAP.as_bytes());
        }
        self.cell.clear();
        if self.names {
            self.cell.push_str(name)
        } else {
            value(self.cell)
        }
        if self.fitted.is_some() || kind == Kind::Key {
            cut(self.cell, kind, self.names, width);
        }
        let padding = width.saturating_sub(self.cell.chars().count());
        let right = matches!(kind, Kind::Number | Kind::Integer);
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

/// Cuts a cell to a width: a time to whole seconds, a key to its end, other text to its beginning.
fn cut(cell: &mut String, kind: Kind, name: bool, width: usize) {
    if kind == Kind::Time && cell.chars().count() > width {
        if let Some(point) = cell.find('.') {
            cell.truncate(point);
            cell.push('Z');
        }
    }
    let length = cell.chars().count();
    if length <= width {
        return;
    }
    if kind == Kind::Key && !name {
        let start = cell.char_indices().nth(length + 1 - width).map_or(cell.len(), |(start, _)| start);
        // From a whole folder on, if that does not cost much.
        let rest = &cell[start..];
        let whole = rest.find('/').filter(|slash| *slash <= width / 4 && *slash + 1 < rest.len());
        cell.drain(..start + whole.unwrap_or(0));
        cell.insert(0, CUT);
    } else {
        let end = cell.char_indices().nth(width.saturating_sub(1)).map_or(cell.len(), |(end, _)| end);
        cell.truncate(end);
        cell.push(CUT);
    }
}

impl Fields for Line<'_> {
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.put(name, Kind::Text, |cell| cell.push_str(value.unwrap_or_default()));
    }

    fn time(&mut self, name: &str, value: EventTime) {
        self.put(name, Kind::Time, |cell| write!(cell, "{value}").expect("a String takes all text"));
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        let value = value.filter(|number| number.is_finite());
        self.put(name, Kind::Number, |cell| {
            value.into_iter().for_each(|number| push_significant(cell, number))
        });
    }

    fn integer(&mut self, name: &str, value: Option<u64>) {
        self.put(name, Kind::Integer, |cell| {
            if let Some(number) = value {
                write!(cell, "{number}").expect("a String takes all text");
            }
        });
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.put(name, Kind::Flag, |cell| cell.push_str(if value { "yes" } else { "no" }));
    }

    fn key(&mut self, name: &str, key: &Key) {
        let title = self.schema.key.join("/");
        let title = if title.is_empty() { name } else { &title };
        let title = title.char_indices().nth(KEY).map_or(title, |(end, _)| &title[..end]);
        self.put(title, Kind::Key, |cell| write!(cell, "{key}").expect("a String takes all text"));
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
2014-02-14T14:30:00.25Z      …ce with a long name/and a host with one                            yes";
        assert_eq!(expected, encode(Schema::new(["service", "host"], ["v"]), &[&FULL, &EMPTY, &long]));
    }

    #[test]
    fn a_fitted_table_is_never_wider_and_shows_the_ends_of_keys() {
        const PATH: &str = "tests/data/nab/realKnownCause/ambient_temperature_system_failure.csv";
        let sample = Sample { key: &[PATH], ..FULL };
        for width in 1..200 {
            let mut table = Table::new(Schema::new(["file"], ["v"])).fit(Some(width));
            let mut out = Vec::new();
            table.header(&sample, &mut out);
            out.push(b'\n');
            table.encode(&sample, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
        }
        let mut table = Table::new(Schema::new(["file"], ["v"])).fit(Some(80));
        let mut out = Vec::new();
        table.header(&sample, &mut out);
        out.push(b'\n');
        table.encode(&sample, &mut out);
        let expected = "\
time                  file                              score       count  late
2014-02-14T14:30:00Z  …ature_system_failure.csv           0.1           3  yes";
        assert_eq!(expected, String::from_utf8(out).unwrap());
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
