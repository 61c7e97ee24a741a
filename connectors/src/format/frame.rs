//! Splits bytes into payloads.
//!
//! A framer sees a buffer that begins where its last frame ended and holds what has been read since. It answers with the
//! next frame, or that it needs more bytes. What it answers depends on the bytes alone, never on how they arrived.
//!
//! A line feed ends a record, except, with [`Framing::multiline`], inside a quoted field. A quote opens only at the
//! start of a field, so that a quote in the middle of one has no effect. If it is never closed, or not within the
//! longest record, or closed where no field ends, its line alone is bad and the next line begins a record: a stray quote
//! takes no good neighbour along.

mod scan;

use std::ops::Range;

use super::Framing;
use scan::Scan;

/// What comes next in the bytes; ranges and lengths count from the start of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record, without its line end.
    Payload {
        /// Where it is.
        range: Range<usize>,
        /// The length of what the frame takes, line end included.
        consumed: usize,
        /// How many line feeds that has.
        lines: u64,
    },
    /// A line with a quote that is not closed in time.
    Unterminated {
        /// Where the line is.
        range: Range<usize>,
        /// The length of what the frame takes, line end included.
        consumed: usize,
        /// How many line feeds that has.
        lines: u64,
    },
    /// The beginning of a line that is too long; the rest is skipped by the frames that follow.
    TooLong {
        /// Where the beginning is: as many bytes as a record may have.
        range: Range<usize>,
        /// The length of what the frame takes.
        consumed: usize,
    },
    /// Nothing: an empty line, or more of a line that is too long.
    Skipped {
        /// The length of what the frame takes.
        consumed: usize,
        /// How many line feeds that has.
        lines: u64,
    },
    /// The buffer does not hold a whole frame; at the end, it is empty.
    Incomplete,
}

/// Splits the bytes of one partition.
#[derive(Clone, Debug)]
pub struct Framer {
    multiline: bool,
    max_record: usize,
    /// Where the search for the end of the record at the start of the buffer stands.
    scan: Scan,
    /// Whether the buffer begins inside a line that is too long.
    skipping: bool,
}

impl Framer {
    /// A framer at the start of a record; none has more than `max_record` bytes without its line feed.
    pub fn new(framing: &Framing, max_record: usize) -> Self {
        let scan = Scan::new(framing.multiline.then_some(framing.delimiter));
        Self { multiline: framing.multiline, max_record, scan, skipping: false }
    }

    /// Finds the next frame in `buffer`, which begins where the last one ended; `at_end` if nothing follows it.
    ///
    /// The caller gives more bytes after [`Frame::Incomplete`] and no others before it; a buffer of `max_record` + 1
    /// bytes is never incomplete.
    #[inline]
    pub fn next(&mut self, buffer: &[u8], at_end: bool) -> Frame {
        if self.skipping {
            return self.skip(buffer);
        }
        // To look no further makes the answer the same however much more there is.
        let window = &buffer[..buffer.len().min(self.max_record.saturating_add(1))];
        let frame = match self.scan.find_end(window) {
            Some(end) => self.record(window, end, end + 1),
            _ if window.len() > self.max_record => match self.first_line(window) {
                Some(end) => unterminated(window, end, end + 1),
                None => {
                    self.skipping = true;
                    Frame::TooLong { range: 0..self.max_record, consumed: self.max_record }
                }
            },
            _ if at_end && !window.is_empty() => match self.scan.in_quotes() {
                false => self.record(window, window.len(), window.len()),
                true => match self.first_line(window) {
                    Some(end) => unterminated(window, end, end + 1),
                    None => unterminated(window, window.len(), window.len()),
                },
            },
            _ => return Frame::Incomplete,
        };
        self.scan.restart();
        frame
    }

    /// The record before `end`, or nothing if that is empty.
    #[inline]
    fn record(&self, window: &[u8], end: usize, consumed: usize) -> Frame {
        let range = trim(window, end);
        let inside = if self.multiline { memchr::memchr_iter(b'\n', &window[..end]).count() } else { 0 };
        let lines = (inside + consumed - end) as u64;
        match range.is_empty() {
            true => Frame::Skipped { consumed, lines },
            false => Frame::Payload { range, consumed, lines },
        }
    }

