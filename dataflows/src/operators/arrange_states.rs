//! Keyed state where other operators can join it.

use differential_dataflow::operators::arrange::{arrangement::arrange_core, Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ord_neu::OrdKeyBatcher;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use differential_dataflow::VecCollection;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::StreamVec;

use crate::state::{Changes, States, Version};
use crate::{EventTime, Key};

/// Keyed state as of every boundary that an operator still wants, on the worker that owns the keys.
pub type LiveStates<'scope> = Arranged<'scope, TraceAgent<States>>;

/// An update of [`States`].
type Update = ((Key, ()), EventTime, Version);

/// Extension trait for keeping what keyed state was at each boundary.
pub trait ArrangeStates<'scope> {
    /// Arranges what changed by key: one update per changed key and boundary, whose difference is its [`Version`], of which the
    /// last one wins. `restored` is what state was restored from, which no change says again.
    ///
    /// The arrangement holds each key's newest version, and of older ones those as of times that some operator has not
    /// passed. It stays where the state is: nothing is exchanged.
    fn arrange_states(self, restored: Vec<(Key, Version)>) -> LiveStates<'scope>;
}

impl<'scope> ArrangeStates<'scope> for StreamVec<'scope, EventTime, Changes> {
    fn arrange_states(self, restored: Vec<(Key, Version)>) -> LiveStates<'scope> {
        type Updates = CapacityContainerBuilder<Vec<Update>>;
        let updates = self.unary::<Updates, _, _, _>(Pipeline, "VersionStates", |capability, _| {
            let mut restored = Some((capability, restored));
            move |input, output| {
                if let Some((capability, restored)) = restored.take() {
                    let updates =
                        restored.into_iter().map(|(key, version)| ((key, ()), version.boundary, version));
                    output.session(&capability).give_iterator(updates);
                }
                input.for_each_stamp(|stamp, batches| {
                    let Some(capability) = stamp.retain_least(0) else { return };
                    let mut session = output.session(&capability);
                    for changes in batches.flat_map(|batch| batch.drain(..)) {
                        session.give_iterator(changes.iter().map(|change| {
                            let version = Version::new(changes.boundary, change.last, change.state);
                            ((Key::new(change.key), ()), changes.boundary, version)
                        }));
                    }
                });
            }
        });
        arrange_core::<_, _, _, States>(updates, Pipeline, "ArrangeStates", |logger, id| {
            OrdKeyBatcher::<Key, EventTime, Version>::new(logger, id)
        })
    }
}

/// Extension trait for a collection of what keyed state is.
pub trait CollectStates<'scope> {
    /// Replaces the arrangement by the collection of the keys that have a state, each with its newest version.
    ///
    /// When a key changes, the collection loses the version before it at the boundary of the new one; when it is evicted, it has
    /// no other. So what is computed from it, by a join or a count, is revised as state goes on. State is one version per key.
    fn collect_states(self) -> VecCollection<'scope, EventTime, (Key, Version)>;
}

impl<'scope> CollectStates<'scope> for LiveStates<'scope> {
    fn collect_states(self) -> VecCollection<'scope, EventTime, (Key, Version)> {
        let newest = |_: &Key, versions: &[(&(), Version)], out: &mut Vec<(Version, isize)>| {
            let live = versions.iter().map(|(_, version)| version).filter(|version| version.state.is_some());
            out.extend(live.map(|version| (version.clone(), 1)));
        };
        self.reduce_abelian::<_, ValBuilder<_, _, _, _>, ValSpine<Key, Version, _, isize>, _, _>(
            "CollectStates",
            newest,
            |updates, key, versions| {
                updates.clear();
                updates.extend(
                    versions.drain(..).map(|(version, time, diff)| ((key.clone(), version), time, diff)),
                );
            },
        )
        .as_collection(|key, version| (key.clone(), version.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc::channel;

    use differential_dataflow::consolidation::consolidate_updates;
    use proptest::prelude::*;
    use timely::dataflow::operators::{Capture, Input};

    use super::*;

    /// The states that a map has after the changes of each boundary.
    type Expected = BTreeMap<Key, Version>;

    fn key(index: u8) -> Key {
        Key::new(&index.to_string())
    }

    proptest! {
        #[test]
        fn oracle_the_collection_is_what_a_map_has_at_each_boundary(
            restored in prop::collection::btree_map(0..4u8, any::<u8>(), 0..4),
            boundaries in prop::collection::vec(prop::collection::btree_map(0..4u8, any::<Option<u8>>(), 0..4), 0..5),
        ) {
            let at = |boundary: usize| EventTime::from_micros(boundary as i64);
            let version = |boundary, state: Option<u8>| Version::new(at(boundary), at(boundary), state.as_ref().map(std::slice::from_ref));
            let restored: Vec<_> = restored.into_iter().map(|(index, state)| (key(index), version(1, Some(state)))).collect();
            let (sender, said) = channel();
            let (given, changes) = (restored.clone(), boundaries.clone());
            timely::execute_directly(move |worker| {
                let mut input = worker.dataflow::<EventTime, _, _>(|scope| {
                    let (input, stream) = scope.new_input::<Vec<Changes>>();
                    stream.arrange_states(given).collect_states().inner.capture_into(sender);
                    input
                });
                for (boundary, changed) in (2..).zip(changes) {
                    input.advance_to(at(boundary));
                    let mut all = Changes::at(at(boundary));
                    for (index, state) in changed {
                        match state {
                            Some(state) => all.push(&key(index), at(boundary), |bytes| bytes.push(state)),
                            None => all.remove(&key(index), at(boundary)),
                        }
                    }
                    input.send(all);
                    worker.step();
                }
            });
            let said: Vec<_> = said.into_iter().collect();
            let updates: Vec<_> = said.into_iter().flat_map(|event| match event {
                timely::dataflow::operators::capture::Event::Messages(_, updates) => updates,
                _ => Vec::new(),
            }).collect();
            let mut expected: Expected = restored.into_iter().collect();
            for (boundary, changed) in (1..).zip(std::iter::once(BTreeMap::new()).chain(boundaries)) {
                for (index, state) in changed {
                    match state {
                        Some(_) => drop(expected.insert(key(index), version(boundary, state))),
                        None => drop(expected.remove(&key(index))),
                    }
                }
                let mut so_far: Vec<_> = updates.iter().filter(|(_, time, _)| *time <= at(boundary)).cloned().collect();
                so_far.iter_mut().for_each(|(_, time, _)| *time = at(boundary));
                consolidate_updates(&mut so_far);
                prop_assert!(so_far.iter().all(|(_, _, count)| *count == 1));
                let found: Expected = so_far.into_iter().map(|(update, _, _)| update).collect();
                prop_assert_eq!(&expected, &found, "at {}", boundary);
            }
        }
    }
}
