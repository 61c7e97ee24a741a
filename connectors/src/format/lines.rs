//! Cuts the bytes of a file or stream into records.

use std::io::{self, Read};
use std::ops::{ControlFlow, Range};

use tidewatch_dataflows::Offset;

use super::{without_mark, Frame, Framer, Framing};
use crate::source::Raw;
use crate::{Error, Intake};

/// How much is read at once. Always the same: where a damaged compressed stream stops giving bytes depends on how
/// many were asked for, and must not depend on where the intake broke off.
pub(crate) const BLOCK: usize = 128 * 1024;

/// The longest record, in bytes, unless said otherwise.
pub(crate) const MAX_RECORD: usize = 1024 * 1024;

/// Gives what a [`Framer`] finds to an intake: an offset is that of a record's first byte, lines count from one.
///
/// A byte order mark at the very beginning belongs to no record. The result is a function of the bytes alone, not of
/// how they were cut into blocks or where the intake broke off.
pub(crate) struct Lines {
    /// What is being read, for errors.
    name: String,
    framer: Framer,
    max_record: usize,
    /// Whether the first record is still to come, and is the header.
    header: bool,
    /// Records before this offset are not given.
    from: u64,
    buffer: Vec<u8>,
    /// The part of `buffer` that has been filled and not yet consumed.
    rest: Range<usize>,
    /// The offset of the start of `rest`.
    offset: u64,
    /// The line in which the start of `rest` lies.
    line: u64,
    /// What follows `rest`, once that is known.
    end: Option<End>,
}

enum End {
    /// Nothing.
    Clean,
    /// A damage, for this reason.
    Damaged(String),
}

/// What is wrong with the framing of a record.
#[derive(Clone, Copy)]
enum Fault {
    Unterminated,
    TooLong,
}

impl Lines {
    /// Records of `name`, whose first byte has offset zero and none of which is longer than `max_record`; gives those
    /// at or after `from`.
    ///
    /// Framing begins with the first byte all the same: only so are the header, the line numbers, and what is inside
    /// a quote the same wherever reading starts.
    pub(crate) fn new(name: &str, framing: &Framing, max_record: usize, from: Offset) -> Self {
        Self {
            name: name.to_owned(),
            framer: Framer::new(framing, max_record),
            max_record,
            header: framing.header,
            from: from.0,
            buffer: Vec::new(),
            rest: 0..0,
            offset: 0,
            line: 1,
            end: None,
        }
    }

    /// How many bytes have been taken.
    pub(crate) fn read(&self) -> u64 {
        self.offset + self.rest.len() as u64
    }

    /// Whether the first record to give has not been reached.
    pub(crate) fn behind(&self) -> bool {
        self.read() < self.from
    }

    /// Reads the next block; call only after [`Lines::give`] has continued. Zero bytes are the end of `input`.
    pub(crate) fn fill(&mut self, input: &mut dyn Read) -> io::Result<usize> {
        let read = input.read(self.space(BLOCK))?;
        self.rest.end += read;
        Ok(read)
    }

