//! How events become payloads.

use tidewatch_dataflows::Describe;

use crate::Schema;

/// Writes events in some format, one payload at a time.
pub trait Encoder {
    /// What comes once before the first payload, without a separator, as a CSV header; `first` is the first event.
    fn header(&mut self, _first: &dyn Describe, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Appends the payload of `event` to `out`.
    fn encode(&mut self, event: &dyn Describe, out: &mut Vec<u8>);
}

/// JSON lines.
#[derive(Clone, Debug)]
pub struct Json {
    #[allow(dead_code)]
    schema: Schema,
}

/// Comma-separated values with a header.
#[derive(Clone, Debug)]
pub struct Csv {
    #[allow(dead_code)]
    schema: Schema,
}

/// A table for people.
#[derive(Clone, Debug)]
pub struct Table {
    #[allow(dead_code)]
    schema: Schema,
}