    /// The end of the first line, if the record has gone beyond it.
    fn first_line(&self, window: &[u8]) -> Option<usize> {
        if self.multiline {
            memchr::memchr(b'\n', window)
        } else {
            None
        }
    }

    /// Whether the buffer begins inside a line that is too long.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Searches the buffer from its start again: it is no longer what it was.
    pub(super) fn search_again(&mut self) {
        self.scan.restart();
    }

    fn skip(&mut self, buffer: &[u8]) -> Frame {
        match memchr::memchr(b'\n', buffer) {
            Some(end) => {
                self.skipping = false;
                Frame::Skipped { consumed: end + 1, lines: 1 }
            }
            None if buffer.is_empty() => Frame::Incomplete,
            None => Frame::Skipped { consumed: buffer.len(), lines: 0 },
        }
    }
}

fn unterminated(window: &[u8], end: usize, consumed: usize) -> Frame {
    Frame::Unterminated { range: trim(window, end), consumed, lines: (consumed - end) as u64 }
}

/// The bytes before `end`, without a carriage return at the end.
#[inline]
fn trim(window: &[u8], end: usize) -> Range<usize> {
    0..end - usize::from(window[..end].ends_with(b"\r"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framing(multiline: bool) -> Framing {
        Framing { header: false, multiline, delimiter: b',' }
    }

    /// What kind of frame, from which byte and line on, with what in it.
    type Seen = (char, usize, u64, String);

    /// Feeds chunks of these sizes, over and over, as a source would.
    fn frames(bytes: &[u8], multiline: bool, max_record: usize, chunks: &[usize]) -> Vec<Seen> {
        let mut framer = Framer::new(&framing(multiline), max_record);
        let (mut seen, mut start, mut end, mut line) = (Vec::new(), 0, 0, 1);
        let mut chunks = chunks.iter().cycle();
        loop {
            let buffer = &bytes[start..end];
            let (kind, range, consumed, lines) = match framer.next(buffer, end == bytes.len()) {
                Frame::Payload { range, consumed, lines } => ('p', range, consumed, lines),
                Frame::Unterminated { range, consumed, lines } => ('u', range, consumed, lines),
                Frame::TooLong { range, consumed } => ('t', range, consumed, 0),
                Frame::Skipped { consumed, lines } => (' ', 0..0, consumed, lines),
                Frame::Incomplete if end == bytes.len() => break,
                Frame::Incomplete => {
                    assert!(end - start <= max_record, "a full buffer is never incomplete");
                    end = bytes.len().min(end + chunks.next().unwrap());
                    continue;
                }
            };
            assert!(consumed > 0);
            if kind != ' ' {
                let text = String::from_utf8_lossy(&buffer[range.clone()]).into_owned();
                seen.push((kind, start + range.start, line, text));
            }
            start += consumed;
            line += lines;
        }
        assert_eq!(bytes.len(), start, "every byte belongs to a frame");
        seen
    }

    fn brief(text: &str, multiline: bool, max_record: usize) -> Vec<String> {
        let frames = frames(text.as_bytes(), multiline, max_record, &[text.len().max(1)]);
        frames.into_iter().map(|(kind, _, line, text)| format!("{kind}{line}:{text}")).collect()
    }

    #[test]
    fn lines_are_records_and_empty_ones_are_counted() {
        assert_eq!(["p1:a", "p2:b", "p5:c"], *brief("a\nb\r\n\n\r\nc", false, 9));
        assert_eq!(["p1:\"a", "p2:b\""], *brief("\"a\nb\"\n", false, 9));
        assert!(brief("", false, 9).is_empty());
    }

    #[test]
    fn a_record_goes_on_inside_quotes() {
        assert_eq!(["p1:a,\"b\n\nc\"", "p4:d"], *brief("a,\"b\n\nc\"\nd\n", true, 99));
        assert_eq!(["p1:\"a\"\"\n\"", "p3:b"], *brief("\"a\"\"\n\"\nb", true, 99));
        assert_eq!(
            ["p1:a\"b", "p2:c\""],
            *brief("a\"b\nc\"\n", true, 99),
            "a quote opens at the start of a field"
        );
        assert_eq!(
            ["p1:\"a\"b,\"c", "p2:d\""],
            *brief("\"a\"b,\"c\nd\"", true, 99),
            "a field that was not closed properly does not open again"
        );
        assert_eq!(["p1:\u{feff}\"a\nb\"", "p3:c"], *brief("\u{feff}\"a\nb\"\nc", true, 99));
    }

    #[test]
    fn a_stray_quote_takes_no_neighbour_along() {
        assert_eq!(["p1:a", "u2:\"b", "p3:c", "p4:d"], *brief("a\n\"b\r\nc\nd", true, 99));
        assert_eq!(["u1:\"b", "p2:cccc", "p3:dddd", "u4:\""], *brief("\"b\ncccc\ndddd\n\"\n", true, 10));
        assert_eq!(["p1:a", "u2:\"b"], *brief("a\n\"b", true, 99));
        // The quote of the first line meets that of the second, behind which no field ends.
        assert_eq!(["p1:1,\"a", "p2:2,\"b\"", "p3:3,c"], *brief("1,\"a\n2,\"b\"\r\n3,c\n", true, 99));
        assert_eq!(["p1:\"a\"\rb", "p2:c"], *brief("\"a\"\rb\nc", true, 99));
        assert_eq!(["p1:\"a\"", "p2:\"b\""], *brief("\"a\"\r\n\"b\"\r", true, 99));
        assert_eq!(["t1:\"a\"b", "p2:e"], *brief("\"a\"bcd\ne", true, 4));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_skipped() {
        assert_eq!(["p1:abc", "t2:abc", "p3:d"], *brief("abc\nabcdefghi\nd", false, 3));
        assert_eq!(["t1:abc", "p2:d"], *brief("abcd\nd", false, 3));
        assert_eq!(["t1:\"bc", "p2:d"], *brief("\"bcd\nd", true, 3));
        assert_eq!(["t1:abc"], *brief("abcd", false, 3));
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_chunks(
            text in "[ab,\"\n\r]{0,60}|(a,\"\n|\"\"|b\n|,|\u{feff}){0,30}",
            multiline in any::<bool>(),
            max_record in 1_usize..40,
            chunks in prop::collection::vec(1_usize..9, 1..6),
        ) {
            let whole = frames(text.as_bytes(), multiline, max_record, &[text.len().max(1)]);
            prop_assert_eq!(whole, frames(text.as_bytes(), multiline, max_record, &chunks));
        }

        /// One stray quote may cost its own line, and no other.
        #[test]
        fn a_stray_quote_costs_one_line(
            records in prop::collection::vec("[0-9]{1,2},(\"[a-c]{1,3}\"|[a-c]{1,3}),[0-9]{1,2}", 1..8),
            at in any::<prop::sample::Index>(), chunks in prop::collection::vec(1_usize..9, 1..6),
        ) {
            let at = at.index(records.len());
            let mut lines = records.clone();
            lines[at] = records[at].replacen(',', ",\"", 1).replacen("\"\"", "\"", 1);
            let seen: Vec<_> = frames(lines.join("\n").as_bytes(), true, 999, &chunks);
            let seen: Vec<_> = seen.iter().map(|(_, _, _, text)| text).collect();
            prop_assert_eq!(lines.iter().collect::<Vec<_>>(), seen);
        }

        #[test]
        fn without_multiline_frames_are_lines(text in "[ab\"\n\r]{0,60}") {
            let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
            let expected: Vec<_> = lines.zip(1_u64..).filter(|(line, _)| !line.is_empty()).collect();
            let seen = frames(text.as_bytes(), false, 99, &[7]);
            let seen: Vec<_> = seen.iter().map(|(_, _, line, text)| (text.as_str(), *line)).collect();
            prop_assert_eq!(expected, seen);
        }

        #[test]
        fn quoted_records_are_framed_as_they_were_written(
            records in prop::collection::vec(prop::collection::vec("[ab,\"\n]{0,5}", 1..4), 0..8),
        ) {
            let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let written: Vec<String> =
                records.iter().map(|fields| fields.iter().map(quote).collect::<Vec<_>>().join(",")).collect();
            let text = written.join("\n");
            let seen = frames(text.as_bytes(), true, 999, &[5]);
            prop_assert_eq!(written, seen.into_iter().map(|(_, _, _, text)| text).collect::<Vec<_>>());
        }
    }
}