    /// Takes bytes that have been read already; call only after [`Lines::give`] has continued.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.rest.end += bytes.len();
    }

    /// Says that nothing follows; [`Lines::give`] then gives what is left.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the first record to give was not reached.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if self.behind() {
            return Err(self.invalid(format!("ends before offset {}, from which to read", self.from)));
        }
        self.end = Some(End::Clean);
        Ok(())
    }

    /// Says that what follows is damaged; [`Lines::give`] then gives what is left, and the record in which the bytes
    /// broke off as damaged.
    pub(crate) fn break_off(&mut self, reason: String) {
        self.end = Some(End::Damaged(reason));
        // The bytes to be framed may now end before where the search stands.
        self.framer.search_again();
    }

    /// Whether [`Lines::finish`] or [`Lines::break_off`] has been called.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_some()
    }

    /// Moves the rest to the start of the buffer and makes space behind it.
    fn space(&mut self, size: usize) -> &mut [u8] {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.rest = 0..self.rest.len();
        if self.buffer.len() < self.rest.end + size {
            self.buffer.resize(self.rest.end + size, 0);
        }
        &mut self.buffer[self.rest.end..][..size]
    }

    /// Gives the records that are complete.
    pub(crate) fn give(&mut self, intake: &mut dyn Intake) -> Result<ControlFlow<()>, Error> {
        loop {
            let framed = if self.end.is_none() { self.rest.end } else { self.framed() };
            let frame = self.framer.next(&self.buffer[self.rest.start..framed], self.end.is_some());
            let (range, consumed, lines, fault) = match frame {
                Frame::Payload { range, consumed, lines } => (range, consumed, lines, None),
                Frame::Unterminated { range, consumed, lines } => {
                    (range, consumed, lines, Some(Fault::Unterminated))
                }
                Frame::TooLong { range, consumed } => (range, consumed, 0, Some(Fault::TooLong)),
                Frame::Skipped { consumed, lines } => {
                    self.consume(consumed, lines);
                    continue;
                }
                Frame::Incomplete => return Ok(self.give_end(intake)),
            };
            let flow = self.give_record(range, fault, intake)?;
            self.consume(consumed, lines);
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Where the bytes end that may be framed: a last line that broke off is no record.
    fn framed(&self) -> usize {
        match self.end {
            Some(End::Damaged(_)) => {
                let whole = memchr::memrchr(b'\n', &self.buffer[self.rest.clone()]);
                whole.map_or(self.rest.start, |end| self.rest.start + end + 1)
            }
            _ => self.rest.end,
        }
    }

    #[inline]
    fn give_record(
        &mut self,
        range: Range<usize>,
        fault: Option<Fault>,
        intake: &mut dyn Intake,
    ) -> Result<ControlFlow<()>, Error> {
        let mut payload = &self.buffer[self.rest.start..][range];
        if self.offset == 0 {
            payload = without_mark(payload);
        }
        // A mark alone is no record.
        if payload.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if self.header {
            if let Some(fault) = fault {
                return Err(self.invalid(format!("the header cannot be read: {}", self.words(fault))));
            }
            intake.header(payload)?;
            self.header = false;
            return Ok(ControlFlow::Continue(()));
        }
        if self.offset < self.from {
            return Ok(ControlFlow::Continue(()));
        }
        let raw = self.raw(payload);
        Ok(match fault {
            Some(fault) => intake.damaged(raw, self.words(fault)),
            None => intake.raw(raw),
        })
    }

    #[cold]
    fn words(&self, fault: Fault) -> String {
        match fault {
            Fault::Unterminated => "the quote is never closed".to_owned(),
            Fault::TooLong => format!("record is longer than {} bytes", self.max_record),
        }
    }

    /// Gives the record in which the bytes broke off, once.
    fn give_end(&mut self, intake: &mut dyn Intake) -> ControlFlow<()> {
        let reason = match self.end.take() {
            Some(End::Damaged(reason)) => reason,
            end => {
                self.end = end;
                return ControlFlow::Continue(());
            }
        };
        self.end = Some(End::Clean);
        let mut flow = ControlFlow::Continue(());
        if self.offset >= self.from && !self.framer.is_skipping() {
            flow = intake.damaged(self.raw(&self.buffer[self.rest.clone()]), reason);
        }
        self.consume(self.rest.len(), 0);
        flow
    }

    #[inline]
    fn consume(&mut self, bytes: usize, lines: u64) {
        self.rest.start += bytes;
        self.offset += bytes as u64;
        self.line += lines;
    }

    #[inline]
    fn raw<'a>(&self, payload: &'a [u8]) -> Raw<'a> {
        Raw { line: Some(self.line), ..Raw::new(Offset(self.offset), payload) }
    }

    fn invalid(&self, reason: String) -> Error {
        Error::io(&self.name)(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::testing::Collected;

    const PLAIN: Framing = Framing { header: false, multiline: false, delimiter: b',' };
    const HEADER: Framing = Framing { header: true, ..PLAIN };

    /// Gives at most `chunk` bytes at once.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = buffer.len().min(self.1);
            self.0.read(&mut buffer[..size])
        }
    }

    fn collect(bytes: &[u8], framing: &Framing, from: u64, chunk: usize, every: usize) -> Collected {
        let mut lines = Lines::new("bytes", framing, 20, Offset(from));
        let mut input = Trickle(bytes, chunk);
        let mut intake = Collected::breaking_every(every);
        loop {
            while lines.give(&mut intake).unwrap().is_break() {}
            if lines.fill(&mut input).unwrap() == 0 {
                break;
            }
        }
        lines.finish().unwrap();
        while lines.give(&mut intake).unwrap().is_break() {}
        intake
    }

    #[test]
    fn lines_lose_their_ends_and_empty_ones_only_count() {
        let got = collect(b"\xef\xbb\xbfh,v\r\n\n1,2\r\n\r\n 3\nlast", &HEADER, 0, 100, 0);
        assert_eq!(vec!["h,v".to_owned()], got.headers);
        let expected =
            [(9, Some(3), b"1,2".to_vec()), (16, Some(5), b" 3".to_vec()), (19, Some(6), b"last".to_vec())];
        assert_eq!(expected.to_vec(), got.raws);
    }

    #[test]
    fn a_line_that_is_too_long_is_damaged_once() {
        for chunk in [1, 7, 1000] {
            let bytes =
                [b"a\n".as_slice(), &[b'x'; 5000], b"\r\nb\n", &[b'y'; 19], b"\r\n", &[b'z'; 21]].concat();
            let got = collect(&bytes, &PLAIN, 0, chunk, 1);
            assert_eq!(vec!["a".to_owned(), "b".to_owned(), "y".repeat(19)], got.payloads(), "chunk {chunk}");
            let damaged: Vec<_> =
                got.damaged.iter().map(|(at, line, _, why)| (*at, *line, why.as_str())).collect();
            let reason = "record is longer than 20 bytes";
            assert_eq!(vec![(2, Some(2), reason), (5027, Some(5), reason)], damaged, "chunk {chunk}");
        }
    }

    #[test]
    fn a_record_may_span_lines_and_a_stray_quote_costs_its_own_line_only() {
        let framing = Framing { multiline: true, ..HEADER };
        let bytes = b"k,\"v\nw\"\na,\"1\n2\"\r\nb\n\"c\nd\n";
        let records = [(8, Some(3), b"a,\"1\n2\"".to_vec()), (17, Some(5), b"b".to_vec())];
        for (chunk, every) in [(1, 1), (7, 0), (1000, 2)] {
            let got = collect(bytes, &framing, 0, chunk, every);
            assert_eq!(vec!["k,\"v\nw\"".to_owned()], got.headers);
            let last = (22, Some(7), b"d".to_vec());
            assert_eq!([records.as_slice(), &[last]].concat(), got.raws, "chunks of {chunk}");
            let reason = "the quote is never closed".to_owned();
            assert_eq!(vec![(19, Some(6), b"\"c".to_vec(), reason)], got.damaged, "chunks of {chunk}");
        }
    }

    #[test]
    fn a_damage_takes_no_good_neighbour_along() {
        let framing = Framing { multiline: true, ..PLAIN };
        let mut lines = Lines::new("bytes", &framing, 20, Offset(0));
        lines.push(b"a\n\"b\nc\nd");
        lines.break_off("torn".to_owned());
        let mut intake = Collected::breaking_every(1);
        while lines.give(&mut intake).unwrap().is_break() {}
        assert_eq!(vec!["a", "c"], intake.payloads());
        let damaged: Vec<_> =
            intake.damaged.iter().map(|(at, line, _, why)| (*at, *line, why.as_str())).collect();
        assert_eq!(vec![(2, Some(2), "the quote is never closed"), (7, Some(4), "torn")], damaged);
    }

    #[test]
    fn a_wrong_header_ends_the_reading() {
        let mut lines = Lines::new("bytes", &HEADER, 20, Offset(0));
        lines.fill(&mut b"wrong\n1\n".as_slice()).unwrap();
        let mut intake = Collected::default();
        assert_eq!("wrong header", lines.give(&mut intake).unwrap_err().to_string());
        assert_eq!(0, intake.raws.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_depend_neither_on_blocks_nor_on_breaks_nor_on_where_reading_starts(
            lines in prop::collection::vec(("[a-c]{0,30}|[a\",]{0,8}", prop::sample::select(vec!["\n", "\r\n"])), 0..12),
            last in "[a-c]{0,30}|\"[a-c]{0,4}",
            header: bool,
            multiline: bool,
            chunk in 1usize..50,
            every in 0usize..4,
        ) {
            let mut text: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
            text += &last;
            // The header must not be too long.
            let text = format!("head\n{text}");
            let framing = Framing { header, multiline, ..PLAIN };
            let whole = collect(text.as_bytes(), &framing, 0, usize::MAX, 0);
            for from in 0..=text.len() as u64 {
                let rest = collect(text.as_bytes(), &framing, from, chunk, every);
                let raws: Vec<_> = whole.raws.iter().filter(|raw| raw.0 >= from).cloned().collect();
                let starts = |got: &Collected| -> Vec<_> {
                    got.damaged.iter().filter(|raw| raw.0 >= from).map(|raw| (raw.0, raw.1)).collect()
                };
                prop_assert_eq!(&raws, &rest.raws, "from {}", from);
                prop_assert_eq!(starts(&whole), starts(&rest), "from {}", from);
                prop_assert_eq!(&whole.headers, &rest.headers);
            }
        }
    }
}
