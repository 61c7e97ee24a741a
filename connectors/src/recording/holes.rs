//! Payloads that repeat what their row says.
//!
//! A payload holds time, key and values as text, and its row holds them as numbers. To store both costs twice. So what
//! the row can say is cut out of the payload: a *hole*, one byte below nine, says what belongs there.

use std::fmt::Write;

use memchr::memmem;
use tidewatch_dataflows::record::KEY_SEPARATOR;
use tidewatch_dataflows::EventTime;

use super::bytes::Wrong;
use super::MAX_SECTION;

/// The time as in `2024-01-01T00:00:00.5`, without its `Z`.
const TEXT: u8 = 1;
/// The same with a space instead of the `T`.
const SPACED: u8 = 2;
/// Whole seconds, milliseconds and microseconds since 1970.
const SECONDS: u8 = 3;
const MILLIS: u8 = 4;
const MICROS: u8 = 5;
/// A part of the key; its number follows in a byte.
const KEY: u8 = 6;
/// A value as its shortest decimal without exponent; its number follows in a byte.
const VALUE: u8 = 7;
/// Payloads with any byte up to this are left as they are.
const LAST: u8 = 8;

/// After so many payloads without the time in any spelling, it is no longer looked for.
const PATIENCE: u32 = 64;

/// What a row says.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) time: i64,
    pub(super) key: &'a str,
    pub(super) values: &'a [f64],
}

impl Said<'_> {
    /// Writes what belongs into a hole, or returns `false` if there is no such hole.
    fn write(&self, hole: u8, number: u8, out: &mut String) -> bool {
        let per = |unit: i64| (self.time % unit == 0).then_some(self.time / unit);
        let written = match hole {
            TEXT | SPACED => {
                let time = EventTime::from_micros(self.time).to_string();
                let (Some(day), Some(rest)) = (time.get(..10), time.get(11..)) else { return false };
                let Some(clock) = rest.strip_suffix('Z') else { return false };
                write!(out, "{day}{}{clock}", if hole == TEXT { 'T' } else { ' ' })
            }
            SECONDS | MILLIS | MICROS => {
                let unit = [1_000_000, 1_000, 1][usize::from(hole - SECONDS)];
                let Some(time) = per(unit) else { return false };
                write!(out, "{time}")
            }
            KEY => match self.key.split(KEY_SEPARATOR).nth(number.into()) {
                Some(part) => out.write_str(part),
                None => return false,
            },
            VALUE => match self.values.get(usize::from(number)) {
                Some(value) => write!(out, "{value}"),
                None => return false,
            },
            _ => return false,
        };
        written.is_ok()
    }
}

/// Cuts holes into payloads.
#[derive(Default)]
pub(super) struct Cutter {
    /// The spelling of the time that was found last.
    spelling: u8,
    misses: u32,
    text: String,
    /// Holes: from where to where, which, and its number.
    holes: Vec<(usize, usize, u8, u8)>,
}

impl Cutter {
    /// Appends the payload to `out`, with holes for what `said` says; `false` if it has none.
    pub(super) fn cut(&mut self, payload: &[u8], said: Said<'_>, out: &mut Vec<u8>) -> bool {
        self.holes.clear();
        if payload.iter().all(|byte| *byte > LAST) {
            self.find(payload, said);
        }
        self.holes.sort_unstable();
        let mut rest = 0;
        for (start, end, hole, number) in &self.holes {
            out.extend_from_slice(&payload[rest..*start]);
            out.push(*hole);
            if *hole >= KEY {
                out.push(*number);
            }
            rest = *end;
        }
        out.extend_from_slice(&payload[rest..]);
        !self.holes.is_empty()
    }

    fn find(&mut self, payload: &[u8], said: Said<'_>) {
        if self.misses < PATIENCE {
            let last = self.spelling.max(TEXT);
            let found = std::iter::once(last)
                .chain((TEXT..=MICROS).filter(|spelling| *spelling != last))
                .find(|spelling| self.find_one(payload, said, *spelling, 0));
            self.misses = if found.is_some() { 0 } else { self.misses + 1 };
            self.spelling = found.unwrap_or(last);
        }
        for (number, value) in (0..u8::MAX).zip(said.values) {
            if value.is_finite() {
                self.find_one(payload, said, VALUE, number);
            }
        }
        for (number, _) in (0..u8::MAX).zip(said.key.split(KEY_SEPARATOR)) {
            self.find_one(payload, said, KEY, number);
        }
    }

