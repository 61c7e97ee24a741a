//! An object of state: what changed in keyed state up to a boundary, on one worker or merged from several objects.
//!
//! The bytes, numbers little-endian: the magic `tidewobj`, the format version (a byte), a *section* for each key group that has
//! changes, a footer, the length of the footer and a checksum (8 bytes each), and the magic `tidewend`. A section is
//! columns (`object/columns.rs`) as postcard writes them, compressed with zstd if that saves room. The footer, as postcard writes it,
//! has the boundary and where each section is, with the checksum (xxh3) of its stored bytes. The last checksum covers the
//! footer, so it stands for the whole content.

mod columns;
mod writer;

use serde::{Deserialize, Serialize};
use tidewatch_connectors::Error;
use tidewatch_dataflows::record::KeyGroup;
use tidewatch_dataflows::EventTime;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Changes, KeyGroups};

pub use writer::{encode, Writer};

const MAGIC: [u8; 8] = *b"tidewobj";
const END: [u8; 8] = *b"tidewend";
/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
/// Magic and version.
const HEAD: usize = 9;
/// Length of the footer, checksum, magic.
const TRAILER: usize = 24;

const CHECKSUM: &str = "its checksum does not hold";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Footer {
    boundary: EventTime,
    sections: Vec<Place>,
}

/// Where a section is; sections follow each other without a gap.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Place {
    group: KeyGroup,
    /// How many bytes it takes here.
    stored: u64,
    /// How many bytes it has; the same if it is not compressed.
    plain: u64,
    /// How many keys have a state.
    keys: u64,
    /// How many were evicted.
    evicted: u64,
    /// Of the stored bytes.
    checksum: u64,
}

/// An object that was read, and whose footer is intact.
#[derive(Clone, Debug)]
pub struct Object {
    name: String,
    bytes: Vec<u8>,
    boundary: EventTime,
    checksum: u64,
    /// Where each section begins, in the order of groups.
    sections: Vec<(usize, Place)>,
}

impl Object {
    /// Reads the footer of an object, which messages call `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the bytes are not what was written.
    pub fn open(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Error> {
        let name = name.into();
        let (footer, checksum) = match read_footer(&bytes) {
            Ok(read) => read,
            Err(reason) => return Err(Error::Damaged { object: name, reason }),
        };
        let mut next = HEAD;
        let placed = |place: Place| {
            let start = next;
            next += place.stored as usize;
            (start, place)
        };
        let sections = footer.sections.into_iter().map(placed).collect();
        Ok(Self { name, bytes, boundary: footer.boundary, checksum, sections })
    }

    /// The boundary up to which it says what changed.
    pub fn boundary(&self) -> EventTime {
        self.boundary
    }

    /// Stands for the whole content.
    pub fn checksum(&self) -> u64 {
        self.checksum
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The key groups of which it says something.
    pub fn groups(&self) -> KeyGroups {
        self.sections.iter().map(|(_, place)| place.group).collect()
    }

    /// How many keys have a state in it.
    pub fn keys(&self) -> u64 {
        self.sections.iter().map(|(_, place)| place.keys).sum()
    }

    /// How many keys it says were evicted.
    pub fn evicted(&self) -> u64 {
        self.sections.iter().map(|(_, place)| place.evicted).sum()
    }

    /// What it says of a key group, in the order of (hash of the key, text of the key).
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if the section is not what was written.
    pub fn group(&self, group: KeyGroup) -> Result<Changes, Error> {
        let Ok(index) = self.sections.binary_search_by_key(&group, |(_, place)| place.group) else {
            return Ok(Changes::new());
        };
        let (start, place) = self.sections[index];
        let stored = &self.bytes[start..][..place.stored as usize];
        match xxh3_64(stored) == place.checksum {
            true => columns::decode(stored, place.plain, self.boundary),
            false => Err(CHECKSUM.to_owned()),
        }
        .map_err(|reason| self.damaged(group, &reason))
    }

    /// Checks the checksum of every section.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if a section is not what was written.
    pub fn verify(&self) -> Result<(), Error> {
        let broken = self
            .sections
            .iter()
            .find(|(start, place)| xxh3_64(&self.bytes[*start..][..place.stored as usize]) != place.checksum);
        match broken {
            Some((_, place)) => Err(self.damaged(place.group, CHECKSUM)),
            None => Ok(()),
        }
    }

    fn damaged(&self, group: KeyGroup, reason: &str) -> Error {
        let reason = format!("key group {}: {reason}", group.index());
        Error::Damaged { object: self.name.clone(), reason }
    }
}

/// The footer, if all but the sections' own bytes is intact, and its checksum.
fn read_footer(bytes: &[u8]) -> Result<(Footer, u64), String> {
    let short = || "it ends early".to_owned();
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(short)?;
    let (rest, trailer) = rest.split_last_chunk::<TRAILER>().ok_or_else(short)?;
    if head[..8] != MAGIC || trailer[16..] != END {
        return Err("it is no object of state, or ends early".to_owned());
    }
    if head[8] != VERSION {
        return Err(format!("it has format version {}, but this build reads version {VERSION}", head[8]));
    }
    let word = |at: usize| u64::from_le_bytes(trailer[at..][..8].try_into().expect("8 bytes of the trailer"));
    let (length, checksum) = (word(0), word(8));
    let start =
        usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length)).ok_or_else(short)?;
    let (sections, footer) = rest.split_at(start);
    if footer_checksum(footer) != checksum {
        return Err("the checksum of its footer does not hold".to_owned());
    }
    let footer: Footer = postcard::from_bytes(footer).map_err(|error| format!("its footer: {error}"))?;
    let stored = footer.sections.iter().try_fold(0u64, |sum, place| sum.checked_add(place.stored));
    let in_order = footer.sections.is_sorted_by(|a, b| a.group < b.group);
    match stored == Some(sections.len() as u64) && in_order {
        true => Ok((footer, checksum)),
        false => Err("its footer does not fit its sections".to_owned()),
    }
}

fn footer_checksum(footer: &[u8]) -> u64 {
    xxh3_64_with_seed(footer, footer.len() as u64)
}

#[cfg(test)]
mod tests;
