//! Keyed state as a differential arrangement.

use std::sync::Arc;

use differential_dataflow::difference::{IsZero, Semigroup};
use differential_dataflow::trace::implementations::ord_neu::{OrdKeySpine, VecOrdKeyBuilder};
use serde::{Deserialize, Serialize};

use crate::{EventTime, Key};

/// What a key's state is as of a boundary: a *difference* of which the last one wins.
///
/// A key's state as of a time is the sum of its versions up to it. The sum of two is the one with the later boundary, and at
/// one boundary the greater one, where a key changes once at most; so it is the maximum of a total order: associative,
/// commutative and idempotent. Versions can be added in any order and more than once, which is what lets objects be merged,
/// batches be compacted and a checkpoint be read twice. Nothing is the opposite of a version, so a state is never taken back:
/// an eviction is a later version without a state. No version is zero, as an eviction still hides what was before it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// As of which boundary it is.
    pub boundary: EventTime,
    /// The time of the key's last record.
    pub last: EventTime,
    /// The state as the logic keeps it; `None` if the key was evicted.
    pub state: Option<Arc<[u8]>>,
}

impl Version {
    /// What a key's state is as of `boundary`; no `state` if it was evicted.
    pub fn new(boundary: EventTime, last: EventTime, state: Option<&[u8]>) -> Self {
        Self { boundary, last, state: state.map(Arc::from) }
    }
}

impl IsZero for Version {
    fn is_zero(&self) -> bool {
        false
    }
}

impl Semigroup for Version {
    fn plus_equals(&mut self, other: &Self) {
        if other > self {
            self.clone_from(other);
        }
    }
}

/// The versions of all keys, as a trace.
pub type States = OrdKeySpine<Key, EventTime, Version>;

/// Builds a batch of [`States`], from updates that are sorted by key and boundary.
pub type StatesBuilder = VecOrdKeyBuilder<Key, EventTime, Version>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version() -> impl Strategy<Value = Version> {
        let state = prop::option::of(prop::collection::vec(0..3u8, 0..2));
        (0..4i64, 0..3i64, state).prop_map(|(boundary, last, state)| Version {
            boundary: EventTime::from_micros(boundary),
            last: EventTime::from_micros(last),
            state: state.map(Arc::from),
        })
    }

    fn sum(a: &Version, b: &Version) -> Version {
        let mut sum = a.clone();
        sum.plus_equals(b);
        sum
    }

    proptest! {
        #[test]
        fn addition_is_associative_commutative_and_idempotent(a in version(), b in version(), c in version()) {
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
            prop_assert_eq!(&sum(&a, &a), &a);
            prop_assert!(!a.is_zero());
        }

        #[test]
        fn the_later_boundary_wins(a in version(), b in version()) {
            if a.boundary < b.boundary {
                prop_assert_eq!(&sum(&a, &b), &b);
            }
        }
    }
}
