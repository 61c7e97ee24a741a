//! JSON lines.

mod infinite;
mod walk;

use super::layout::layout_methods;
use super::plan::Plan;
use super::{excerpt, without_mark, Decoder, Format, Framing, Layout, Row};
use crate::source::Envelope;
use crate::{Error, Schema};

use walk::{Found, Trie};

/// One JSON object per line; a field is a name, or a path of names with dots.
///
/// Of a name that an object has twice, the last counts.
///
/// # Examples
///
/// ```
/// use tidewatch_connectors::format::{Format, Json, Row, TimeFormat};
///
/// let format = Json::lines().time("ts").time_format(TimeFormat::EpochMillis).key(["host.name"]).value("ms");
/// let mut decoder = format.decoder("requests.jsonl");
/// let mut row = Row::default();
/// decoder.decode(br#"{"ts": 1392388200000, "host": {"name": "h1"}, "ms": 12.5}"#, &mut row).unwrap();
/// assert_eq!(("h1", vec![12.5]), (row.key.as_str(), row.values));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json {
    layout: Layout,
}

layout_methods!(Json);

impl Json {
    /// Objects with a `timestamp` in RFC 3339 and a `value`, unless something else is said.
    pub fn lines() -> Self {
        Self::default()
    }
}

impl Format for Json {
    fn check(&self) -> Result<(), Error> {
        let plan = Plan::new(&self.layout, "");
        match plan.fields().iter().find(|field| field.split('.').any(str::is_empty)) {
            Some(field) => Err(Error::Configuration(format!("path \"{field}\" has an empty name"))),
            None => self.layout.check(),
        }
    }

    fn framing(&self) -> Framing {
        Framing { header: false, multiline: false, delimiter: b',' }
    }

    fn decoder(&self, partition: &str) -> Box<dyn Decoder> {
        let plan = Plan::new(&self.layout, partition);
        Box::new(JsonDecoder { trie: Trie::new(plan.fields()), plan, found: Vec::new() })
    }

    fn schema(&self) -> Schema {
        self.layout.schema()
    }
}

struct JsonDecoder {
    plan: Plan,
    trie: Trie,
    /// Empty between records; kept for its allocation.
    found: Vec<Found<'static>>,
}

impl Decoder for JsonDecoder {
    fn header(&mut self, _line: &[u8]) -> Result<(), String> {
        Ok(())
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
        let payload = without_mark(payload);
        if !payload.trim_ascii_start().starts_with(b"{") {
            return Err(format!("is not a JSON object: {}", excerpt(payload)));
        }
        let mut found = recycle(std::mem::take(&mut self.found));
        found.resize(self.plan.fields().len(), Found::Missing);
        let walked = self.trie.walk(payload, &mut found);
        let read = match walked {
            Ok(()) => self.plan.read(|slot| found[slot].cell(), envelope, row),
            Err(error) if infinite::is_to_blame(&error) => self.decode_infinite(envelope, payload, row),
            Err(error) => Err(format!("is not JSON: {}", describe(&error))),
        };
        self.found = recycle(found);
        read
    }
}

impl JsonDecoder {
    /// Decodes an object in which a number is beyond what the parser takes.
    #[cold]
    fn decode_infinite(
        &self,
        envelope: Option<&dyn Envelope>,
        payload: &[u8],
        row: &mut Row,
    ) -> Result<(), String> {
        let marked = infinite::mark(payload);
        let mut found = vec![Found::Missing; self.plan.fields().len()];
        // Columns are no longer what they were.
        self.trie.walk(&marked, &mut found).map_err(|error| format!("is not JSON: {}", what(&error)))?;
        found.iter_mut().for_each(infinite::unmark);
        self.plan.read(|slot| found[slot].cell(), envelope, row)
    }
}

/// Empties a vector for elements of another lifetime; collecting in place keeps the allocation.
fn recycle<'b>(mut found: Vec<Found<'_>>) -> Vec<Found<'b>> {
    found.clear();
    found.into_iter().map(|_| Found::Missing).collect()
}

/// The parser's words without the line, which is always the first.
fn describe(error: &serde_json::Error) -> String {
    format!("{} at column {}", what(error), error.column())
}

