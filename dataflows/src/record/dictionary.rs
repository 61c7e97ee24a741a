//! The dictionary of keys between a source worker and the workers that hold state.
//!
//! **Protocol.** The sender gives each key in use a [`KeyNumber`]; rows name keys by it. A batch says which numbers it
//! *learned* before its rows, and which it *forgot* after them: a forgotten number may stand for another key from the
//! next batch on. Receivers read the batches of a sender in the order in which they were sent.

use hashbrown::HashTable;

use super::{Key, KeyGroup, KeyId, KeyNumber, RowBatch, KEY_GROUPS};

/// The sending side, one for each source and worker: bounded, and exact about what it forgets.
///
/// It keeps two generations of keys, so that keys in use survive: when the young one is full, what is left in the
/// old one is forgotten, and the young one becomes the old.
#[derive(Debug)]
pub struct Dictionary {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    generation: usize,
    numbers: Numbers,
    /// What the last batch with something forgotten forgets.
    forgotten: Vec<KeyNumber>,
}

/// Packed, because looking keys up is mostly waiting for memory.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Entry {
    id: KeyId,
    number: KeyNumber,
}

impl Dictionary {
    /// How many keys there are in a generation unless said otherwise; each takes 25 to 50 bytes.
    pub const GENERATION: usize = 1 << 20;

    /// Remembers at least the last `generation` distinct keys, and at most twice as many.
    pub fn with_generation(generation: usize) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            generation: generation.max(1),
            numbers: Numbers::default(),
            forgotten: Vec::new(),
        }
    }

    /// The number by which the rows of `batch` name the key, which `text` gives if the receivers must learn it.
    #[inline]
    pub fn number(&mut self, id: KeyId, text: impl FnOnce() -> Key, batch: &mut RowBatch) -> KeyNumber {
        match self.young.find(id.hash(), |entry| { entry.id } == id) {
            Some(entry) => entry.number,
            None => self.learn(id, text, batch),
        }
    }

    #[cold]
    fn learn(&mut self, id: KeyId, text: impl FnOnce() -> Key, batch: &mut RowBatch) -> KeyNumber {
        if batch.forgotten.is_empty() {
            // Another batch than the one that forgets them: they can be used again.
            self.forgotten.drain(..).for_each(|number| self.numbers.give_back(number));
        }
        if self.young.len() >= self.generation {
            let forgotten = self.forgotten.len();
            self.forgotten.extend(self.old.drain().map(|entry| entry.number));
            batch.forgotten.extend_from_slice(&self.forgotten[forgotten..]);
            std::mem::swap(&mut self.young, &mut self.old);
        }
        let number = match self.old.find_entry(id.hash(), |entry| { entry.id } == id) {
            Ok(entry) => entry.remove().0.number,
            Err(_) => {
                let number = self.numbers.take(id.group());
                batch.learned.push((number, text()));
                number
            }
        };
        self.young.insert_unique(id.hash(), Entry { id, number }, |entry| { entry.id }.hash());
        number
    }
}

/// Numbers within each key group, the least that are not in use.
#[derive(Debug)]
struct Numbers(Vec<(usize, Vec<KeyNumber>)>);

impl Default for Numbers {
    fn default() -> Self {
        Self(vec![(0, Vec::new()); KEY_GROUPS])
    }
}

impl Numbers {
    fn take(&mut self, group: KeyGroup) -> KeyNumber {
        let (next, free) = &mut self.0[group.index()];
        free.pop().unwrap_or_else(|| {
            *next += 1;
            KeyNumber::new(group, *next - 1)
        })
    }

    fn give_back(&mut self, number: KeyNumber) {
        self.0[number.group().index()].1.push(number);
    }
}

/// The receiving side: what the numbers of each dictionary stand for, as numbers of the receiver's own.
#[derive(Debug, Default)]
pub struct Recoding {
    dictionaries: Vec<(u32, Recoded)>,
}

/// What the numbers of one dictionary stand for: for each key group, a number for each number.
#[derive(Debug)]
pub struct Recoded(Vec<Vec<KeyNumber>>);

impl Recoding {
    /// What the numbers of a dictionary stand for; nothing yet, if it is a new one.
    pub fn of(&mut self, dictionary: u32) -> &mut Recoded {
        let known = self.dictionaries.iter().position(|(known, _)| *known == dictionary);
        let at = known.unwrap_or_else(|| {
            self.dictionaries.push((dictionary, Recoded(vec![Vec::new(); KEY_GROUPS])));
            self.dictionaries.len() - 1
        });
        &mut self.dictionaries[at].1
    }
}

impl Recoded {
    /// Lets the dictionary's `number` stand for `own`.
    pub fn learn(&mut self, number: KeyNumber, own: KeyNumber) {
        let group = &mut self.0[number.group().index()];
        if group.len() <= number.index() {
            group.resize(number.index() + 1, own);
        }
        group[number.index()] = own;
    }

    /// What the dictionary's `number` stands for.
    ///
    /// # Panics
    ///
    /// If it was never learned, which the protocol rules out.
    #[inline]
    pub fn own(&self, number: KeyNumber) -> KeyNumber {
        self.0[number.group().index()][number.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn a_number_stands_for_the_key_that_was_named_and_memory_is_bounded(
            batches in prop::collection::vec(prop::collection::vec(0u8..20, 0..12), 0..60),
            generation in 1usize..6,
        ) {
            let mut dictionary = Dictionary::with_generation(generation);
            let mut held = BTreeMap::<KeyNumber, Key>::new();
            for names in batches {
                let (mut batch, mut rows) = (RowBatch::default(), Vec::new());
                for name in names {
                    let key = Key::new(&name.to_string());
                    let number = dictionary.number(key.id(), || key.clone(), &mut batch);
                    prop_assert_eq!(key.id().group(), number.group());
                    rows.push((number, key));
                }
                for (number, key) in batch.learned {
                    prop_assert_eq!(None, held.insert(number, key), "no number is learned twice");
                }
                for (number, key) in rows {
                    prop_assert_eq!(Some(&key), held.get(&number));
                }
                for number in batch.forgotten {
                    prop_assert!(held.remove(&number).is_some(), "what is forgotten was known");
                }
                prop_assert!(held.len() <= 2 * generation);
                prop_assert_eq!(held.len(), held.values().collect::<BTreeSet<_>>().len(), "one number for each key");
            }
        }

        #[test]
        fn numbers_of_several_dictionaries_do_not_meet(
            learned in prop::collection::vec((0u32..3, 0usize..5, 0usize..100), 1..60),
        ) {
            let (mut recoding, mut model) = (Recoding::default(), BTreeMap::new());
            let number = |index| KeyNumber::new(KeyId::of("any").group(), index);
            for (dictionary, index, own) in learned {
                recoding.of(dictionary).learn(number(index), number(own));
                model.insert((dictionary, index), own);
                for ((dictionary, index), own) in &model {
                    prop_assert_eq!(number(*own), recoding.of(*dictionary).own(number(*index)));
                }
            }
        }
    }
}
