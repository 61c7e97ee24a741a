//! State beside keyed state: what operators hold of what keyed state has emitted, saved together with it.
//!
//! **Protocol.** Such an operator hears of the same boundaries as keyed state, and keyed state's changes go through it. It goes
//! as far as its own inputs and the horizon of the boundaries allow, stops at each boundary, and adds what of its own state
//! changed before it to the last changes of keyed state there. So one manifest has both, and nothing else need know of
//! the operator. What it holds is kept under texts with more separators than a key has ([`kept_as`]), of which each operator
//! has its own number.

use std::collections::{BTreeSet, VecDeque};

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;

use super::keyed::{Announced, Boundary};
use super::{correlate, mute};
use crate::flow::ports::Port;
use crate::record::{KEY_PARTS, KEY_SEPARATOR};
use crate::state::{Changes, Part, StateError};
use crate::{EventTime, Key};

/// What state beside keyed state needs to survive.
#[derive(Clone)]
pub struct Beside<'scope> {
    /// The boundaries of the keyed state that it is beside.
    pub boundaries: StreamVec<'scope, EventTime, Announced>,
    /// What changes of that state, to which what changes here is added.
    pub changes: StreamVec<'scope, EventTime, Changes>,
    /// The boundary from which the run goes on, if it does.
    pub boundary: Option<EventTime>,
}

/// A text under which state is kept whose last version was at a time, and what it is then, if there is any.
pub(super) type Changed = (Key, EventTime, Option<Vec<u8>>);

/// The text under which operator `rank`, from 1, keeps state of something that is named like a key: however many parts keys have, no
/// key has so many separators.
pub(super) fn kept_as(rank: usize, name: &Key) -> Key {
    let mut text: String = std::iter::repeat_n(KEY_SEPARATOR, rank * KEY_PARTS).collect();
    text.push_str(name.as_str());
    Key::new(&text)
}

/// Whose state is kept under a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptAs {
    /// Of a key.
    Key,
    /// Of a label ([`Correlate`](super::Correlate)).
    Label(Key),
    /// Of a key whose alerts are muted ([`Mute`](super::Mute)).
    Muted(Key),
}

impl KeptAs {
    /// The label, if it is one's.
    pub fn label(self) -> Option<Key> {
        match self {
            Self::Label(label) => Some(label),
            Self::Key | Self::Muted(_) => None,
        }
    }

    /// The key, if it is one's with muted alerts.
    pub fn muted(self) -> Option<Key> {
        match self {
            Self::Muted(key) => Some(key),
            Self::Key | Self::Label(_) => None,
        }
    }

    /// Tells what is in state that is kept under such a text; of a key's only its logic knows, so nothing.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the bytes are none.
    pub fn describe(&self, bytes: &[u8]) -> Result<Vec<Part>, StateError> {
        match self {
            Self::Key => Ok(Vec::new()),
            Self::Label(_) => correlate::describe(bytes),
            Self::Muted(_) => mute::describe(bytes),
        }
    }

    /// The rank of labels.
    pub(super) const LABEL: usize = 1;
    /// The rank of keys with muted alerts.
    pub(super) const MUTED: usize = 2;

    /// What a text stands for.
    pub fn of(text: &str) -> Self {
        // A name has fewer separators of its own than a rank has.
        let leading = text.chars().take_while(|c| *c == KEY_SEPARATOR).count();
        let name = |rank: usize| Key::new(&text[rank * KEY_PARTS * KEY_SEPARATOR.len_utf8()..]);
        match leading / KEY_PARTS {
            0 => Self::Key,
            Self::LABEL => Self::Label(name(Self::LABEL)),
            _ => Self::Muted(name(Self::MUTED)),
        }
    }
}

/// What an operator with state beside keyed state has to do with boundaries and changes.
pub(super) struct Saver {
    /// What it is told: of boundaries and changes.
    hear: Box<dyn FnMut(&mut Saving)>,
    saving: Saving,
    /// The input with the boundaries, by its index.
    input: Option<usize>,
}

/// What is not saved yet.
struct Saving {
    /// Boundaries that were not reached yet.
    boundaries: BTreeSet<EventTime>,
    /// What changed up to boundaries that were reached.
    saved: VecDeque<(EventTime, Vec<Changed>)>,
    /// The last changes of keyed state at boundaries, which those of the operator are added to.
    held: VecDeque<(Capability<EventTime>, Changes)>,
    port: Port<Changes>,
}

