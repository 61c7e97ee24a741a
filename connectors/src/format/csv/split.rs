//! Splits a record of comma-separated values into its fields.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use crate::format::excerpt;

/// Splits a record into fields, in buffers that it keeps.
pub(super) struct Splitter {
    delimiter: u8,
    /// Whether whoever framed the record looked for the end of a quoted field on further lines.
    multiline: bool,
    reader: Reader,
    unquoted: Vec<u8>,
    ends: Vec<usize>,
}

/// The fields of one record.
pub(super) struct Fields<'a> {
    text: &'a [u8],
    ends: &'a [usize],
    /// How many bytes stand between two fields in `text`.
    gap: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] + self.gap };
        &self.text[start..self.ends[index]]
    }
}

impl Splitter {
    pub(super) fn new(delimiter: u8, multiline: bool) -> Self {
        // A carriage return is cut off by whoever framed the record; a lone one is part of a field.
        let terminator = Terminator::Any(b'\n');
        let reader = ReaderBuilder::new().delimiter(delimiter).terminator(terminator).build();
        Self { delimiter, multiline, reader, unquoted: Vec::new(), ends: Vec::new() }
    }

    /// Splits at delimiters if there is nothing else to see to, as nearly always.
    pub(super) fn split<'a>(&'a mut self, record: &'a [u8]) -> Result<Fields<'a>, String> {
        self.ends.clear();
        for at in memchr::memchr3_iter(self.delimiter, b'"', b'\n', record) {
            if record[at] != self.delimiter {
                return self.split_slow(record);
            }
            self.ends.push(at);
        }
        self.ends.push(record.len());
        Ok(Fields { text: record, ends: &self.ends, gap: 1 })
    }

    fn split_slow(&mut self, record: &[u8]) -> Result<Fields<'_>, String> {
        let record =
            record.strip_suffix(b"\n").map_or(record, |line| line.strip_suffix(b"\r").unwrap_or(line));
        self.check_quotes(record)?;
        self.reader.reset();
        // No field is longer than the record, and each takes a byte of it, but for the last.
        self.unquoted.resize(record.len() + 1, 0);
        self.ends.resize(record.len() + 2, 0);
        let (result, _, bytes, fields) = self.reader.read_record(record, &mut self.unquoted, &mut self.ends);
        if result != ReadRecordResult::InputEmpty {
            return Err(format!("holds more than one line: {}", excerpt(record)));
        }
        // Inside quotes, the line end is one more byte of the field.
        let (unquoted, ends) = (&mut self.unquoted[bytes..], &mut self.ends[fields..]);
        let (result, _, _, last) = self.reader.read_record(b"\n", unquoted, ends);
        // Quotes are balanced, so that only an empty line in front is left to blame.
        if result != ReadRecordResult::Record {
            return Err(format!("holds more than one line: {}", excerpt(record)));
        }
        Ok(Fields { text: &self.unquoted, ends: &self.ends[..fields + last], gap: 0 })
    }

    /// Refuses what the reader would make something of: a quoted field that goes on behind its closing quote, or has none
    /// (RFC 4180, section 2, rules 5 to 7).
    fn check_quotes(&self, record: &[u8]) -> Result<(), String> {
        let mut at = 0;
        loop {
            if record.get(at) == Some(&b'"') {
                at = self.behind_quotes(record, at + 1)?;
            } else {
                at = memchr::memchr2(self.delimiter, b'\n', &record[at..])
                    .map_or(record.len(), |end| at + end);
            }
            // A line feed outside quotes is the reader's to refuse.
            if record.get(at) != Some(&self.delimiter) {
                return Ok(());
            }
            at += 1;
        }
    }

    /// Where the quoted field ends whose text begins at `at`.
    fn behind_quotes(&self, record: &[u8], mut at: usize) -> Result<usize, String> {
        while let Some(quote) = memchr::memchr(b'"', &record[at..]) {
            at += quote + 1;
            match record.get(at) {
                Some(b'"') => at += 1,
                Some(b'\n') | None => return Ok(at),
                Some(byte) if *byte == self.delimiter => return Ok(at),
                Some(_) => {
                    let record = excerpt(record);
                    return Err(format!("has a quote in a quoted field that is not doubled: {record}"));
                }
            }
        }
        let hint = if self.multiline { "" } else { " (only with multiline may a field go on)" };
        Err(format!("has a quote that is never closed{hint}: {}", excerpt(record)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fast_split_agrees_with_the_slow_one(record in "[ab,;\"\r\t]{1,12}|[ab,;\n\"]{1,12}") {
            let split = |slow: bool| {
                let mut splitter = Splitter::new(b',', false);
                let fields = match slow {
                    true => splitter.split_slow(record.as_bytes())?,
                    false => splitter.split(record.as_bytes())?,
                };
                Ok::<_, String>((0..fields.len()).map(|index| fields.get(index).to_vec()).collect::<Vec<_>>())
            };
            prop_assert_eq!(split(true), split(false));
        }

        #[test]
        fn quotes_are_refused_exactly_where_they_are_not_what_rfc_4180_says(record in "[ab,\"]{1,12}") {
            let valid = |field: &str| match field.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"').is_some_and(|text| !text.replace("\"\"", "").contains('"')),
                None => true,
            };
            // Of all ways to cut the record at commas, one must leave valid fields alone; a bare field has no comma.
            fn cuts(record: &str, valid: &impl Fn(&str) -> bool) -> bool {
                let ends = record.match_indices(',').map(|(at, _)| at).chain([record.len()]);
                ends.into_iter().any(|end| {
                    let field = &record[..end];
                    valid(field)
                        && (field.starts_with('"') || !field.contains(','))
                        && (end == record.len() || cuts(&record[end + 1..], valid))
                })
            }
            prop_assert_eq!(cuts(&record, &valid), Splitter::new(b',', false).split(record.as_bytes()).is_ok());
        }

        #[test]
        fn what_is_quoted_is_read_again(fields in prop::collection::vec("[ab,\"\n\r é]{0,6}", 1..5)) {
            let quoted: Vec<_> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            let record = quoted.join(",");
            let mut splitter = Splitter::new(b',', false);
            let split = splitter.split(record.as_bytes()).unwrap();
            let read: Vec<_> = (0..split.len()).map(|index| split.get(index)).collect();
            prop_assert_eq!(fields.iter().map(|field| field.as_bytes()).collect::<Vec<_>>(), read);
        }
    }
}
