//! The bytes of an entry.

use xxhash_rust::xxh3::xxh3_64;

use super::{Entry, Epoch};

const MAGIC: [u8; 8] = *b"tidewlog";
/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
/// Magic, version, number, epoch, writer.
const HEAD: usize = 8 + 1 + 3 * 8;
const CHECKSUM: usize = 8;

/// An entry's bytes: magic, format version, number, epoch, writer, body, and a checksum (xxh3) of all that.
pub(super) fn encode(number: u64, epoch: Epoch, writer: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len() + CHECKSUM);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    for word in [number, epoch.0, writer] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// Entry `number` from its bytes, or why they are none.
pub(super) fn decode(number: u64, bytes: &[u8]) -> Result<Entry, String> {
    let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or("it ends early")?;
    if u64::from_le_bytes(*checksum) != xxh3_64(checked) {
        return Err("its checksum does not hold".to_owned());
    }
    let (head, body) = checked.split_at_checked(HEAD).ok_or("it ends early")?;
    if head[..8] != MAGIC {
        return Err("it is no entry of a log".to_owned());
    }
    if head[8] != VERSION {
        return Err(format!("it has format version {}, but this build reads version {VERSION}", head[8]));
    }
    let word = |index: usize| {
        u64::from_le_bytes(head[9 + 8 * index..][..8].try_into().expect("8 bytes of the head"))
    };
    if word(0) != number {
        return Err(format!("it is entry {}", word(0)));
    }
    Ok(Entry { number, epoch: Epoch(word(1)), body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for body in [&b""[..], b"body"] {
            let expected = Entry { number: 7, epoch: Epoch(3), body: body.to_vec() };
            assert_eq!(Ok(expected), decode(7, &encode(7, Epoch(3), 9, body)));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = encode(7, Epoch(3), 9, b"body");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(decode(7, &flipped).is_err(), "bit {bit} of byte {at}");
            }
            assert!(decode(7, &bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(Err("it is entry 7".to_owned()), decode(8, &bytes), "under another's name");
    }
}
