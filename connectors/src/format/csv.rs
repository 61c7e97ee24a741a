//! Comma-separated values.

mod split;

use super::layout::layout_methods;
use super::plan::{Cell, Plan};
use super::{excerpt, without_mark, Decoder, Format, Framing, Layout, Row};
use crate::source::Envelope;
use crate::{Error, Schema};

use split::Splitter;

/// Lines of fields separated by a comma or another byte, quoted as RFC 4180 says.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::format::{Csv, Decoder, Format, Row};
///
/// let mut decoder = Csv::header().key(["host"]).value("load").decoder("hosts.csv");
/// decoder.header(b"timestamp,host,load").unwrap();
/// let mut row = Row::default();
/// decoder.decode(b"2014-02-14T14:30:00Z,h1,0.25", &mut row).unwrap();
/// assert_eq!(("h1", vec![0.25]), (row.key.as_str(), row.values));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    layout: Layout,
    named: bool,
    delimiter: u8,
    multiline: bool,
}

layout_methods!(Csv);

impl Csv {
    /// Columns by the name that the first line gives them.
    pub fn header() -> Self {
        Self { layout: Layout::default(), named: true, delimiter: b',', multiline: false }
    }

    /// Columns by number, counted from one, as in `"1"`; the first line is a record.
    pub fn columns() -> Self {
        Self { named: false, ..Self::header() }
    }

    /// Separates fields by another byte than a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }

    /// Says whether a record may span lines inside double quotes.
    #[must_use]
    pub fn multiline(mut self, multiline: bool) -> Self {
        self.multiline = multiline;
        self
    }
}

impl Format for Csv {
    fn check(&self) -> Result<(), Error> {
        if matches!(self.delimiter, b'"' | b'\r' | b'\n') {
            let delimiter = char::from(self.delimiter);
            return Err(Error::Configuration(format!("{delimiter:?} cannot separate fields")));
        }
        let plan = Plan::new(&self.layout, "");
        match plan.fields().iter().find(|field| !self.named && number(field).is_none()) {
            Some(field) => Err(Error::Configuration(format!("column \"{field}\" is not a number from 1"))),
            None => self.layout.check(),
        }
    }

    fn framing(&self) -> Framing {
        Framing { header: self.named, multiline: self.multiline, delimiter: self.delimiter }
    }

    fn decoder(&self, partition: &str) -> Box<dyn Decoder> {
        let plan = Plan::new(&self.layout, partition);
        let columns = match self.named {
            true => Err("has no header before it".to_owned()),
            false => plan
                .fields()
                .iter()
                .map(|field| {
                    number(field).ok_or_else(|| format!("column \"{field}\" is not a number from 1"))
                })
                .collect(),
        };
        Box::new(CsvDecoder {
            plan,
            columns,
            header_fields: None,
            splitter: Splitter::new(self.delimiter, self.multiline),
        })
    }

    fn schema(&self) -> Schema {
        self.layout.schema()
    }
}

/// The index of a column with a number.
fn number(field: &str) -> Option<usize> {
    field.parse::<usize>().ok()?.checked_sub(1)
}

struct CsvDecoder {
    plan: Plan,
    /// The column of each slot, or why there is none.
    columns: Result<Vec<usize>, String>,
    /// How many fields the header has, if there is one.
    header_fields: Option<usize>,
    splitter: Splitter,
}

impl CsvDecoder {
    fn find_columns(&self, names: &[String]) -> Result<Vec<usize>, String> {
        let find = |field: &String| {
            let mut found = (0..names.len()).filter(|column| names[*column] == *field);
            match (found.next(), found.next()) {
                (Some(column), None) => Ok(column),
                (Some(_), Some(_)) => Err(format!("column \"{field}\" is there twice")),
                (None, _) => {
                    let names = excerpt(names.join(",").as_bytes());
                    Err(format!("column \"{field}\" is missing from the header {names}"))
                }
            }
        };
        self.plan.fields().iter().map(find).collect()
    }
}

