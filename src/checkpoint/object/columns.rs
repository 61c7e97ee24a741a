//! The changes of one key group, by columns.

use std::io;

use serde::{Deserialize, Serialize, Serializer};
use tidewatch_dataflows::EventTime;

use crate::checkpoint::{Change, Changes};

/// Compression is to keep up with the state, not to save the last byte.
const LEVEL: i32 = 1;

/// A number for each change, in the order of (hash of the key, text of the key), and what the numbers measure off.
#[derive(Serialize, Deserialize)]
struct Columns<'a> {
    /// Of the key's text.
    key_lengths: Vec<u64>,
    /// One more than the length of the state; 0 if the key was evicted.
    state_lengths: Vec<u64>,
    /// How long before the object's boundary the change's is, in microseconds.
    versions: Vec<i64>,
    /// How long before the object's boundary the key's last record is, in microseconds.
    lasts: Vec<i64>,
    /// The texts of all keys.
    keys: &'a str,
    /// All states.
    #[serde(serialize_with = "as_bytes")]
    states: &'a [u8],
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// What turns changes into stored bytes; used again, so that it allocates little.
pub(super) struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
    keys: String,
    states: Vec<u8>,
    plain: Vec<u8>,
}

/// The bytes of the changes of a key group.
pub(super) struct Encoded {
    /// As they are stored.
    pub(super) stored: Vec<u8>,
    /// How many they are uncompressed; as many as are stored if they are not compressed.
    pub(super) plain: u64,
    /// How many keys have a state.
    pub(super) keys: u64,
    /// How many were evicted.
    pub(super) evicted: u64,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self { compressor, keys: String::new(), states: Vec::new(), plain: Vec::new() })
    }

    /// The bytes of changes that are sorted; they are measured from `boundary`.
    pub(super) fn encode<'a>(
        &mut self,
        changes: impl Iterator<Item = Change<'a>>,
        boundary: EventTime,
    ) -> io::Result<Encoded> {
        self.keys.clear();
        self.states.clear();
        let (mut key_lengths, mut state_lengths) = (Vec::new(), Vec::new());
        let (mut versions, mut lasts) = (Vec::new(), Vec::new());
        let before = |time: EventTime| boundary.micros().wrapping_sub(time.micros());
        let mut evicted = 0;
        for change in changes {
            self.keys.push_str(change.key);
            key_lengths.push(change.key.len() as u64);
            self.states.extend_from_slice(change.state.unwrap_or_default());
            state_lengths.push(change.state.map_or(0, |state| state.len() as u64 + 1));
            versions.push(before(change.version));
            lasts.push(before(change.last));
            evicted += u64::from(change.state.is_none());
        }
        let keys = key_lengths.len() as u64 - evicted;
        let (texts, states) = (self.keys.as_str(), self.states.as_slice());
        let columns = Columns { key_lengths, state_lengths, versions, lasts, keys: texts, states };
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        let plain = postcard::to_extend(&columns, plain).expect("columns hold nothing unserialisable");
        let length = plain.len() as u64;
        let compressed = self.compressor.compress(&plain)?;
        let stored = if compressed.len() < plain.len() { compressed } else { plain.clone() };
        self.plain = plain;
        Ok(Encoded { stored, plain: length, keys, evicted })
    }
}

/// The changes from their stored bytes, or why these are none.
pub(super) fn decode(stored: &[u8], plain: u64, boundary: EventTime) -> Result<Changes, String> {
    match plain == stored.len() as u64 {
        true => parse(stored, boundary),
        false => parse(&decompress(stored, plain)?, boundary),
    }
}

fn decompress(stored: &[u8], length: u64) -> Result<Vec<u8>, String> {
    let too_long = |_| format!("{length} bytes are more than there is room for");
    let mut plain = Vec::new();
    plain.try_reserve_exact(usize::try_from(length).map_err(|_| too_long(()))?).map_err(|_| too_long(()))?;
    let wrong = |error: io::Error| format!("zstd: {error}");
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(wrong)?;
    decompressor.decompress_to_buffer(stored, &mut plain).map_err(wrong)?;
    Ok(plain)
}

fn parse(plain: &[u8], boundary: EventTime) -> Result<Changes, String> {
    let columns: Columns<'_> = postcard::from_bytes(plain).map_err(|error| error.to_string())?;
    let count = columns.key_lengths.len();
    if [columns.state_lengths.len(), columns.versions.len(), columns.lasts.len()] != [count; 3] {
        return Err("its columns have different lengths".to_owned());
    }
    let before = |micros: i64| EventTime::from_micros(boundary.micros().wrapping_sub(micros));
    let (mut keys, mut states) = (columns.keys, columns.states);
    let mut changes = Changes::with_capacity(count, keys.len(), states.len());
    for index in 0..count {
        let length = usize::try_from(columns.key_lengths[index]).unwrap_or(usize::MAX);
        let (key, rest) = keys.split_at_checked(length).ok_or("a key has the wrong length")?;
        keys = rest;
        let state = match columns.state_lengths[index].checked_sub(1) {
            Some(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (state, rest) = states.split_at_checked(length).ok_or("a state has the wrong length")?;
                states = rest;
                Some(state)
            }
            None => None,
        };
        let (version, last) = (before(columns.versions[index]), before(columns.lasts[index]));
        changes.push(Change { key, version, last, state });
    }
    match keys.is_empty() && states.is_empty() {
        true => Ok(changes),
        false => Err("it has bytes of no key".to_owned()),
    }
}
