//! The bodies of blocks.

use std::sync::Arc;

use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::{EventTime, Key, Offset, PartitionId};

use super::bytes::{put_delta, put_section, put_text, put_varint, sections, Bytes, Wrong};
use super::columns::{Columns, Gathered, Texts, APPENDED, DAMAGED, DECODED, KIND, LINE, ROW};
use super::frame::{Head, Kind};
use super::MAX_RECORDS;
use crate::{Decision, Schema};

const FLAGS: u8 = 1;
const OFFSETS: u8 = 2;
const LINES: u8 = 3;
const APPEND_TIMES: u8 = 4;
const TIMES: u8 = 5;
const NAMES: u8 = 6;
const KEYS: u8 = 7;
const VALUES: u8 = 8;
const LENGTHS: u8 = 9;
const PAYLOADS: u8 = 10;
const REASONS: u8 = 11;
const LABELS: u8 = 12;
/// One more than the greatest name of a section.
const SECTIONS: usize = 13;

/// Who a partition is, and what its records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) source: Arc<str>,
    pub(super) name: Arc<str>,
    /// The kind of source that it was read from.
    pub(super) connector: String,
    /// Which format made the rows beside payloads; zero if rows are not to be used.
    pub(super) fingerprint: u64,
    /// Whether its records are rows without payloads.
    pub(super) rows: bool,
    /// The line before the first record, if its format has one.
    pub(super) header: Option<Vec<u8>>,
    pub(super) schema: Schema,
}

