//! Sets of key groups.

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::record::{KeyGroup, KEY_GROUPS};

/// A set of key groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroups([u64; KEY_GROUPS / 64]);

impl KeyGroups {
    /// All that there are.
    pub const ALL: Self = Self([u64::MAX; KEY_GROUPS / 64]);

    /// Those that worker `worker` of `peers` owns.
    pub fn of_worker(worker: usize, peers: usize) -> Self {
        KeyGroup::all().filter(|group| group.worker(peers) == worker).collect()
    }

    /// Whether `group` is in the set.
    pub fn contains(self, group: KeyGroup) -> bool {
        self.0[group.index() / 64] & bit(group) != 0
    }

    /// Those that are in both.
    pub fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] & other.0[index]))
    }

    /// Those that are not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] & !other.0[index]))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The groups, in order.
    pub fn iter(self) -> impl Iterator<Item = KeyGroup> {
        KeyGroup::all().filter(move |group| self.contains(*group))
    }
}

impl FromIterator<KeyGroup> for KeyGroups {
    fn from_iter<I: IntoIterator<Item = KeyGroup>>(groups: I) -> Self {
        let mut set = Self::default();
        for group in groups {
            set.0[group.index() / 64] |= bit(group);
        }
        set
    }
}

fn bit(group: KeyGroup) -> u64 {
    1 << (group.index() % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_workers_are_all_groups_each_once() {
        for peers in [1, 2, 3, 16, 300] {
            let shares: Vec<_> = (0..peers).map(|worker| KeyGroups::of_worker(worker, peers)).collect();
            let groups: usize = shares.iter().map(|share| share.iter().count()).sum();
            assert_eq!(KEY_GROUPS, groups);
            let rest = shares.iter().fold(KeyGroups::ALL, |rest, share| rest.without(*share));
            assert!(rest.is_empty());
        }
        let (even, odd) = (KeyGroups::of_worker(0, 2), KeyGroups::of_worker(1, 2));
        assert!(even.and(odd).is_empty() && even.contains(0.into()) && !even.contains(255.into()));
    }
}
