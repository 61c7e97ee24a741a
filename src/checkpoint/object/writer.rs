//! The bytes of an object, from its changes.

use std::io;

use tidewatch_connectors::Error;
use tidewatch_dataflows::record::KeyGroup;
use tidewatch_dataflows::EventTime;
use xxhash_rust::xxh3::xxh3_64;

use super::columns::Encoder;
use super::{footer_checksum, Footer, Place, END, MAGIC, VERSION};
use crate::checkpoint::{Change, Changes};

/// Writes an object, key group by key group.
pub struct Writer {
    encoder: Encoder,
    bytes: Vec<u8>,
    footer: Footer,
}

impl Writer {
    /// Begins an object of what changed up to `boundary`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no memory to compress with.
    pub fn new(boundary: EventTime) -> Result<Self, Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        let encoder = Encoder::new().map_err(compressing)?;
        Ok(Self { encoder, bytes, footer: Footer { boundary, sections: Vec::new() } })
    }

    /// Adds the changes of a key group, which are sorted by the hash of the key and then by its text. Groups come in order.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no memory to compress with.
    pub fn group<'a>(
        &mut self,
        group: KeyGroup,
        changes: impl Iterator<Item = Change<'a>>,
    ) -> Result<(), Error> {
        let sections = &mut self.footer.sections;
        debug_assert!(sections.last().is_none_or(|last| last.group < group), "groups come in order");
        let mut changes = changes.peekable();
        if changes.peek().is_none() {
            return Ok(());
        }
        let encoded = self.encoder.encode(changes, self.footer.boundary).map_err(compressing)?;
        sections.push(Place {
            group,
            stored: encoded.stored.len() as u64,
            plain: encoded.plain,
            keys: encoded.keys,
            evicted: encoded.evicted,
            checksum: xxh3_64(&encoded.stored),
        });
        self.bytes.extend_from_slice(&encoded.stored);
        Ok(())
    }

    /// Whether there is no change so far.
    pub fn is_empty(&self) -> bool {
        self.footer.sections.is_empty()
    }

    /// The bytes of the object.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let footer = postcard::to_stdvec(&self.footer).expect("a footer holds nothing unserialisable");
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&(footer.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&footer_checksum(&footer).to_le_bytes());
        bytes.extend_from_slice(&END);
        bytes
    }
}

fn compressing(source: io::Error) -> Error {
    Error::Io { what: "compressing state".to_owned(), source }
}

/// The bytes of an object of what changed up to `boundary`: each key at most once, in any order.
///
/// # Errors
///
/// As [`Writer::group`].
pub fn encode(boundary: EventTime, changes: &Changes) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new(boundary)?;
    let sorted = changes.sorted();
    for group in KeyGroup::all() {
        writer.group(group, sorted.group(group))?;
    }
    Ok(writer.finish())
}
