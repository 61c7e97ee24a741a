//! How events become payloads.

mod csv;
mod json;
mod table;

use std::io::Write as _;

use tidewatch_dataflows::{Describe, EventTime};

pub use csv::Csv;
pub use json::Json;
pub use table::Table;

use crate::Schema;

/// Writes events in some format, one payload at a time.
pub trait Encoder {
    /// Appends what comes once before the first payload, without a separator, as a CSV header, and says whether there
    /// is such a thing; `first` is the first event.
    fn header(&mut self, _first: &dyn Describe, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Appends the payload of `event` to `out`, without a separator.
    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>);
}

/// Calls `each` with the name of each part of a key and its text; `key0` and so on where the schema has no name.
fn named_parts<'a>(schema: &'a Schema, text: &'a str, mut each: impl FnMut(&str, &'a str)) {
    let mut names = schema.key.iter();
    for (index, part) in text.split(tidewatch_dataflows::record::KEY_SEPARATOR).enumerate() {
        match names.next() {
            Some(name) => each(name, part),
            None => each(&format!("key{index}"), part),
        }
    }
}

/// Appends the shortest text that is read as the same number.
fn push_number(out: &mut Vec<u8>, number: f64) {
    serde_json::to_writer(out, &number).expect("a Vec takes all bytes");
}

fn push_integer(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").expect("a Vec takes all bytes");
}

fn push_time(out: &mut Vec<u8>, time: EventTime) {
    write!(out, "{time}").expect("a Vec takes all bytes");
}

#[cfg(test)]
mod samples {
    use tidewatch_dataflows::{Describe, EventTime, Fields, Key};

    /// An event with a field of each kind.
    pub(super) struct Sample {
        pub(super) key: &'static [&'static str],
        pub(super) score: Option<f64>,
        pub(super) count: Option<u64>,
        pub(super) note: Option<&'static str>,
    }

    impl Describe for Sample {
        fn describe(&self, fields: &mut dyn Fields) {
            fields.time("time", EventTime::from_micros(1_392_388_200_250_000));
            fields.key("key", &Key::from_parts(self.key.iter().copied()));
            fields.number("score", self.score);
            fields.integer("count", self.count);
            fields.flag("late", true);
            fields.text("note", self.note);
        }
    }

    pub(super) const FULL: Sample =
        Sample { key: &["api", "h,1"], score: Some(0.1), count: Some(3), note: Some("a \"b\"\n\u{1b}[1m") };

    pub(super) const EMPTY: Sample =
        Sample { key: &["api", "h1"], score: Some(f64::NAN), count: None, note: None };
}
