//! How payloads become rows, and events become payloads.

use tidewatch_dataflows::EventTime;

use crate::source::Envelope;

pub use csv::Csv;
pub use encode::{Csv as CsvEncoder, Encoder, Json as JsonEncoder, Table as TableEncoder};
pub use frame::{Frame, Framer};
pub use json::Json;
pub use layout::{Layout, Missing, TimeField};
pub use timestamp::{Ambiguity, TimeFormat};

pub mod csv;
pub mod encode;
pub mod frame;
pub mod json;
pub mod layout;
pub(crate) mod lines;
mod plan;
pub mod timestamp;

/// How much of somebody else's text a message shows, in characters.
const EXCERPT: usize = 64;

/// How a source's bytes fall into payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Whether the first line is not a record; it is given to [`Decoder::header`] instead.
    pub header: bool,
    /// Whether a record may span lines inside double quotes.
    pub multiline: bool,
    /// The delimiter between fields, which decides where a quote opens; only with `multiline`.
    pub delimiter: u8,
}

impl Framing {
    /// Every line is a payload.
    pub fn lines() -> Self {
        Self { header: false, multiline: false, delimiter: b',' }
    }
}

/// What a decoder found in a payload. The decoder owns the buffers and the caller reads them before the next payload.
#[derive(Debug, Default)]
pub struct Row {
    /// When it was observed.
    pub time: EventTime,
    /// The key's text: its parts separated by the key separator.
    pub key: String,
    /// One number per value of the schema, in order; NaN where it is missing by policy.
    pub values: Vec<f64>,
}

/// Decodes the payloads of one partition. Costs no allocation per record once warm.
pub trait Decoder {
    /// Takes the header line of the partition.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without position; the partition cannot be read then.
    fn header(&mut self, line: &[u8]) -> Result<(), String>;

    /// Decodes a payload into `row`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without position, as in `field "value" is not a number: "12,3"`.
    fn decode(&mut self, payload: &[u8], row: &mut Row) -> Result<(), String>;

    /// Decodes a payload into `row`, as [`Decoder::decode`], with what came with it.
    ///
    /// # Errors
    ///
    /// As [`Decoder::decode`]; and what is wrong with the envelope.
    fn decode_in(
        &mut self,
        _envelope: Option<&dyn Envelope>,
        payload: &[u8],
        row: &mut Row,
    ) -> Result<(), String> {
        self.decode(payload, row)
    }
}

/// A format: makes a decoder for each partition.
pub trait Format: Send + Sync {
    /// Finds what cannot work whatever the records are; asked once, before anything is read.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`](crate::Error::Configuration) with what is wrong.
    fn check(&self) -> Result<(), crate::Error> {
        Ok(())
    }

    /// How bytes fall into payloads.
    fn framing(&self) -> Framing;

    /// A decoder for the partition of this name.
    fn decoder(&self, partition: &str) -> Box<dyn Decoder>;

    /// The names of key parts and values that its rows have.
    fn schema(&self) -> crate::Schema;
}

/// Quotes the beginning of foreign bytes for a message.
fn excerpt(bytes: &[u8]) -> String {
    // No character has more than four bytes.
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT + 4)]);
    match head.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{:?}…", &head[..end]),
        None => format!("{head:?}"),
    }
}

/// A payload without the byte order mark that some programs write at the start of a file.
fn without_mark(payload: &[u8]) -> &[u8] {
    payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!("\"12,3\"", excerpt(b"12,3"));
        assert_eq!("\"a\\u{1b}\\\"b\"", excerpt(b"a\x1b\"b"));
        assert_eq!(format!("\"{}\"", "é".repeat(64)), excerpt("é".repeat(64).as_bytes()));
        assert_eq!(format!("\"{}\"…", "é".repeat(64)), excerpt("é".repeat(65).as_bytes()));
    }
}
