//! JSON lines.

use serde::Serialize;
use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

use super::{named_parts, push_integer, push_number, push_time, Encoder};
use crate::Schema;

/// JSON lines: one compact object per event, with its fields in order.
///
/// Times are RFC 3339 text, a key is an object of its parts, and what is absent or not finite is null.
#[derive(Clone, Debug)]
pub struct Json {
    schema: Schema,
}

impl Json {
    /// An encoder that names the parts of keys as `schema` does.
    pub fn new(schema: Schema) -> Self {
        Self { schema }
    }
}

impl Encoder for Json {
    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>) {
        out.push(b'{');
        event.describe(&mut Members { schema: &self.schema, out, first: true });
        out.push(b'}');
    }
}

struct Members<'a> {
    schema: &'a Schema,
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Members<'_> {
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        push_text(self.out, name);
        self.out.push(b':');
        self.out
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    text.serialize(&mut serde_json::Serializer::new(out)).expect("a Vec takes all bytes");
}

impl Fields for Members<'_> {
    fn text(&mut self, name: &str, value: Option<&str>) {
        let out = self.name(name);
        match value {
            Some(text) => push_text(out, text),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn time(&mut self, name: &str, value: EventTime) {
        let out = self.name(name);
        out.push(b'"');
        push_time(out, value);
        out.push(b'"');
    }

    fn number(&mut self, name: &str, value: Option<f64>) {
        let out = self.name(name);
        match value.filter(|number| number.is_finite()) {
            Some(number) => push_number(out, number),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn integer(&mut self, name: &str, value: Option<u64>) {
        let out = self.name(name);
        match value {
            Some(number) => push_integer(out, number),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.name(name).extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn key(&mut self, name: &str, key: &Key) {
        self.name(name).push(b'{');
        let mut parts = Members { schema: self.schema, out: self.out, first: true };
        named_parts(self.schema, key.as_str(), |name, part| parts.text(name, Some(part)));
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EMPTY, FULL};
    use super::*;

    fn encode(schema: Schema, event: &dyn Describe) -> String {
        let (mut encoder, mut out) = (Json::new(schema), Vec::new());
        assert!(!encoder.header(event, &mut out));
        encoder.encode(event, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_is_one_compact_object() {
        let expected = r#"{"time":"2014-02-14T14:30:00.25Z","key":{"service":"api","host":"h,1"},"score":0.1,"count":3,"late":true,"note":"a \"b\"\n\u001b[1m"}"#;
        assert_eq!(expected, encode(Schema::new(["service", "host"], ["v"]), &FULL));
    }

    #[test]
    fn what_is_absent_or_not_finite_is_null_and_parts_without_a_name_are_numbered() {
        let expected = r#"{"time":"2014-02-14T14:30:00.25Z","key":{"key0":"api","key1":"h1"},"score":null,"count":null,"late":true,"note":null}"#;
        assert_eq!(expected, encode(Schema::default(), &EMPTY));
    }

    #[test]
    fn a_number_is_the_shortest_text_that_is_read_as_the_same() {
        for (number, text) in
            [(12.5, "12.5"), (1.0, "1.0"), (0.1 + 0.2, "0.30000000000000004"), (1e300, "1e+300")]
        {
            assert_eq!(format!("{{\"value\":{text}}}"), encode(Schema::default(), &number));
        }
    }
}