impl Decoder for CsvDecoder {
    fn header(&mut self, line: &[u8]) -> Result<(), String> {
        let fields = self.splitter.split(without_mark(line))?;
        let name = |index| String::from_utf8_lossy(fields.get(index).trim_ascii()).into_owned();
        let names: Vec<String> = (0..fields.len()).map(name).collect();
        self.columns = self.find_columns(&names);
        self.header_fields = Some(names.len());
        self.columns.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    fn decode(&mut self, payload: &[u8], row: &mut Row) -> Result<(), String> {
        self.decode_in(None, payload, row)
    }

    fn decode_in(
        &mut self,
        envelope: Option<&dyn Envelope>,
        payload: &[u8],
        row: &mut Row,
    ) -> Result<(), String> {
        let columns = self.columns.as_ref().map_err(Clone::clone)?;
        let fields = self.splitter.split(without_mark(payload))?;
        let found = fields.len();
        match self.header_fields {
            Some(expected) if expected != found => {
                return Err(format!("has {} where the header has {expected}", counted(found)));
            }
            Some(_) => {}
            None => {
                if let Some(column) = columns.iter().find(|column| **column >= found) {
                    return Err(format!("has {}, but column {} is wanted", counted(found), column + 1));
                }
            }
        }
        self.plan.read(|slot| Cell::Raw(fields.get(columns[slot])), envelope, row)
    }
}

fn counted(fields: usize) -> String {
    format!("{fields} {}", if fields == 1 { "field" } else { "fields" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{Missing, TimeFormat};

    fn decode(format: &Csv, header: &str, line: &str) -> Result<(i64, String, Vec<f64>), String> {
        let mut decoder = format.decoder("p.csv");
        if format.framing().header {
            decoder.header(header.as_bytes())?;
        }
        let mut row = Row::default();
        decoder.decode(line.as_bytes(), &mut row)?;
        Ok((row.time.micros(), row.key, row.values))
    }

    fn millis() -> Csv {
        Csv::header().time("t").time_format(TimeFormat::EpochMillis)
    }

    #[test]
    fn columns_are_found_by_name_in_any_order_and_by_number() {
        let expected = Ok((1_000, "h\u{1f}p.csv\u{1f}eu".to_owned(), vec![0.5, -2.0]));
        let named = millis().key(["host", "@partition"]).labels(["region"]).values(["a", "b"]);
        assert_eq!(expected, decode(&named, "\u{feff}b,\"host\",x, a ,region,t", "-2,h,?, 0.5 ,eu,1"));
        let numbered = Csv::columns().time_format(TimeFormat::EpochMillis).delimiter(b';');
        let numbered = numbered.time("1").key(["2", "@file"]).labels(["3"]).values(["4", "5"]);
        assert_eq!(expected, decode(&numbered, "", "1;h;\"eu\";0.5;-2e0;and;more"));
        assert_eq!(Schema::new(["2", "file", "3"], ["4", "5"]), numbered.schema());
    }

    #[test]
    fn quotes_are_removed_and_doubled_quotes_are_one() {
        let format = millis().key(["k"]);
        for (quoted, key) in [
            ("\"a,b\"", "a,b"),
            ("\"a\"\"b\"", "a\"b"),
            ("a\"b", "a\"b"),
            ("\"a\nb\"", "a\nb"),
            ("a\rb", "a\rb"),
        ] {
            let expected = Ok((1_000, key.to_owned(), vec![2.0]));
            assert_eq!(expected, decode(&format, "t,k,value", &format!("1,{quoted},2")), "{quoted}");
        }
    }

    #[test]
    fn what_is_missing_or_not_finite_goes_by_policy() {
        for (text, is_missing) in [("", true), (" ", true), ("NaN", false), ("-inf", false), ("1e400", false)]
        {
            let line = format!("1,{text}");
            let kept = match is_missing {
                true => millis().missing(Missing::Keep),
                false => millis().non_finite(Missing::Keep),
            };
            let (_, key, values) = decode(&kept, "t,value", &line).unwrap();
            assert_eq!(("p.csv", true), (key.as_str(), values[0].is_nan()), "{text}");
            let error = decode(&millis(), "t,value", &line).unwrap_err();
            let expected = match is_missing {
                true => "field \"value\" is missing".to_owned(),
                false => format!("field \"value\" is not finite: \"{text}\""),
            };
            assert_eq!(expected, error);
        }
    }

    #[test]
    fn malformed_records_say_why() {
        let format = millis().key(["k"]);
        for (line, message) in [
            ("1,a", "has 2 fields where the header has 3"),
            ("1,a,2,3", "has 4 fields where the header has 3"),
            ("", "has 1 field where the header has 3"),
            ("x,a,2", "field \"t\" is not a time in epoch milliseconds: \"x\""),
            (",a,2", "field \"t\" is missing"),
            ("9223372036854775807,a,2", "field \"t\" is a time out of range: \"9223372036854775807\""),
            ("1,,2", "field \"k\" is missing"),
            ("1,a\u{1f}b,2", "field \"k\" holds the key separator U+001F: \"a\\u{1f}b\""),
            ("1,a,\"12,3\"", "field \"value\" is not a number: \"12,3\""),
            ("1,a,0x10", "field \"value\" is not a number: \"0x10\""),
            (
                "1,\"a,2",
                "has a quote that is never closed (only with multiline may a field go on): \"1,\\\"a,2\"",
            ),
            ("1,\"a\"b,2", "has a quote in a quoted field that is not doubled: \"1,\\\"a\\\"b,2\""),
            ("1,a,2\n1,b,3", "holds more than one line: \"1,a,2\\n1,b,3\""),
        ] {
            assert_eq!(Err(message.to_owned()), decode(&format, "t,k,value", line), "{line}");
        }
        let mut decoder = format.decoder("p");
        decoder.header(b"t,k,value").unwrap();
        let message = "field \"k\" is not UTF-8: \"\u{fffd}\"".to_owned();
        assert_eq!(Err(message), decoder.decode(b"1,\xff,2", &mut Row::default()));
        let message = "has a quote that is never closed: \"1,\\\"a,2\"".to_owned();
        assert_eq!(Err(message), decode(&format.multiline(true), "t,k,value", "1,\"a,2"));
        let columns = Csv::columns().time("1").value("3").time_format(TimeFormat::EpochMillis);
        assert_eq!(Err("has 2 fields, but column 3 is wanted".to_owned()), decode(&columns, "", "1,2"));
    }

    #[test]
    fn a_header_without_a_needed_column_says_what_there_is() {
        let error = |header: &str| millis().decoder("p").header(header.as_bytes()).unwrap_err();
        assert_eq!("column \"value\" is missing from the header \"t,Value\"", error("t,Value"));
        assert_eq!("column \"t\" is there twice", error("t,t,value"));
        let mut decoder = millis().decoder("p");
        assert_eq!(Err("has no header before it".to_owned()), decoder.decode(b"1,2", &mut Row::default()));
    }

    #[test]
    fn what_cannot_work_is_found_before_reading() {
        let error = |format: Csv| format.check().unwrap_err().to_string();
        assert_eq!("column \"timestamp\" is not a number from 1", error(Csv::columns()));
        assert_eq!("column \"0\" is not a number from 1", error(Csv::columns().time("1").value("0")));
        assert_eq!("'\"' cannot separate fields", error(millis().delimiter(b'"')));
        assert!(Csv::columns().time("1").value("2").check().is_ok());
    }

    proptest! {
        #[test]
        fn a_used_decoder_agrees_with_a_fresh_one(lines in prop::collection::vec("[0-3],[\"ab]{0,3},[0-9.]{0,3}", 1..8)) {
            let format = millis().key(["k"]);
            let mut used = format.decoder("p.csv");
            used.header(b"t,k,value").unwrap();
            let mut row = Row::default();
            for line in &lines {
                let read = used.decode(line.as_bytes(), &mut row);
                let read = read.map(|()| (row.time.micros(), row.key.clone(), row.values.clone()));
                prop_assert_eq!(decode(&format, "t,k,value", line), read);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut decoder = Csv::columns().time("1").value("2").key(["1"]).decoder("p");
            let _ = decoder.decode(&payload, &mut Row::default());
            let _ = millis().decoder("p").header(&payload);
        }
    }
}
