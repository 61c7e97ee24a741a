//! Visits the wanted paths of a document and skips the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::format::plan::Cell;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found<'de> {
    Missing,
    Text(Cow<'de, str>),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    Nested,
}

impl Found<'_> {
    pub(super) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Missing => Cell::Missing,
            Self::Text(text) => Cell::Text(text),
            Self::Unsigned(number) => Cell::Unsigned(*number),
            Self::Signed(number) => Cell::Signed(*number),
            Self::Float(number) => Cell::Float(*number),
            Self::Flag(flag) => Cell::Flag(*flag),
            Self::Nested => Cell::Nested,
        }
    }
}

/// The wanted paths by their names, level by level.
#[derive(Clone, Debug, Default)]
pub(super) struct Trie {
    slot: Option<usize>,
    children: Vec<(Box<str>, Trie)>,
}

impl Trie {
    /// The paths of `fields`; the index of a field is its slot.
    pub(super) fn new(fields: &[String]) -> Self {
        let mut root = Self::default();
        for (slot, field) in fields.iter().enumerate() {
            let mut node = &mut root;
            for name in field.split('.') {
                let known = node.children.iter().position(|(child, _)| **child == *name);
                let index = known.unwrap_or_else(|| {
                    node.children.push((name.into(), Self::default()));
                    node.children.len() - 1
                });
                node = &mut node.children[index].1;
            }
            node.slot = Some(slot);
        }
        root
    }

    /// Puts what stands at the wanted paths into `found`, by slot.
    pub(super) fn walk<'de>(&self, text: &'de [u8], found: &mut [Found<'de>]) -> serde_json::Result<()> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        Walk { node: self, found }.deserialize(&mut deserializer)?;
        deserializer.end()
    }

    /// Forgets what an earlier member of the same name had.
    fn forget(&self, found: &mut [Found<'_>]) {
        if let Some(slot) = self.slot {
            found[slot] = Found::Missing;
        }
        for (_, child) in &self.children {
            child.forget(found);
        }
    }
}

struct Walk<'t, 'f, 'de> {
    node: &'t Trie,
    found: &'f mut [Found<'de>],
}

impl<'de> Walk<'_, '_, 'de> {
    #[inline]
    fn set<E>(self, found: Found<'de>) -> Result<(), E> {
        if let Some(slot) = self.node.slot {
            self.found[slot] = found;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.set(Found::Flag(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.set(Found::Signed(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.set(Found::Unsigned(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.set(Found::Float(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.set(Found::Text(Cow::Borrowed(text)))
    }

    /// Text with escapes, which the parser had to put together elsewhere.
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.set(Found::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.set(Found::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.set(Found::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, found } = self;
        while let Some(child) = members.next_key_seed(Name(node))? {
            let Some(child) = child else {
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if !child.children.is_empty() {
                child.forget(found);
            }
            members.next_value_seed(Walk { node: child, found })?;
        }
        Walk { node, found }.set(Found::Nested)
    }
}

/// Reads a member's name and looks it up.
struct Name<'t>(&'t Trie);

impl<'de, 't> DeserializeSeed<'de> for Name<'t> {
    type Value = Option<&'t Trie>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'_> for Name<'t> {
    type Value = Option<&'t Trie>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    #[inline]
    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(child, _)| **child == *name).map(|(_, child)| child))
    }
}
