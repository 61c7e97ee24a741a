//! Cuts a stream of bytes into lines.

use std::io::{self, Read};
use std::ops::{ControlFlow, Range};

use memchr::{memchr, memchr_iter};
use tidewatch_dataflows::Offset;

use crate::format::Framing;
use crate::source::Raw;
use crate::{Error, Intake};

/// How much is read at once. Always the same: where a damaged compressed stream stops giving bytes depends on how
/// many were asked for, and must not depend on where the intake broke off.
pub(crate) const BLOCK: usize = 128 * 1024;

/// The longest record, in bytes, unless said otherwise.
const MAX_RECORD: usize = 1024 * 1024;

/// How much of a record that is too long is shown.
const EXCERPT: usize = 4096;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Cuts bytes into lines and gives them to an intake: an offset is that of a line's first byte, lines count from one.
///
/// A carriage return before the newline and a byte order mark at the very beginning belong to no record; empty lines
/// are none. A line longer than the longest record is given once as damaged and skipped in bounded memory. The result
/// is a function of the bytes alone, not of how they were cut into blocks or where the intake broke off.
pub(crate) struct Lines {
    /// What is being read, for errors.
    name: String,
    max_record: usize,
    /// Whether the first line that is not empty is still to come, and is the header.
    header: bool,
    /// Records before this offset are not given; zero once it is reached.
    from: u64,
    /// Whether what comes before the next newline belongs to no record.
    skipping: bool,
    buffer: Vec<u8>,
    /// The part of `buffer` that has been filled and not yet consumed.
    rest: Range<usize>,
    /// No newline lies between the start of `rest` and here.
    scanned: usize,
    /// The offset of the start of `rest`.
    offset: u64,
    /// The line in which the start of `rest` lies.
    line: u64,
}

impl Lines {
    /// Lines of `name`, whose first byte has offset zero; gives the records at or after `from`.
    pub(crate) fn new(name: &str, framing: &Framing, from: Offset) -> Self {
        Self {
            name: name.to_owned(),
            max_record: MAX_RECORD,
            header: framing.header,
            from: from.0,
            skipping: false,
            buffer: Vec::new(),
            rest: 0..0,
            scanned: 0,
            offset: 0,
            line: 1,
        }
    }

