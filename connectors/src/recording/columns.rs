//! Records of one partition, column by column.

use hashbrown::HashTable;
use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, KeyId, Offset};

use super::holes::{Cutter, Said};
use crate::source::Raw;

/// What a record is: the lowest two bits of its flags.
pub(super) const KIND: u8 = 3;
/// Bytes, which the format did not decode.
pub(super) const PAYLOAD: u8 = 0;
/// Bytes, with the row that the format made of them.
pub(super) const DECODED: u8 = 1;
/// A row without bytes.
pub(super) const ROW: u8 = 2;
/// A piece of the partition that is not even a record.
pub(super) const DAMAGED: u8 = 3;
/// It has a line.
pub(super) const LINE: u8 = 4;
/// It has an append time.
pub(super) const APPENDED: u8 = 8;
/// Its bytes have holes.
pub(super) const HOLES: u8 = 16;

/// Texts one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..end)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// Records of one partition in offset order, as they are both written and read. A column holds something for each record
/// that has it, in that order.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns {
    pub(super) flags: Vec<u8>,
    pub(super) offsets: Vec<u64>,
    pub(super) lines: Vec<u64>,
    pub(super) appended: Vec<i64>,
    /// Of each row: its time, and its key's place among the names.
    pub(super) times: Vec<i64>,
    pub(super) keys: Vec<u32>,
    /// The values of each row, one row after the other.
    pub(super) values: Vec<f64>,
    /// What is known of a record beside what it says: its index, and the label.
    pub(super) labels: Vec<(usize, String)>,
}

/// Records that are to be written: columns with their texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) columns: Columns,
    pub(super) names: Texts,
    pub(super) payloads: Texts,
    pub(super) reasons: Texts,
    numbers: HashTable<(KeyId, u32)>,
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.columns.flags.len()
    }

    /// About how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let texts = self.payloads.bytes.len() + self.names.bytes.len() + self.reasons.bytes.len();
        texts + 8 * self.columns.values.len() + 48 * self.len()
    }

    fn number(&mut self, id: KeyId, text: &str) -> u32 {
        if let Some((_, number)) = self.numbers.find(id.hash(), |(known, _)| *known == id) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(text.as_bytes());
        self.numbers.insert_unique(id.hash(), (id, number), |(known, _)| known.hash());
        number
    }

    fn push_row_of(&mut self, time: EventTime, id: KeyId, key: &str, values: &[f64]) {
        let number = self.number(id, key);
        self.columns.times.push(time.micros());
        self.columns.keys.push(number);
        self.columns.values.extend_from_slice(values);
    }

    fn push_raw(&mut self, kind: u8, raw: Raw<'_>) {
        let line = raw.line.map_or(0, |_| LINE);
        let appended = raw.appended.map_or(0, |_| APPENDED);
        self.columns.flags.push(kind | line | appended);
        self.columns.offsets.push(raw.offset.0);
        self.columns.lines.extend(raw.line);
        self.columns.appended.extend(raw.appended.map(EventTime::micros));
        self.payloads.push(raw.payload);
    }

    pub(super) fn push_payload(&mut self, raw: Raw<'_>) {
        self.push_raw(PAYLOAD, raw);
    }

    pub(super) fn push_decoded(
        &mut self,
        raw: Raw<'_>,
        time: EventTime,
        id: KeyId,
        key: &str,
        values: &[f64],
    ) {
        self.push_raw(DECODED, raw);
        self.push_row_of(time, id, key, values);
    }

    pub(super) fn push_row(&mut self, offset: Offset, time: EventTime, key: &KeyText, values: &[f64]) {
        self.columns.flags.push(ROW);
        self.columns.offsets.push(offset.0);
        self.push_row_of(time, key.id, key.key.as_str(), values);
    }

    pub(super) fn push_damaged(&mut self, raw: Raw<'_>, reason: &str) {
        self.push_raw(DAMAGED, raw);
        self.reasons.push(reason.as_bytes());
    }

    /// Cuts out of the payloads what their rows say.
    pub(super) fn cut(&mut self, width: usize) {
        let mut cutter = Cutter::default();
        let mut cut = Texts::default();
        cut.bytes.reserve(self.payloads.bytes.len() / 2);
        let (mut row, mut payload) = (0, 0);
        for flags in &mut self.columns.flags {
            let kind = *flags & KIND;
            let text = self.payloads.get(payload).unwrap_or_default();
            match kind {
                DECODED => {
                    let key = self.names.get(self.columns.keys[row] as usize).unwrap_or_default();
                    let said = Said {
                        time: self.columns.times[row],
                        key: std::str::from_utf8(key).unwrap_or_default(),
                        values: &self.columns.values[row * width..][..width],
                    };
                    if cutter.cut(text, said, &mut cut.bytes) {
                        *flags |= HOLES;
                    }
                    cut.ends.push(cut.bytes.len());
                }
                ROW => {}
                _ => cut.push(text),
            }
            row += usize::from(matches!(kind, DECODED | ROW));
            payload += usize::from(kind != ROW);
        }
        self.payloads = cut;
    }
}
