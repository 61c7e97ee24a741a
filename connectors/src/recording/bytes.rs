//! Numbers and texts as bytes, and back: never panics, never takes more room than there are bytes.

use super::MAX_SECTION;

/// Why bytes are not what they should be, in words.
pub(super) type Wrong = String;

/// Appends a number, seven bits a byte, the lowest first; all but the last byte have the high bit.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends the difference to `last` as a varint with the sign in the lowest bit, and moves `last` on.
#[inline]
pub(super) fn put_delta(out: &mut Vec<u8>, last: &mut i64, number: i64) {
    let delta = number.wrapping_sub(*last);
    put_varint(out, ((delta << 1) ^ (delta >> 63)) as u64);
    *last = number;
}

/// Appends the length as a varint, then the bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// What is left to be read.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Wrong> {
        match self.0.split_at_checked(length) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => Err(format!("{length} bytes are wanted where {} are left", self.0.len())),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        Ok(self.take(N)?.try_into().expect("as many as were taken"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Wrong> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Wrong> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Wrong> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Wrong> {
        match self.0 {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Wrong> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err("a number has no end".to_owned())
    }

    #[inline]
    pub(super) fn delta(&mut self, last: &mut i64) -> Result<i64, Wrong> {
        let coded = self.varint()?;
        *last = last.wrapping_add((coded >> 1) as i64 ^ -((coded & 1) as i64));
        Ok(*last)
    }

    /// A length, of something that takes at least a byte for each.
    pub(super) fn length(&mut self) -> Result<usize, Wrong> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.0.len() => Ok(length),
            _ => Err(format!("a length of {length} where {} bytes are left", self.0.len())),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], Wrong> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn string(&mut self) -> Result<&'a str, Wrong> {
        std::str::from_utf8(self.text()?).map_err(|_| "a text is not UTF-8".to_owned())
    }

    pub(super) fn end(self) -> Result<(), Wrong> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(format!("{left} bytes too many")),
        }
    }
}

/// Compresses, or returns nothing if that would not save room.
pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let compressed = zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL).ok()?;
    (compressed.len() < bytes.len()).then_some(compressed)
}

/// Decompresses to exactly `length` bytes, which are at most `most`.
pub(super) fn decompress(bytes: &[u8], length: usize, most: usize) -> Result<Vec<u8>, Wrong> {
    if length > most {
        return Err(format!("{length} bytes where at most {most} can be"));
    }
    let plain = zstd::bulk::decompress(bytes, length).map_err(|error| format!("zstd: {error}"))?;
    match plain.len() == length {
        true => Ok(plain),
        false => Err(format!("{} bytes where {length} were announced", plain.len())),
    }
}

/// Appends a section: its name, its length, its stored length (the same if it is not compressed), and the bytes.
pub(super) fn put_section(out: &mut Vec<u8>, name: u8, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let compressed = compress(bytes);
    let stored = compressed.as_deref().unwrap_or(bytes);
    out.push(name);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(stored);
}

/// A section as it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Section<'a> {
    length: usize,
    stored: &'a [u8],
}

impl Section<'_> {
    /// What it holds.
    pub(super) fn open(&self) -> Result<Vec<u8>, Wrong> {
        match self.length == self.stored.len() {
            true => Ok(self.stored.to_vec()),
            false => decompress(self.stored, self.length, MAX_SECTION),
        }
    }
}

/// The sections of a body by name; those that are not there are empty.
pub(super) fn sections<const N: usize>(body: &[u8]) -> Result<[Section<'_>; N], Wrong> {
    let mut found = [Section::default(); N];
    let mut bytes = Bytes(body);
    while !bytes.0.is_empty() {
        let name = usize::from(bytes.u8()?);
        let (length, stored) = (bytes.u32()? as usize, bytes.u32()? as usize);
        let stored = bytes.take(stored)?;
        // What a later version adds is skipped.
        if let Some(section) = found.get_mut(name) {
            *section = Section { length, stored };
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(any::<u64>(), 0..50), bits in 0u32..64) {
            let (mut out, mut last) = (Vec::new(), 0);
            for number in &numbers {
                put_varint(&mut out, number >> bits);
                put_delta(&mut out, &mut last, (number >> bits) as i64);
            }
            let (mut bytes, mut last) = (Bytes(&out), 0);
            for number in &numbers {
                prop_assert_eq!(Ok(number >> bits), bytes.varint());
                prop_assert_eq!(Ok((number >> bits) as i64), bytes.delta(&mut last));
            }
            prop_assert_eq!(Ok(()), bytes.end());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut rest = Bytes(&bytes);
            while rest.varint().is_ok() {}
            let _ = Bytes(&bytes).text();
            if let Ok(found) = sections::<4>(&bytes) {
                for section in found {
                    let _ = section.open();
                }
            }
        }
    }

    #[test]
    fn a_number_has_at_most_64_bits() {
        assert!(Bytes(&[0xff; 10]).varint().is_err());
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Ok(u64::MAX), Bytes(&most).varint());
    }
}
