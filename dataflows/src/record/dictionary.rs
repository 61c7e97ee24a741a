//! Which keys' texts a source worker has already sent.

use hashbrown::HashTable;

use super::{KeyId, KeyText, RowBatch};

/// The sending side of the key dictionary, one for each source worker: bounded, and exact about what it forgets.
///
/// The receiver counts, for each key, how many source workers may name it by identifier alone: *learned* adds
/// one, *forgotten* takes one away. When nobody may and the key has no state left, its text can go. The
/// sender keeps two generations of keys, so that keys in use survive: when the young one is full, what is left
/// in the old one is forgotten, and the young one becomes the old.
#[derive(Debug)]
pub struct Dictionary {
    young: HashTable<KeyId>,
    old: HashTable<KeyId>,
    generation: usize,
}

impl Default for Dictionary {
    /// Remembers the last million keys; 20 to 40 bytes each.
    fn default() -> Self {
        Self::with_generation(1 << 20)
    }
}

impl Dictionary {
    /// Remembers at least the last `generation` distinct keys, and at most twice as many.
    pub fn with_generation(generation: usize) -> Self {
        Self { young: HashTable::new(), old: HashTable::new(), generation: generation.max(1) }
    }

    /// Makes sure that the receiver of `batch` knows the key before the batch's rows name it.
    #[inline]
    pub fn name(&mut self, key: &KeyText, batch: &mut RowBatch) {
        let id = key.id;
        if self.young.find(id.hash(), |known| *known == id).is_none() {
            self.learn(key, batch);
        }
    }

    fn learn(&mut self, key: &KeyText, batch: &mut RowBatch) {
        let id = key.id;
        if self.young.len() >= self.generation {
            batch.forgotten.extend(self.old.drain());
            std::mem::swap(&mut self.young, &mut self.old);
        }
        match self.old.find_entry(id.hash(), |known| *known == id) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => batch.learned.push((id, key.key.clone())),
        }
        self.young.insert_unique(id.hash(), id, |known| known.hash());
    }

    /// The text that the receiver needs for a key named by hash and parts, without making it if it is known.
    #[inline]
    pub fn knows(&self, id: KeyId) -> bool {
        self.young.find(id.hash(), |known| *known == id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_named_key_is_always_held_and_memory_is_bounded(
            names in prop::collection::vec(0u8..20, 0..300),
            generation in 1usize..6,
        ) {
            let mut dictionary = Dictionary::with_generation(generation);
            let mut held = BTreeMap::<KeyId, i32>::new();
            for name in names {
                let key = KeyText::from(Key::new(&name.to_string()));
                let mut batch = RowBatch::with_width(1);
                dictionary.name(&key, &mut batch);
                for (id, _) in &batch.learned {
                    *held.entry(*id).or_default() += 1;
                }
                for id in &batch.forgotten {
                    *held.entry(*id).or_default() -= 1;
                }
                prop_assert_eq!(held.get(&key.id), Some(&1));
                prop_assert!(held.values().all(|count| (0..=1).contains(count)));
                prop_assert!(held.values().sum::<i32>() as usize <= 2 * generation);
            }
        }
    }
}