    /// Whether the first record to give has not been reached.
    pub(crate) fn behind(&self) -> bool {
        self.from != 0
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

    /// Moves the rest to the start of the buffer and makes space behind it.
    fn space(&mut self, size: usize) -> &mut [u8] {
        self.buffer.copy_within(self.rest.clone(), 0);
        self.scanned -= self.rest.start;
        self.rest = 0..self.rest.len();
        if self.buffer.len() < self.rest.end + size {
            self.buffer.resize(self.rest.end + size, 0);
        }
        &mut self.buffer[self.rest.end..][..size]
    }

    /// Gives the complete lines that have been read.
    pub(crate) fn give(&mut self, intake: &mut dyn Intake) -> Result<ControlFlow<()>, Error> {
        loop {
            self.skip_to_from();
            let Some(length) = memchr(b'\n', &self.buffer[self.scanned..self.rest.end]) else {
                self.scanned = self.rest.end;
                return self.give_too_long(intake);
            };
            let newline = self.scanned + length;
            let flow = self.give_line(newline, intake)?;
            self.consume(newline + 1);
            self.line += 1;
            self.skipping = false;
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }

    /// Gives the last line at the end of the stream, where it needs no newline.
    pub(crate) fn finish(&mut self, intake: &mut dyn Intake) -> Result<ControlFlow<()>, Error> {
        if self.behind() {
            return Err(self.invalid(format!("ends before offset {}, from which to read", self.from)));
        }
        let flow = self.give_line(self.rest.end, intake)?;
        self.consume(self.rest.end);
        Ok(flow)
    }

    /// Gives what has been read of a line in which the stream broke off, for `reason`.
    pub(crate) fn break_off(&mut self, reason: String, intake: &mut dyn Intake) -> ControlFlow<()> {
        if self.behind() || self.skipping {
            return ControlFlow::Continue(());
        }
        let flow = intake.damaged(self.raw(&self.buffer[self.rest.clone()]), reason);
        self.consume(self.rest.end);
        flow
    }

    /// Moves towards the first record to give, counting lines: a record has the same line wherever reading started.
    fn skip_to_from(&mut self) {
        // The header counts wherever reading starts.
        if self.header || !self.behind() {
            return;
        }
        // Stops one byte short: if that is a newline, `from` begins a line; otherwise the next line is the first.
        let missing = usize::try_from((self.from - 1).saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let skipped = self.rest.start + missing.min(self.rest.len());
        self.line += memchr_iter(b'\n', &self.buffer[self.rest.start..skipped]).count() as u64;
        self.consume(skipped);
        if self.offset >= self.from || !self.rest.is_empty() {
            self.skipping = self.offset < self.from;
            self.from = 0;
        }
    }

    /// Gives the line that ends at `end`, if it is a record.
    fn give_line(&mut self, end: usize, intake: &mut dyn Intake) -> Result<ControlFlow<()>, Error> {
        let mut line = &self.buffer[self.rest.start..end];
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.offset == 0 {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if self.skipping || line.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let too_long = line.len() > self.max_record;
        if self.header {
            if too_long {
                return Err(self.invalid(format!("the header is longer than {} bytes", self.max_record)));
            }
            intake.header(line)?;
            self.header = false;
            return Ok(ControlFlow::Continue(()));
        }
        Ok(match too_long {
            true => intake.damaged(self.raw(line), self.too_long()),
            false => intake.raw(Raw { payload: line, ..self.raw(line) }),
        })
    }

    /// Gives the last line as damaged and forgets what there is of it, if it is too long already.
    fn give_too_long(&mut self, intake: &mut dyn Intake) -> Result<ControlFlow<()>, Error> {
        // A carriage return and a byte order mark may still go.
        let bound = self.max_record + 1 + BYTE_ORDER_MARK.len();
        let mut flow = ControlFlow::Continue(());
        if !self.skipping && self.rest.len() > bound {
            flow = self.give_line(self.rest.end, intake)?;
            self.skipping = true;
        }
        if self.skipping {
            self.consume(self.rest.end);
        }
        Ok(flow)
    }

    fn consume(&mut self, end: usize) {
        self.offset += (end - self.rest.start) as u64;
        self.rest.start = end;
        self.scanned = self.scanned.max(end);
    }

    /// A record at the start of `rest` with an excerpt of its bytes.
    fn raw<'a>(&self, payload: &'a [u8]) -> Raw<'a> {
        Raw {
            offset: Offset(self.offset),
            line: Some(self.line),
            appended: None,
            payload: &payload[..payload.len().min(EXCERPT)],
        }
    }

    fn too_long(&self) -> String {
        format!("record is longer than {} bytes", self.max_record)
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
        let mut lines = Lines::new("bytes", framing, Offset(from));
        lines.max_record = 20;
        let mut input = Trickle(bytes, chunk);
        let mut intake = Collected::breaking_every(every);
        loop {
            while lines.give(&mut intake).unwrap().is_break() {}
            if lines.fill(&mut input).unwrap() == 0 {
                break;
            }
        }
        let _ = lines.finish(&mut intake).unwrap();
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
                [b"a\n".as_slice(), &[b'x'; 5000], b"\r\nb\n", &[b'y'; 20], b"\r\n", &[b'z'; 21]].concat();
            let got = collect(&bytes, &PLAIN, 0, chunk, 1);
            assert_eq!(vec!["a".to_owned(), "b".to_owned(), "y".repeat(20)], got.payloads(), "chunk {chunk}");
            let damaged: Vec<_> =
                got.damaged.iter().map(|(at, line, _, why)| (*at, *line, why.as_str())).collect();
            let reason = "record is longer than 20 bytes";
            assert_eq!(vec![(2, Some(2), reason), (5028, Some(5), reason)], damaged, "chunk {chunk}");
        }
    }

    #[test]
    fn a_wrong_header_ends_the_reading() {
        let mut lines = Lines::new("bytes", &HEADER, Offset(0));
        lines.fill(&mut b"wrong\n1\n".as_slice()).unwrap();
        let mut intake = Collected::default();
        assert_eq!("wrong header", lines.give(&mut intake).unwrap_err().to_string());
        assert_eq!(0, intake.raws.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_depend_neither_on_blocks_nor_on_breaks_nor_on_where_reading_starts(
            lines in prop::collection::vec(("[a-c]{0,30}", prop::sample::select(vec!["\n", "\r\n"])), 0..12),
            last in "[a-c]{0,30}",
            header: bool,
            chunk in 1usize..50,
            every in 0usize..4,
        ) {
            let mut text: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
            text += &last;
            // The header must not be too long.
            let text = format!("head\n{text}");
            let framing = if header { HEADER } else { PLAIN };
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
