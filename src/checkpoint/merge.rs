//! What several objects say together: of each key, the newest version.

use std::cmp::Reverse;

use tidewatch_dataflows::KeyId;

use super::{Change, Changes};

/// The newest change of each key of a key group, in the order of an object; evictions too.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    sources: Vec<Changes>,
    /// Which change of which source comes next.
    order: Vec<(u32, u32)>,
}

impl Merged {
    /// Merges what several objects say of one key group.
    ///
    /// The order of the objects does not matter: a change knows its version, and at one boundary a key changes once.
    pub fn of(sources: Vec<Changes>) -> Self {
        let mut placed: Vec<(u64, u32, u32)> = Vec::with_capacity(sources.iter().map(Changes::len).sum());
        for (source, changes) in (0..).zip(&sources) {
            placed.extend(
                (0..)
                    .zip(changes.iter())
                    .map(|(index, change): (u32, _)| (KeyId::of(change.key).hash(), source, index)),
            );
        }
        let change = |&(_, source, index): &(u64, u32, u32)| sources[source as usize].get(index as usize);
        placed.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| {
                let (a, b) = (change(a), change(b));
                (a.key, Reverse(a.version)).cmp(&(b.key, Reverse(b.version)))
            })
        });
        placed.dedup_by(|later, first| later.0 == first.0 && change(later).key == change(first).key);
        let order = placed.into_iter().map(|(_, source, index)| (source, index)).collect();
        Self { sources, order }
    }

    /// The newest change of each key, by the hash of the key, then by its text.
    pub fn iter(&self) -> impl Iterator<Item = Change<'_>> {
        self.order.iter().map(|(source, index)| self.sources[*source as usize].get(*index as usize))
    }

    /// Those that have a state.
    pub fn live(&self) -> impl Iterator<Item = Change<'_>> {
        self.iter().filter(|change| change.state.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tidewatch_dataflows::EventTime;

    use super::*;

    proptest! {
        #[test]
        fn merging_agrees_with_a_map(
            objects in prop::collection::vec(prop::collection::btree_map("[ab]{0,3}", any::<Option<u8>>(), 0..8), 0..6),
            turned in 0..6usize,
        ) {
            let (mut sources, mut expected) = (Vec::new(), BTreeMap::new());
            for (boundary, object) in (0..).map(EventTime::from_micros).zip(&objects) {
                let mut changes = Changes::new();
                for (key, state) in object {
                    let state = state.as_ref().map(std::slice::from_ref);
                    changes.push(Change { key, version: boundary, last: boundary, state });
                    expected.insert(key.clone(), (boundary, state.map(<[u8]>::to_vec)));
                }
                sources.push(changes);
            }
            let middle = turned % sources.len().max(1);
            sources.rotate_left(middle);
            let merged = Merged::of(sources);
            let found: Vec<_> = merged
                .iter()
                .map(|change| (change.key.to_owned(), (change.version, change.state.map(<[u8]>::to_vec))))
                .collect();
            let place = |key: &str| (KeyId::of(key).hash(), key.to_owned());
            prop_assert!(found.is_sorted_by_key(|(key, _)| place(key)));
            prop_assert_eq!(expected.values().filter(|(_, state)| state.is_some()).count(), merged.live().count());
            prop_assert_eq!(found.len(), expected.len());
            prop_assert_eq!(expected, found.into_iter().collect::<BTreeMap<_, _>>());
        }
    }
}