impl Saver {
    /// Adds to an operator what it needs to have its state saved, if it is; and gives all changes. Comes after all other inputs and
    /// outputs.
    pub(super) fn add<'scope>(
        builder: &mut OperatorBuilder<'scope, EventTime>,
        beside: Option<Beside<'scope>>,
    ) -> (Self, StreamVec<'scope, EventTime, Changes>) {
        let (input, output) = (builder.shape().inputs(), builder.shape().outputs());
        // Only what changes of keyed state holds it back.
        let (changes_output, changed) = builder.new_output_connection([]);
        let input = beside.is_some().then_some(input);
        let hear: Box<dyn FnMut(&mut Saving)> = match beside {
            None => Box::new(|_| {}),
            Some(Beside { boundaries, changes, .. }) => {
                let to_worker = Exchange::new(|(worker, _): &Announced| *worker);
                let mut boundaries = builder.new_input_connection(boundaries, to_worker, []);
                let as_it_is = Antichain::from_elem(Default::default());
                let mut changes = builder.new_input_connection(changes, Pipeline, [(output, as_it_is)]);
                Box::new(move |saving| {
                    boundaries.for_each(|_, announced| {
                        announced.drain(..).for_each(|(_, boundary)| saving.note(boundary));
                    });
                    changes.for_each(|time, changes| {
                        changes.drain(..).for_each(|changes| {
                            saving.pass(time.delayed(&changes.boundary, output), changes)
                        });
                    });
                })
            }
        };
        let saving = Saving {
            boundaries: BTreeSet::new(),
            saved: VecDeque::new(),
            held: VecDeque::new(),
            port: Port::from(changes_output),
        };
        (Self { hear, saving, input }, changed)
    }

    /// Hears of boundaries and changes; returns how far the operator may go that is allowed to come to `limit`.
    pub(super) fn hear(&mut self, limit: EventTime, frontier: impl Fn(usize) -> EventTime) -> EventTime {
        (self.hear)(&mut self.saving);
        self.input.map_or(limit, |input| limit.min(frontier(input)))
    }

    /// The next boundary that the operator comes to on its way to `limit`, where it must call [`save`](Self::save).
    pub(super) fn next(&mut self, limit: EventTime) -> Option<EventTime> {
        let boundary = self.saving.boundaries.first().copied().filter(|boundary| *boundary <= limit)?;
        self.saving.boundaries.pop_first();
        Some(boundary)
    }

    /// Takes what has changed since the boundary before.
    pub(super) fn save(&mut self, boundary: EventTime, changed: Vec<Changed>) {
        self.saving.saved.push_back((boundary, changed));
    }

    /// Passes on the changes of boundaries that were reached.
    pub(super) fn send(&mut self) {
        self.saving.send();
    }
}

impl Saving {
    fn note(&mut self, boundary: Boundary) {
        // Where all state stands, keyed state says when it has saved.
        if let Boundary::At(boundary) = boundary {
            self.boundaries.insert(boundary);
        }
    }

    /// Passes on what changes of keyed state, but for the last of each boundary.
    fn pass(&mut self, capability: Capability<EventTime>, changes: Changes) {
        if !changes.is_last {
            return self.port.activate().session(&capability).give(changes);
        }
        if !self.is_saved(changes.boundary) {
            self.boundaries.insert(changes.boundary);
        }
        self.held.push_back((capability, changes));
    }

    fn is_saved(&self, boundary: EventTime) -> bool {
        self.saved.iter().any(|(saved, _)| *saved == boundary)
    }

    /// Adds what changed to the last changes of keyed state that are held, and passes them on.
    fn send(&mut self) {
        while self.held.front().is_some_and(|(_, changes)| self.is_saved(changes.boundary)) {
            let (capability, mut changes) = self.held.pop_front().expect("there is a first one");
            // A boundary at which keyed state said nothing was before its end; what changed since counts for the next.
            while let Some((boundary, changed)) = self.saved.pop_front() {
                for (name, last, state) in changed {
                    match state {
                        Some(state) => changes.push(&name, last, |bytes| bytes.extend_from_slice(&state)),
                        None => changes.remove(&name, last),
                    }
                }
                if boundary == changes.boundary {
                    break;
                }
            }
            self.port.activate().session(&capability).give(changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_beside_keys_is_that_of_no_key() {
        let separators = |count| String::from(KEY_SEPARATOR).repeat(count);
        let names = ["", "web", "a\u{1f}", "\u{1f}\u{1f}c"].map(str::to_owned);
        for name in names.into_iter().chain([separators(1), separators(KEY_PARTS - 1)]) {
            let name = Key::new(&name);
            assert_eq!(KeptAs::Key, KeptAs::of(name.as_str()), "{name:?}");
            assert_eq!(Some(name.clone()), KeptAs::of(kept_as(KeptAs::LABEL, &name).as_str()).label());
            assert_eq!(Some(name.clone()), KeptAs::of(kept_as(KeptAs::MUTED, &name).as_str()).muted());
        }
    }
}
