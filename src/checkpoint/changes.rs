//! What changed in keyed state.

use tidewatch_dataflows::record::{KeyGroup, KEY_GROUPS};
use tidewatch_dataflows::{EventTime, KeyId};

/// What became of the state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The text of the key.
    pub key: &'a str,
    /// The boundary as of which it is so: of several changes of a key, that of the latest boundary holds.
    pub version: EventTime,
    /// The time of the key's last record.
    pub last: EventTime,
    /// Its state; `None` if the key was evicted, so that there is none.
    pub state: Option<&'a [u8]>,
}

/// Changes, as they are gathered on a worker, sent to a thread that writes them, and read again.
///
/// All texts lie in one place and all states in another, so that to add a change allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    keys: String,
    states: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key_end: usize,
    state_end: usize,
    version: EventTime,
    last: EventTime,
    evicted: bool,
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// No changes, with room for `count` of keys with `keys` bytes and states with `states` bytes.
    pub fn with_capacity(count: usize, keys: usize, states: usize) -> Self {
        Self {
            keys: String::with_capacity(keys),
            states: Vec::with_capacity(states),
            rows: Vec::with_capacity(count),
        }
    }

    /// Adds a change.
    pub fn push(&mut self, change: Change<'_>) {
        self.keys.push_str(change.key);
        self.states.extend_from_slice(change.state.unwrap_or_default());
        self.rows.push(Row {
            key_end: self.keys.len(),
            state_end: self.states.len(),
            version: change.version,
            last: change.last,
            evicted: change.state.is_none(),
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Change `index`, which is less than [`len`](Self::len), in the order in which they were added.
    #[inline]
    pub fn get(&self, index: usize) -> Change<'_> {
        let row = self.rows[index];
        let (key_start, state_start) = match index.checked_sub(1) {
            Some(before) => (self.rows[before].key_end, self.rows[before].state_end),
            None => (0, 0),
        };
        let state = &self.states[state_start..row.state_end];
        Change {
            key: &self.keys[key_start..row.key_end],
            version: row.version,
            last: row.last,
            state: (!row.evicted).then_some(state),
        }
    }

    /// The changes, in the order in which they were added; those that were read from an object, in its order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Change<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The changes by key group, in the order of an object: by the hash of the key, then by its text.
    pub(super) fn sorted(&self) -> Sorted<'_> {
        let ids: Vec<_> = self.iter().map(|change| KeyId::of(change.key)).collect();
        let mut ends = [0; KEY_GROUPS];
        for id in &ids {
            ends[id.group().index()] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        // Each end moves on from the start of its group.
        let mut order = vec![(0, 0); ids.len()];
        for (index, id) in (0..).zip(&ids) {
            let end = &mut ends[id.group().index()];
            order[*end] = (id.hash(), index);
            *end += 1;
        }
        let key = |index: u32| self.get(index as usize).key;
        let mut start = 0;
        for end in ends {
            let by_hash = |a: &(u64, u32), b: &(u64, u32)| a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1)));
            order[start..end].sort_unstable_by(by_hash);
            start = end;
        }
        Sorted { changes: self, order, ends }
    }
}

/// Changes in the order of an object.
pub(super) struct Sorted<'a> {
    changes: &'a Changes,
    /// The hash of the key, and which change it is.
    order: Vec<(u64, u32)>,
    /// Where each key group ends in the order.
    ends: [usize; KEY_GROUPS],
}

impl Sorted<'_> {
    /// The changes of a key group.
    pub(super) fn group(&self, group: KeyGroup) -> impl Iterator<Item = Change<'_>> {
        let end = self.ends[group.index()];
        let start = group.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        self.order[start..end].iter().map(|(_, index)| self.changes.get(*index as usize))
    }
}
