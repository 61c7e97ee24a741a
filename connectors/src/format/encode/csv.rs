//! Comma-separated values.

use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

use super::{named_parts, push_integer, push_number, push_time, Encoder};
use crate::Schema;

/// Comma-separated values with a header, quoted as RFC 4180 says.
///
/// Each part of a key is a column, as in `key.host`. What is absent or not finite is empty.
#[derive(Clone, Debug)]
pub struct Csv {
    schema: Schema,
}

impl Csv {
    /// An encoder that names the parts of keys as `schema` does.
    pub fn new(schema: Schema) -> Self {
        Self { schema }
    }
}

impl Encoder for Csv {
    fn header(&mut self, first: &dyn Describe, out: &mut Vec<u8>) -> bool {
        first.describe(&mut Names { schema: &self.schema, line: Line::new(out) });
        true
    }

    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>) {
        let start = out.len();
        event.describe(&mut Line::new(out));
        // An empty line would be no record to a reader.
        if out.len() == start {
            out.extend_from_slice(b"\"\"");
        }
    }
}

/// Writes the cells of one line.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Line<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, first: true }
    }

    fn cell(&mut self) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out
    }

    fn quoted(&mut self, text: &str) {
        let out = self.cell();
        let text = text.as_bytes();
        if !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
            out.extend_from_slice(text);
            return;
        }
        out.push(b'"');
        for byte in text {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}

impl Fields for Line<'_> {
    fn text(&mut self, _name: &str, value: Option<&str>) {
        self.quoted(value.unwrap_or_default());
    }

    fn time(&mut self, _name: &str, value: EventTime) {
        push_time(self.cell(), value);
    }

    fn number(&mut self, _name: &str, value: Option<f64>) {
        let out = self.cell();
        if let Some(number) = value.filter(|number| number.is_finite()) {
            push_number(out, number);
        }
    }

    fn integer(&mut self, _name: &str, value: Option<u64>) {
        let out = self.cell();
        if let Some(number) = value {
            push_integer(out, number);
        }
    }

    fn flag(&mut self, _name: &str, value: bool) {
        self.cell().extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn key(&mut self, _name: &str, key: &Key) {
        key.parts().for_each(|part| self.quoted(part));
    }
}

/// Writes the names of the columns.
struct Names<'a> {
    schema: &'a Schema,
    line: Line<'a>,
}

impl Fields for Names<'_> {
    fn text(&mut self, name: &str, _value: Option<&str>) {
        self.line.quoted(name);
    }

    fn time(&mut self, name: &str, _value: EventTime) {
        self.line.quoted(name);
    }

    fn number(&mut self, name: &str, _value: Option<f64>) {
        self.line.quoted(name);
    }

    fn integer(&mut self, name: &str, _value: Option<u64>) {
        self.line.quoted(name);
    }

    fn flag(&mut self, name: &str, _value: bool) {
        self.line.quoted(name);
    }

    fn key(&mut self, name: &str, key: &Key) {
        named_parts(self.schema, key.as_str(), |part, _| self.line.quoted(&format!("{name}.{part}")));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EMPTY, FULL};
    use super::*;

    fn encode(schema: Schema, event: &dyn Describe) -> (String, String) {
        let (mut encoder, mut header, mut line) = (Csv::new(schema), Vec::new(), Vec::new());
        assert!(encoder.header(event, &mut header));
        encoder.encode(event, &mut line);
        (String::from_utf8(header).unwrap(), String::from_utf8(line).unwrap())
    }

    #[test]
    fn an_event_is_a_line_under_the_names_of_its_fields() {
        let (header, line) = encode(Schema::new(["service", "host"], ["v"]), &FULL);
        assert_eq!("time,key.service,key.host,score,count,late,note", header);
        let expected = "2014-02-14T14:30:00.25Z,api,\"h,1\",0.1,3,true,\"a \"\"b\"\"\n\u{1b}[1m\"";
        assert_eq!(expected, line);
    }

    #[test]
    fn what_is_absent_or_not_finite_is_empty() {
        let (header, line) = encode(Schema::new(["service"], ["v"]), &EMPTY);
        assert_eq!("time,key.service,key.key1,score,count,late,note", header);
        assert_eq!("2014-02-14T14:30:00.25Z,api,h1,,,true,", line);
        assert_eq!("\"\"", encode(Schema::default(), &f64::NAN).1);
    }
}