impl Described {
    pub(super) fn id(&self) -> PartitionId {
        PartitionId::of(&self.source, &self.name)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        [&*self.source, &*self.name, &self.connector]
            .iter()
            .for_each(|text| put_text(&mut out, text.as_bytes()));
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        out.push(u8::from(self.rows) | u8::from(self.header.is_some()) << 1);
        put_text(&mut out, self.header.as_deref().unwrap_or_default());
        for names in [&self.schema.key, &self.schema.values] {
            put_varint(&mut out, names.len() as u64);
            names.iter().for_each(|name| put_text(&mut out, name.as_bytes()));
        }
        out
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Wrong> {
        let mut bytes = Bytes(body);
        let (source, name) = (bytes.string()?.into(), bytes.string()?.into());
        let connector = bytes.string()?.to_owned();
        let (fingerprint, flags) = (bytes.u64()?, bytes.u8()?);
        let header = bytes.text()?;
        let header = (flags & 2 != 0).then(|| header.to_vec());
        let mut names = || -> Result<Vec<String>, Wrong> {
            let count = bytes.length()?;
            (0..count).map(|_| bytes.string().map(str::to_owned)).collect()
        };
        let schema = Schema { key: names()?, values: names()? };
        bytes.end()?;
        Ok(Self { source, name, connector, fingerprint, rows: flags & 1 != 0, header, schema })
    }
}

/// The body of a block of decisions.
pub(super) fn encode_decisions(decisions: &[Decision]) -> Vec<u8> {
    let word = |decision: &Decision| {
        [decision.offset.0.to_le_bytes(), decision.watermark.micros().to_le_bytes()].concat()
    };
    decisions.iter().flat_map(word).collect()
}

pub(super) fn decode_decisions(
    body: &[u8],
    count: u32,
    partition: PartitionId,
) -> Result<Vec<Decision>, Wrong> {
    let mut bytes = Bytes(body);
    let mut decisions = Vec::new();
    while !bytes.0.is_empty() {
        let (offset, watermark) = (Offset(bytes.u64()?), EventTime::from_micros(bytes.u64()? as i64));
        decisions.push(Decision { partition, offset, watermark });
    }
    match decisions.len() == count as usize && decisions.is_sorted_by_key(|decision| decision.offset) {
        true => Ok(decisions),
        false => Err("decisions are missing or out of order".to_owned()),
    }
}

/// The body of a block of records, with its head.
pub(super) fn encode(gathered: &Gathered, partition: u32, width: usize) -> Result<(Head, Vec<u8>), Wrong> {
    let columns = &gathered.columns;
    let mut out = Vec::new();
    let mut column = Vec::new();
    let mut section = |name: u8, write: &dyn Fn(&mut Vec<u8>)| {
        column.clear();
        write(&mut column);
        put_section(&mut out, name, &column);
    };
    let deltas = |numbers: &[i64], out: &mut Vec<u8>| {
        let mut last = 0;
        numbers.iter().for_each(|number| put_delta(out, &mut last, *number));
    };
    let first = columns.offsets.first().copied().unwrap_or_default();
    section(FLAGS, &|out| out.extend_from_slice(&columns.flags));
    section(OFFSETS, &|out| {
        let mut last = first;
        for offset in &columns.offsets {
            put_varint(out, offset.wrapping_sub(last));
            last = *offset;
        }
    });
    section(LINES, &|out| {
        let mut last = 0;
        columns.lines.iter().for_each(|line| put_delta(out, &mut last, *line as i64));
    });
    section(APPEND_TIMES, &|out| deltas(&columns.appended, out));
    section(TIMES, &|out| deltas(&columns.times, out));
    section(NAMES, &|out| gathered.names.iter().for_each(|name| put_text(out, name)));
    section(KEYS, &|out| columns.keys.iter().for_each(|key| put_varint(out, u64::from(*key))));
    section(VALUES, &|out| {
        for value in 0..width {
            for byte in 0..8 {
                out.extend(
                    columns.values.iter().skip(value).step_by(width).map(|number| number.to_le_bytes()[byte]),
                );
            }
        }
    });
    section(LENGTHS, &|out| gathered.payloads.iter().for_each(|text| put_varint(out, text.len() as u64)));
    section(PAYLOADS, &|out| out.extend_from_slice(&gathered.payloads.bytes));
    section(REASONS, &|out| gathered.reasons.iter().for_each(|reason| put_text(out, reason)));
    section(LABELS, &|out| {
        for (index, label) in &columns.labels {
            put_varint(out, *index as u64);
            put_text(out, label.as_bytes());
        }
    });
    let head = Head {
        first,
        last: columns.offsets.last().copied().unwrap_or_default(),
        earliest: columns.times.iter().min().copied().unwrap_or(i64::MAX),
        latest: columns.times.iter().max().copied().unwrap_or(i64::MIN),
        count: gathered.len() as u32,
        ..Head::new(Kind::Records, partition, &out)?
    };
    Ok((head, out))
}

/// A block of records as it is read: all but the payloads, which are decoded when they are asked for.
pub(super) struct Block {
    pub(super) columns: Columns,
    pub(super) names: Vec<KeyText>,
    pub(super) reasons: Vec<String>,
    body: Vec<u8>,
    payloads: usize,
}

fn all<T>(
    bytes: Vec<u8>,
    count: usize,
    mut read: impl FnMut(&mut Bytes<'_>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    // Each takes at least a byte.
    let mut found = Vec::with_capacity(count.min(bytes.len()));
    let mut rest = Bytes(&bytes);
    for _ in 0..count {
        found.push(read(&mut rest)?);
    }
    rest.end()?;
    Ok(found)
}

impl Block {
    /// Decodes a body whose checksum is right; `width` is the number of values of a row.
    pub(super) fn decode(head: &Head, body: Vec<u8>, width: usize) -> Result<Self, Wrong> {
        let found: [_; SECTIONS] = sections(&body)?;
        let open = |name: u8| found[usize::from(name)].open();
        let flags = open(FLAGS)?;
        if flags.len() != head.count as usize || flags.is_empty() || flags.len() > MAX_RECORDS {
            return Err(format!("{} records where {} were announced", flags.len(), head.count));
        }
        let count = |is: &dyn Fn(u8) -> bool| flags.iter().filter(|flags| is(**flags)).count();
        let rows = count(&|flags| matches!(flags & KIND, DECODED | ROW));
        let mut last = head.first;
        let offsets = all(open(OFFSETS)?, flags.len(), |bytes| {
            last = last.checked_add(bytes.varint()?).ok_or("an offset is beyond all numbers")?;
            Ok(last)
        })?;
        if offsets.first() != Some(&head.first)
            || offsets.last() != Some(&head.last)
            || !offsets.is_sorted_by(|one, next| one < next)
        {
            return Err("offsets do not grow as announced".to_owned());
        }
        let deltas = |name: u8, count: usize| {
            let mut last = 0;
            all(open(name)?, count, |bytes| bytes.delta(&mut last))
        };
        let lines = deltas(LINES, count(&|flags| flags & LINE != 0))?;
        let appended = deltas(APPEND_TIMES, count(&|flags| flags & APPENDED != 0))?;
        let times = deltas(TIMES, rows)?;
        let names = {
            let bytes = open(NAMES)?;
            let (mut rest, mut names) = (Bytes(&bytes), Vec::new());
            // No more than are used, so that a small file cannot take much memory.
            while !rest.0.is_empty() && names.len() < rows {
                names.push(KeyText::from(Key::new(rest.string()?)));
            }
            rest.end()?;
            names
        };
        let keys = all(open(KEYS)?, rows, |bytes| {
            let key = bytes.varint()?;
            let is_named = usize::try_from(key).is_ok_and(|key| key < names.len());
            is_named.then_some(key as u32).ok_or_else(|| format!("there is no key {key}"))
        })?;
        let values = untranspose(&open(VALUES)?, rows, width)?;
        let reasons = all(open(REASONS)?, count(&|flags| flags & KIND == DAMAGED), |bytes| {
            bytes.string().map(str::to_owned)
        })?;
        let labels = {
            let bytes = open(LABELS)?;
            let (mut rest, mut labels) = (Bytes(&bytes), Vec::new());
            while !rest.0.is_empty() && labels.len() < flags.len() {
                let index = usize::try_from(rest.varint()?).unwrap_or(usize::MAX);
                labels.push((index, rest.string()?.to_owned()));
            }
            rest.end()?;
            labels
        };
        let payloads = count(&|flags| flags & KIND != ROW);
        let lines = lines.into_iter().map(|line| line as u64).collect();
        let columns = Columns { flags, offsets, lines, appended, times, keys, values, labels };
        Ok(Self { columns, names, reasons, body, payloads })
    }

    /// The payloads, with their holes.
    pub(super) fn payloads(&self) -> Result<Texts, Wrong> {
        let found: [_; SECTIONS] = sections(&self.body)?;
        let bytes = found[usize::from(PAYLOADS)].open()?;
        let mut end = 0_usize;
        let ends = all(found[usize::from(LENGTHS)].open()?, self.payloads, |lengths| {
            let length = usize::try_from(lengths.varint()?).unwrap_or(usize::MAX);
            end = end.saturating_add(length);
            Ok(end)
        })?;
        match end == bytes.len() {
            true => Ok(Texts { bytes, ends }),
            false => Err(format!("payloads take {end} bytes of {}", bytes.len())),
        }
    }
}

/// The values of rows, from their bytes by value and place in the number.
fn untranspose(bytes: &[u8], rows: usize, width: usize) -> Result<Vec<f64>, Wrong> {
    if bytes.len() != rows.saturating_mul(width).saturating_mul(8) {
        return Err(format!("values take {} bytes, for {rows} rows of {width}", bytes.len()));
    }
    let mut values = vec![0.0; rows * width];
    if values.is_empty() {
        return Ok(values);
    }
    for (value, column) in bytes.chunks_exact(rows * 8).enumerate() {
        let planes: [&[u8]; 8] = std::array::from_fn(|byte| &column[byte * rows..][..rows]);
        for row in 0..rows {
            let number = std::array::from_fn(|byte| planes[byte][row]);
            values[row * width + value] = f64::from_le_bytes(number);
        }
    }
    Ok(values)
}
