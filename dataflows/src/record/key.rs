//! Keys and key groups.

use std::fmt;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// How many key groups there are. Fixed: state is addressed by key group, so this outlives any number of workers.
pub const KEY_GROUPS: usize = 256;

/// Separates the parts of a key in its text (U+001F, unit separator). A part may not contain it.
pub const KEY_SEPARATOR: char = '\u{1f}';
/// How many parts a key has at most.
pub const KEY_PARTS: usize = 64;

/// The stable 128-bit hash (xxh3) of a key's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize)]
#[repr(transparent)]
#[serde(transparent)]
pub struct KeyId([u64; 2]);

impl KeyId {
    /// The identifier of the key with this text.
    #[inline]
    pub fn of(text: &str) -> Self {
        let hash = xxh3_128(text.as_bytes());
        Self([hash as u64, (hash >> 64) as u64])
    }

    /// The key group that the key belongs to.
    #[inline]
    pub fn group(self) -> KeyGroup {
        KeyGroup((self.0[0] % KEY_GROUPS as u64) as u8)
    }

    /// A hash that is independent of the key group, for maps within one.
    #[inline]
    pub fn hash(self) -> u64 {
        self.0[1]
    }
}

/// One of the [`KEY_GROUPS`] fixed groups of keys; a worker owns `group % peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(u8);

impl KeyGroup {
    /// All key groups, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The group's number, less than [`KEY_GROUPS`].
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The worker that owns the group, of `peers`.
    #[inline]
    pub fn worker(self, peers: usize) -> usize {
        self.index() % peers
    }
}

impl From<u8> for KeyGroup {
    fn from(index: u8) -> Self {
        Self(index)
    }
}

/// A key within one process: its group, and its number within the group.
///
/// Whoever gives numbers gives small ones, so that they are places in tables; numbers of different givers have
/// nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize)]
#[repr(transparent)]
#[serde(transparent)]
pub struct KeyNumber(u32);

impl KeyNumber {
    /// How many keys a group can number.
    pub const LIMIT: usize = 1 << 24;

    /// The greatest number of the last group.
    pub(crate) const MAX: Self = Self(u32::MAX);

    /// Key number `index` of `group`; `index` is below [`KeyNumber::LIMIT`].
    #[inline]
    pub fn new(group: KeyGroup, index: usize) -> Self {
        assert!(index < Self::LIMIT, "fewer than 2^24 keys in a key group");
        Self((u32::from(group.0) << 24) | index as u32)
    }

    /// The key group that the key belongs to.
    #[inline]
    pub fn group(self) -> KeyGroup {
        KeyGroup((self.0 >> 24) as u8)
    }

    /// The number within the group.
    #[inline]
    pub fn index(self) -> usize {
        (self.0 & 0x00ff_ffff) as usize
    }
}

/// What a record's time series is: the values of its key fields and labels, in the pipeline's order.
///
/// Labels belong to the identity, so a record with other labels belongs to another key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Arc<str>);

impl Key {
    /// The key with this text: its parts, separated by [`KEY_SEPARATOR`].
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Makes a key of its parts.
    pub fn from_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut text = String::new();
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                text.push(KEY_SEPARATOR);
            }
            text.push_str(part);
        }
        Self(text.into())
    }

    /// The parts, in the pipeline's order.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(KEY_SEPARATOR)
    }

    /// The text whose hash is the [`KeyId`].
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's identifier.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.0)
    }
}

/// Writes the parts separated by slashes.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

/// A key's text with its identifier, hashed once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText {
    /// The hash of `key`.
    pub id: KeyId,
    /// The text.
    pub key: Key,
}

impl From<Key> for KeyText {
    fn from(key: Key) -> Self {
        Self { id: key.id(), key }
    }
}
