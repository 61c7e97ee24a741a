//! How payloads become rows, and events become payloads.

use tidewatch_dataflows::EventTime;

pub use encode::{Csv as CsvEncoder, Encoder, Json as JsonEncoder, Table as TableEncoder};

pub mod encode;

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
}

/// A format: makes a decoder for each partition.
pub trait Format: Send + Sync {
    /// How bytes fall into payloads.
    fn framing(&self) -> Framing;

    /// A decoder for the partition of this name.
    fn decoder(&self, partition: &str) -> Box<dyn Decoder>;

    /// The names of key parts and values that its rows have.
    fn schema(&self) -> crate::Schema;
}
