//! The blocks of a file: what is before the body of each, and the index of them all.

use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{decompress, Bytes, Wrong};
use super::parts::Part;

/// The version that is written, and the only one that is read.
pub(super) const VERSION: u32 = 2;
/// The length of what a file begins with.
pub(super) const PREAMBLE: usize = 40;
/// The length of what a block begins with.
pub(super) const HEAD: usize = 72;
/// The length of what a closed file ends with.
pub(super) const TRAILER: usize = 24;

const FILE_MAGIC: [u8; 8] = *b"tidewrec";
const BLOCK_MAGIC: [u8; 4] = *b"tblk";
const END_MAGIC: [u8; 8] = *b"tidewend";
/// How much of a head its checksum covers, and the index repeats.
const CHECKED: usize = HEAD - 8;
/// The length of an entry of the index.
const ENTRY: usize = 8 + CHECKED;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who a partition is.
    Partition = 1,
    /// Watermarks that were forced.
    Decisions = 2,
    /// Records of a partition, in offset order.
    Records = 3,
    /// Where all the others are.
    Index = 4,
}

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The length of the body.
    pub(super) length: u32,
    pub(super) partition: u32,
    /// The offsets of the first and the last record.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The event times that its records span, in microseconds; the wrong way round if none is known.
    pub(super) earliest: i64,
    pub(super) latest: i64,
    /// How many records or decisions it has.
    pub(super) count: u32,
    /// The xxh3 of the body.
    pub(super) checksum: u64,
}

impl Head {
    /// A head without records and times, for a body.
    pub(super) fn new(kind: Kind, partition: u32, body: &[u8]) -> Result<Self, Wrong> {
        let length = u32::try_from(body.len()).map_err(|_| format!("a block of {} bytes", body.len()))?;
        let checksum = xxh3_64(body);
        let (earliest, latest) = (i64::MAX, i64::MIN);
        Ok(Self { kind, length, partition, first: 0, last: 0, earliest, latest, count: 0, checksum })
    }

    fn checked(&self) -> [u8; CHECKED] {
        let mut bytes = [0; CHECKED];
        let mut put = |at: usize, word: &[u8]| bytes[at..at + word.len()].copy_from_slice(word);
        put(0, &BLOCK_MAGIC);
        put(4, &(self.kind as u32).to_le_bytes());
        put(8, &self.length.to_le_bytes());
        put(12, &self.partition.to_le_bytes());
        put(16, &self.first.to_le_bytes());
        put(24, &self.last.to_le_bytes());
        put(32, &self.earliest.to_le_bytes());
        put(40, &self.latest.to_le_bytes());
        put(48, &self.count.to_le_bytes());
        put(56, &self.checksum.to_le_bytes());
        bytes
    }

    /// The head as it is before its body.
    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let checked = self.checked();
        let mut bytes = [0; HEAD];
        bytes[..CHECKED].copy_from_slice(&checked);
        bytes[CHECKED..].copy_from_slice(&xxh3_64(&checked).to_le_bytes());
        bytes
    }

    /// Reads a head.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let (mut checked, mut checksum) = (Bytes(bytes), Bytes(bytes));
        let covered = checksum.take(CHECKED)?;
        if checksum.u64()? != xxh3_64(covered) {
            return Err("the head of the block does not have its checksum".to_owned());
        }
        Self::read_checked(&mut checked)
    }

    fn read_checked(bytes: &mut Bytes<'_>) -> Result<Self, Wrong> {
        if bytes.take(BLOCK_MAGIC.len())? != BLOCK_MAGIC {
            return Err("no block begins here".to_owned());
        }
        let kind = match bytes.u32()? {
            1 => Kind::Partition,
            2 => Kind::Decisions,
            3 => Kind::Records,
            4 => Kind::Index,
            kind => return Err(format!("blocks of kind {kind} are not known")),
        };
        let (length, partition) = (bytes.u32()?, bytes.u32()?);
        let (first, last) = (bytes.u64()?, bytes.u64()?);
        let (earliest, latest) = (bytes.u64()? as i64, bytes.u64()? as i64);
        let count = bytes.u32()?;
        bytes.u32()?;
        let checksum = bytes.u64()?;
        Ok(Self { kind, length, partition, first, last, earliest, latest, count, checksum })
    }

    /// Checks that this is the body.
    pub(super) fn check(&self, body: &[u8]) -> Result<(), Wrong> {
        match xxh3_64(body) == self.checksum {
            true => Ok(()),
            false => Err("the block does not have its checksum".to_owned()),
        }
    }
}

