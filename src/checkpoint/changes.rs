//! What changed in keyed state.

use tidewatch_dataflows::record::KeyGroup;
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

    /// The changes of each key group that has any, in the order of an object: by the hash of the key, then by its text.
    pub(super) fn by_group(&self) -> Vec<(KeyGroup, Vec<Change<'_>>)> {
        let placed = |index| {
            let id = KeyId::of(self.get(index).key);
            (id.group(), id.hash(), index)
        };
        let mut order: Vec<_> = (0..self.len()).map(placed).collect();
        let key = |index| self.get(index).key;
        order.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| key(a.2).cmp(key(b.2))));
        order
            .chunk_by(|a, b| a.0 == b.0)
            .map(|chunk| (chunk[0].0, chunk.iter().map(|(_, _, index)| self.get(*index)).collect()))
            .collect()
    }
}