    /// Makes a hole where the payload has what belongs into it, best where a field begins and ends.
    fn find_one(&mut self, payload: &[u8], said: Said<'_>, hole: u8, number: u8) -> bool {
        self.text.clear();
        if !said.write(hole, number, &mut self.text) || self.text.is_empty() {
            return false;
        }
        let length = self.text.len();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_');
        let mut best = None;
        for start in memmem::find_iter(payload, self.text.as_bytes()) {
            let end = start + length;
            let taken = self.holes.iter().any(|(from, to, ..)| start < *to && *from < end);
            if taken || start.checked_sub(1).and_then(|before| payload.get(before)).is_some_and(is_word) {
                continue;
            }
            let next = payload.get(end).filter(|next| is_word(next));
            match (next, hole) {
                (None, _) => {
                    best = Some(start);
                    break;
                }
                // More decimals than there need be, or a zone.
                (Some(_), TEXT | SPACED) | (Some(b'.' | b'0'), VALUE) => best = best.or(Some(start)),
                _ => {}
            }
        }
        if let Some(start) = best {
            self.holes.push((start, start + length, hole, number));
        }
        best.is_some()
    }
}

/// Fills the holes of a payload.
pub(super) fn fill(cut: &[u8], said: Said<'_>) -> Result<Vec<u8>, Wrong> {
    let mut filled = Vec::with_capacity(cut.len() + 64);
    let mut text = String::new();
    let mut bytes = cut.iter();
    while let Some(byte) = bytes.next() {
        if *byte > LAST {
            filled.push(*byte);
            continue;
        }
        let number = if *byte >= KEY { bytes.next().copied().unwrap_or_default() } else { 0 };
        text.clear();
        if !said.write(*byte, number, &mut text) {
            return Err(format!("nothing belongs into a hole of kind {byte}, number {number}"));
        }
        filled.extend_from_slice(text.as_bytes());
        if filled.len() > MAX_SECTION {
            return Err("a payload is too long".to_owned());
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(payload: &[u8], said: Said<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let has_holes = Cutter::default().cut(payload, said, &mut out);
        let back = if has_holes { fill(&out, said).unwrap() } else { out.clone() };
        assert_eq!(payload, &back[..]);
        out
    }

    #[test]
    fn what_the_row_says_is_cut_out() {
        let time = 1_704_067_200_500_000;
        let said = Said { time, key: "host-1\u{1f}eu", values: &[45.5, 1.0] };
        for (payload, expected) in [
            ("2024-01-01T00:00:00.5Z,host-1,eu,45.5,1", "\x01Z,\x06\x00,\x06\x01,\x07\x00,\x07\x01"),
            ("2024-01-01 00:00:00.500,host-10,45.50,10,1", "\x0200,host-10,\x07\x000,10,\x07\x01"),
            ("{\"t\":1704067200500,\"v\":45.5}", "{\"t\":\x04,\"v\":\x07\x00}"),
            ("1704067200500000,145.5", "\x05,145.5"),
            ("\x011704067200500", "\x011704067200500"),
        ] {
            assert_eq!(expected, String::from_utf8_lossy(&cut(payload.as_bytes(), said)));
        }
    }

    #[test]
    fn whole_seconds_and_odd_times() {
        let said = |time| Said { time, key: "", values: &[] };
        assert_eq!(b"\x03,x".to_vec(), cut(b"-5,x", said(-5_000_000)));
        cut(b"9223372036854775807", said(i64::MAX));
        cut(b"x", said(i64::MIN));
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(
            pieces in prop::collection::vec(prop_oneof![
                Just("1704067200".to_owned()), Just("2024-01-01T00:00:00".to_owned()), Just("1".to_owned()),
                Just("k".to_owned()), Just(",".to_owned()), Just("0.25".to_owned()), "[\\x00-\\x0a]", ".{0,3}",
            ], 0..10),
            value in prop_oneof![Just(0.25), Just(1.0), any::<f64>()],
            key in "(k|1|)(\u{1f}(k|1|,)){0,2}",
            time in prop_oneof![Just(1_704_067_200_000_000), any::<i64>()],
        ) {
            cut(pieces.concat().as_bytes(), Said { time, key: &key, values: &[value, 1.0] });
        }

        #[test]
        fn no_bytes_make_filling_panic(bytes in prop::collection::vec(0u8..12, 0..20)) {
            let _ = fill(&bytes, Said { time: i64::MIN, key: "k", values: &[f64::NAN] });
        }
    }
}