/// A block and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// Its number in the file, from one.
    pub(super) number: u64,
    /// Its first byte.
    pub(super) position: u64,
    pub(super) head: Head,
}

impl Located {
    /// The first byte behind it.
    pub(super) fn end(&self) -> u64 {
        self.position.saturating_add(HEAD as u64 + u64::from(self.head.length))
    }
}

/// What a file begins with.
pub(super) fn preamble(part: Part, run: u64) -> [u8; PREAMBLE] {
    let mut bytes = [0; PREAMBLE];
    bytes[..8].copy_from_slice(&FILE_MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&part.index.to_le_bytes());
    bytes[16..20].copy_from_slice(&part.of.to_le_bytes());
    bytes[24..32].copy_from_slice(&run.to_le_bytes());
    let checksum = xxh3_64(&bytes[..32]);
    bytes[32..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads what a file begins with: which part it is, and of which run.
pub(super) fn read_preamble(bytes: &[u8]) -> Result<(Part, u64), Wrong> {
    let mut rest = Bytes(bytes);
    if rest.take(8).ok() != Some(&FILE_MAGIC[..]) {
        return Err("is not a recording".to_owned());
    }
    // What follows is as long as the version says, so that only this one's checksum can be found.
    let version = rest.u32()?;
    if version != VERSION {
        return Err(format!("is a recording of version {version}; this program reads version {VERSION}"));
    }
    let (index, of, _) = (rest.u32()?, rest.u32()?, rest.u32()?);
    let (run, checksum) = (rest.u64()?, rest.u64()?);
    if checksum != xxh3_64(&bytes[..32]) {
        return Err(format!("is a recording, but its first {PREAMBLE} bytes do not have their checksum"));
    }
    match index < of && of <= Part::MOST {
        true => Ok((Part { index, of }, run)),
        false => Err(format!("is a recording, but calls itself part {index} of {of}")),
    }
}

/// The body of the index.
pub(super) fn index(blocks: &[Located]) -> Vec<u8> {
    let mut entries = Vec::with_capacity(blocks.len() * ENTRY);
    for block in blocks {
        entries.extend_from_slice(&block.position.to_le_bytes());
        entries.extend_from_slice(&block.head.checked());
    }
    let mut body = (blocks.len() as u32).to_le_bytes().to_vec();
    // Compressing into memory does not fail.
    body.extend(zstd::bulk::compress(&entries, zstd::DEFAULT_COMPRESSION_LEVEL).unwrap_or_default());
    body
}

/// Reads the index of a file whose blocks end at `end`.
pub(super) fn read_index(body: &[u8], end: u64) -> Result<Vec<Located>, Wrong> {
    let mut bytes = Bytes(body);
    let count = bytes.u32()? as usize;
    // Every block has a head, so there cannot be more than fit.
    let most = usize::try_from(end).unwrap_or(usize::MAX) / HEAD;
    let entries = decompress(bytes.0, count.saturating_mul(ENTRY), most.saturating_mul(ENTRY))?;
    let mut blocks: Vec<Located> = Vec::with_capacity(count);
    let mut next = PREAMBLE as u64;
    for (number, entry) in (1..).zip(entries.chunks_exact(ENTRY)) {
        let mut entry = Bytes(entry);
        let block = Located { number, position: entry.u64()?, head: Head::read_checked(&mut entry)? };
        if block.position != next || block.end() > end {
            return Err(format!("block {number} of the index is not where the one before ends"));
        }
        next = block.end();
        blocks.push(block);
    }
    match next == end {
        true => Ok(blocks),
        false => Err("the index lacks blocks".to_owned()),
    }
}

/// What a file ends with whose index is at `position`.
pub(super) fn trailer(position: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&position.to_le_bytes());
    bytes[8..16].copy_from_slice(&xxh3_64(&position.to_le_bytes()).to_le_bytes());
    bytes[16..].copy_from_slice(&END_MAGIC);
    bytes
}

/// The position of the index, from what a file ends with.
pub(super) fn read_trailer(bytes: &[u8]) -> Result<u64, Wrong> {
    let mut rest = Bytes(bytes);
    let (position, checksum) = (rest.u64()?, rest.u64()?);
    match rest.0 == END_MAGIC && checksum == xxh3_64(&position.to_le_bytes()) {
        true => Ok(position),
        false => Err("it was not closed".to_owned()),
    }
}