fn what(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split_once(" at line ").map_or(message.as_str(), |(what, _)| what).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::format::plan::Cell;
    use crate::format::{Missing, TimeFormat};

    fn format() -> Json {
        Json::lines().time("t").time_format(TimeFormat::EpochMillis).key(["k"]).value("v")
    }

    fn decode(format: &Json, line: &str) -> Result<(i64, String, Vec<f64>), String> {
        let mut row = Row::default();
        format.decoder("p").decode(line.as_bytes(), &mut row)?;
        Ok((row.time.micros(), row.key, row.values))
    }

    #[test]
    fn fields_are_found_by_path_wherever_they_stand() {
        let format = format().key(["a.k", "a.b.n"]).values(["v", "a.b.v"]);
        let expected = Ok((1_000, "x\u{1f}7".to_owned(), vec![0.5, -2.0]));
        for line in [
            r#"{"t":1,"v":0.5,"a":{"k":"x","b":{"v":-2,"n":7}}}"#,
            r#" {"z":[{"v":9}],"a":{"b":{"z":null,"n":7,"v":-2},"k":"\u0078"},"v":5e-1,"t":"1"} "#,
            "\u{feff}{\"v\":9,\"t\":1,\"v\":0.5,\"a\":{\"k\":\"x\",\"b\":{\"v\":-2,\"n\":7}}}",
        ] {
            assert_eq!(expected, decode(&format, line), "{line}");
        }
        assert_eq!(Schema::new(["a.k", "a.b.n"], ["v", "a.b.v"]), format.schema());
    }

    #[test]
    fn keys_are_text_numbers_or_truth_values() {
        for (json, key) in [
            ("\"a\\\"b\\n\"", "a\"b\n"),
            ("18446744073709551615", "18446744073709551615"),
            ("-7", "-7"),
            ("1.50", "1.5"),
            ("true", "true"),
        ] {
            let line = format!(r#"{{"t":1,"k":{json},"v":2}}"#);
            assert_eq!(Ok((1_000, key.to_owned(), vec![2.0])), decode(&format(), &line), "{line}");
        }
    }

    #[test]
    fn of_a_name_given_twice_the_last_counts() {
        let nested = format().key(["a.k"]);
        let line = r#"{"t":1,"v":1,"a":{"k":"x"},"a":{"z":1},"v":2}"#;
        assert_eq!(Err("field \"a.k\" is missing".to_owned()), decode(&nested, line));
        let line = r#"{"t":1,"v":1,"a":{"k":"x"},"a":{"k":"y"},"v":2}"#;
        assert_eq!(Ok((1_000, "y".to_owned(), vec![2.0])), decode(&nested, line));
    }

    #[test]
    fn malformed_records_say_why() {
        for (line, message) in [
            ("", "is not a JSON object: \"\""),
            ("[1]", "is not a JSON object: \"[1]\""),
            ("{\"t\":1", "is not JSON: EOF while parsing an object at column 6"),
            (r#"{"t":1,"k":"a","v":2} x"#, "is not JSON: trailing characters at column 23"),
            (r#"{"t":1,"k":"a","v":NaN}"#, "is not JSON: expected value at column 20"),
            (r#"{"t":1,"k":"a","v":"2"}"#, "field \"v\" is not a number: \"2\""),
            (r#"{"t":1,"k":"a","v":true}"#, "field \"v\" is not a number: true"),
            (r#"{"t":1,"k":"a","v":{"x":1}}"#, "field \"v\" is not a number: an array or object"),
            (r#"{"t":1,"k":"a","v":null}"#, "field \"v\" is missing"),
            (r#"{"t":1,"k":"a"}"#, "field \"v\" is missing"),
            (r#"{"t":1,"k":"a","v":"NaN"}"#, "field \"v\" is not finite: \"NaN\""),
            (r#"{"t":1,"k":"a","v":""}"#, "field \"v\" is missing"),
            (r#"{"t":"","k":"a","v":2}"#, "field \"t\" is missing"),
            (r#"{"t":1,"k":"a","v":-1e400}"#, "field \"v\" is not finite: -inf"),
            (r#"{"t":1e400,"k":"a","v":2}"#, "field \"t\" is a time out of range: inf"),
            (r#"{"t":1,"k":1e400,"v":2}"#, "field \"k\" is too large for a key: inf"),
            (r#"{"t":1,"k":"a","v":[1e400,1]}"#, "field \"v\" is not a number: an array or object"),
            (r#"{"t":1,"k":"a","v":1e400,"v":01}"#, "is not JSON: invalid number"),
            (r#"{"t":1,"k":null,"v":2}"#, "field \"k\" is missing"),
            (r#"{"t":1,"k":[1],"v":2}"#, "field \"k\" is not a text: an array or object"),
            (r#"{"t":1,"k":1e20,"v":2}"#, "field \"k\" is too large for a key: 1e20"),
            (r#"{"t":1.5,"k":"a","v":2}"#, "field \"t\" is not a time in epoch milliseconds: 1.5"),
            (r#"{"t":true,"k":"a","v":2}"#, "field \"t\" is not a time in epoch milliseconds: true"),
            (
                r#"{"t":18446744073709551615,"k":"a","v":2}"#,
                "field \"t\" is a time out of range: 18446744073709551615",
            ),
            (r#"{"k":"a","v":2}"#, "field \"t\" is missing"),
            (r#"{"t":1,"k":"a\u001fb","v":2}"#, "field \"k\" holds the key separator U+001F: \"a\\u{1f}b\""),
        ] {
            assert_eq!(Err(message.to_owned()), decode(&format(), line), "{line}");
        }
        let deep = format!("{{\"t\":{}1{}}}", "{\"t\":".repeat(500), "}".repeat(500));
        let deeper = format().key(["t.t"]).time(vec!["t"; 400].join("."));
        assert!(decode(&deeper, &deep).unwrap_err().contains("recursion limit"));
    }

    #[test]
    fn what_is_missing_or_not_finite_goes_by_policy() {
        let missing = format().missing(Missing::Keep);
        for line in [
            r#"{"t":1,"k":"a"}"#,
            r#"{"t":1,"k":"a","v":null}"#,
            r#"{"t":1,"k":"a","v":""}"#,
            r#"{"t":1,"k":"a","v":" "}"#,
        ] {
            assert!(decode(&missing, line).unwrap().2[0].is_nan());
        }
        for value in ["\"-Infinity\"", "1e400", "-17.5E+999", "1e99999999999999999999"] {
            let line = format!(r#"{{"t":1,"k":"1e400 \" 2e400","v":{value}}}"#);
            assert!(decode(&missing, &line).is_err());
            let (_, key, values) = decode(&format().non_finite(Missing::Keep), &line).unwrap();
            assert_eq!(("1e400 \" 2e400", true), (key.as_str(), values[0].is_nan()), "{line}");
        }
    }

    #[test]
    fn what_cannot_work_is_found_before_reading() {
        let error = format().value("a..b").check().unwrap_err().to_string();
        assert_eq!("path \"a..b\" has an empty name", error);
    }

    /// Builds the whole document and looks each path up in it.
    fn decode_slow(format: &Json, line: &str) -> Result<(i64, String, Vec<f64>), String> {
        let document: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let plan = Plan::new(&format.layout, "p");
        let mut row = Row::default();
        let cell = |slot: usize| {
            let path = plan.fields()[slot].split('.');
            let mut steps = path.map(Some).chain([None]);
            let mut at = Some(&document);
            while let Some(Some(name)) = steps.next() {
                at = at.and_then(|value| value.get(name));
            }
            match at {
                None | Some(Value::Null) => Cell::Missing,
                Some(Value::Bool(flag)) => Cell::Flag(*flag),
                Some(Value::String(text)) => Cell::Text(text),
                Some(Value::Array(_) | Value::Object(_)) => Cell::Nested,
                Some(Value::Number(number)) => match (number.as_u64(), number.as_i64()) {
                    (Some(number), _) => Cell::Unsigned(number),
                    (None, Some(number)) => Cell::Signed(number),
                    (None, None) => Cell::Float(number.as_f64().unwrap()),
                },
            }
        };
        plan.read(cell, None, &mut row)?;
        Ok((row.time.micros(), row.key, row.values))
    }

    fn documents() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "-?[1-9][0-9]{0,17}",
            "-?[0-9]\\.[0-9]{1,17}(e-?[1-9])?",
            "true|false|null",
            r#""(a|\\n|\\u00e9|1|NaN)*""#,
        ];
        let tree = leaf.prop_recursive(4, 24, 5, |inner| {
            let member = ("[tkvab]", inner.clone()).prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop_oneof![
                4 => prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
                1 => prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(" , "))),
            ]
        });
        let top = prop::collection::vec(("[kvab]", tree), 0..7);
        top.prop_map(|members| {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{\"t\":1{}{}}}", if members.is_empty() { "" } else { "," }, members.join(","))
        })
    }

    proptest! {
        #[test]
        fn the_walk_agrees_with_the_whole_document(line in documents()) {
            let kept = format().missing(Missing::Keep).non_finite(Missing::Keep);
            for format in [
                format(),
                kept.clone().values(["a", "a.b", "v"]).labels(["a"]),
                kept.key(["@partition"]).values(["a.b.v", "b", "a.v", "b.a"]),
            ] {
                let show = |row: Result<(i64, String, Vec<f64>), String>| format!("{row:?}");
                prop_assert_eq!(show(decode_slow(&format, &line)), show(decode(&format, &line)));
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(payload in "[{}\\[\\]\":,tkv0-9.e\\\\u -]{0,40}") {
            let _ = decode(&format(), &format!("{{{payload}"));
        }
    }

    #[test]
    fn the_cells_keep_their_allocation() {
        let mut found: Vec<Found<'static>> = Vec::with_capacity(7);
        let before = (found.as_ptr() as usize, found.capacity());
        found = recycle(found);
        assert_eq!(before, (found.as_ptr() as usize, found.capacity()));
    }
}
