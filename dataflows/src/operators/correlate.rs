//! Alerts that belong together become incidents.

mod labels;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;

use self::labels::Labels;
use super::keyed::{Announced, Boundary};
use crate::alerts::{Alert, Incident};
use crate::flow::ports::{port_of, Port};
use crate::record::KEY_SEPARATOR;
use crate::state::{Changes, StateError};
use crate::{Emission, EventTime, Key, Name, Span};

/// Which alerts belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// The pipeline, of whose name identifiers are made.
    pub pipeline: Name,
    /// The parts of a key that make its label, by their places; at least one.
    pub parts: Vec<usize>,
    /// How many parts a key has.
    pub of: usize,
    /// For how long no alert may be open for the next one to belong to the same incident.
    pub gap: Span,
}

impl Grouping {
    /// What a key has in common with others.
    fn label(&self, key: &Key) -> Key {
        let parts: Vec<_> = key.parts().collect();
        Key::from_parts(self.parts.iter().map(|part| parts.get(*part).copied().unwrap_or_default()))
    }

    /// What the state of a label is kept under. It has more separators than any key, so it is none.
    fn kept_as(&self, label: &Key) -> Key {
        let mut text: String = std::iter::repeat_n(KEY_SEPARATOR, self.of).collect();
        text.push_str(label.as_str());
        Key::new(&text)
    }

    fn labels(&self) -> Labels {
        Labels::new(self.clone())
    }
}

/// The label whose state is kept under a text, if it is of a label; `of` is how many parts a key has.
pub fn label_kept_as(text: &str, of: usize) -> Option<Key> {
    let separators = text.char_indices().take_while(|(at, c)| *at < of && *c == KEY_SEPARATOR);
    (separators.count() == of).then(|| Key::new(&text[of * KEY_SEPARATOR.len_utf8()..]))
}

/// What incidents need to survive.
pub struct Correlated<'scope> {
    /// The boundaries of the keyed state whose alerts they are of.
    pub boundaries: StreamVec<'scope, EventTime, Announced>,
    /// What changes of that state; what changes of incidents is added to it.
    pub changes: StreamVec<'scope, EventTime, Changes>,
    /// The boundary from which the run goes on, if it does.
    pub boundary: Option<EventTime>,
    /// What was saved there of the labels that this worker owns.
    pub restored: Vec<(Key, Vec<u8>)>,
}

/// Extension trait for alerts that belong together.
pub trait Correlate<'scope> {
    /// Replaces alerts by incidents: those of keys with a label in common that overlap in event time, or lie no more than a
    /// gap apart.
    ///
    /// An incident opens with the first alert that opens, is told again with each further one and when it becomes critical,
    /// and closes a gap after the last of its alerts. Alerts are exchanged by the key group of their label and
    /// wait until the frontier has passed their time; then each label sees them in the order of time, key and detection.
    /// So what is emitted depends on nothing but the alerts.
    ///
    /// State is what is open.
    fn correlate(self, grouping: Grouping) -> StreamVec<'scope, EventTime, Emission<Incident>>;

    /// As [`Correlate::correlate`], with state that survives; also gives all changes.
    ///
    /// # Errors
    ///
    /// [`StateError`] if what was restored is no state of incidents.
    #[allow(clippy::type_complexity, reason = "two streams")]
    fn correlate_durably(
        self,
        grouping: Grouping,
        correlated: Correlated<'scope>,
    ) -> Result<
        (StreamVec<'scope, EventTime, Emission<Incident>>, StreamVec<'scope, EventTime, Changes>),
        StateError,
    >;
}

impl<'scope> Correlate<'scope> for StreamVec<'scope, EventTime, Emission<Alert>> {
    fn correlate(self, grouping: Grouping) -> StreamVec<'scope, EventTime, Emission<Incident>> {
        let labels = grouping.labels();
        build(self, grouping, labels, None).0
    }

    fn correlate_durably(
        self,
        grouping: Grouping,
        Correlated { boundaries, changes, boundary, restored }: Correlated<'scope>,
    ) -> Result<
        (StreamVec<'scope, EventTime, Emission<Incident>>, StreamVec<'scope, EventTime, Changes>),
        StateError,
    > {
        let mut labels = grouping.labels();
        for (label, state) in restored {
            labels.restore(label, &state, boundary.unwrap_or(EventTime::MIN))?;
        }
        Ok(build(self, grouping, labels, Some((boundaries, changes))))
    }
}

type Durable<'scope> = (StreamVec<'scope, EventTime, Announced>, StreamVec<'scope, EventTime, Changes>);

fn build<'scope>(
    alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    grouping: Grouping,
    labels: Labels,
    durable: Option<Durable<'scope>>,
) -> (StreamVec<'scope, EventTime, Emission<Incident>>, StreamVec<'scope, EventTime, Changes>) {
    let mut builder = OperatorBuilder::new("Correlate".to_owned(), alerts.scope());
    let of_label = grouping.clone();
    let by_label = Exchange::new(move |alert: &Emission<Alert>| {
        of_label.kept_as(&of_label.label(&alert.key)).id().group().index() as u64
    });
    let mut alerts = builder.new_input(alerts, by_label);
    let (incidents_port, incidents) = port_of(0, &mut builder);
    // Only what changes of keyed state holds it back.
    let (changes_output, changed) = builder.new_output_connection([]);
    let changes_port = Port::from(changes_output);
    let mut inputs = durable.map(|(boundaries, changes)| {
        let to_worker = Exchange::new(|(worker, _): &Announced| *worker);
        let boundaries = builder.new_input_connection(boundaries, to_worker, []);
        let as_it_is = Antichain::from_elem(Default::default());
        (boundaries, builder.new_input_connection(changes, Pipeline, [(1, as_it_is)]))
    });
    builder.build(move |mut capabilities| {
        let capability = Some(capabilities.swap_remove(0));
        drop(capabilities);
        let mut work = Work {
            grouping,
            labels,
            reached: EventTime::MIN,
            boundaries: BTreeSet::new(),
            saved: VecDeque::new(),
            held: VecDeque::new(),
            capability,
            ports: (incidents_port, changes_port),
        };
        move |frontiers| {
            alerts.for_each(|_, batch| batch.drain(..).for_each(|alert| work.labels.accept(alert)));
            if let Some((boundaries, changes)) = &mut inputs {
                boundaries.for_each(|_, announced| {
                    announced.drain(..).for_each(|(_, boundary)| work.hear(boundary));
                });
                changes.for_each(|time, changes| {
                    changes
                        .drain(..)
                        .for_each(|changes| work.pass(time.delayed(&changes.boundary, 1), changes));
                });
            }
            let frontier = |input: usize| frontiers.get(input)?.frontier().first().copied();
            work.go_on(frontier(0), frontier(1));
        }
    });
    (incidents, changed)
}

/// What the operator holds.
struct Work {
    grouping: Grouping,
    labels: Labels,
    /// What is before it has been seen.
    reached: EventTime,
    /// Boundaries that were not reached yet.
    boundaries: BTreeSet<EventTime>,
    /// What changed up to boundaries that were reached.
    saved: VecDeque<Changed>,
    /// The last changes of keyed state at boundaries, which those of incidents are added to.
    held: VecDeque<(Capability<EventTime>, Changes)>,
    capability: Option<Capability<EventTime>>,
    ports: (Port<Emission<Incident>>, Port<Changes>),
}

/// A boundary, and each label whose incident changed before it, with when, and its state, if it is open.
type Changed = (EventTime, Vec<(Key, EventTime, Option<Vec<u8>>)>);

impl Work {
    fn hear(&mut self, boundary: Boundary) {
        // Where all state stands, keyed state says when it has saved.
        if let Boundary::At(boundary) = boundary {
            self.boundaries.insert(boundary);
        }
    }

    /// Passes on what changes of keyed state, but for the last of each boundary.
    fn pass(&mut self, capability: Capability<EventTime>, changes: Changes) {
        if !changes.is_last {
            return self.ports.1.activate().session(&capability).give(changes);
        }
        if self.saved.iter().all(|(boundary, _)| *boundary != changes.boundary) {
            self.boundaries.insert(changes.boundary);
        }
        self.held.push_back((capability, changes));
    }

    /// Goes as far as the frontier of the alerts and the horizon of the boundaries allow.
    fn go_on(&mut self, frontier: Option<EventTime>, horizon: Option<EventTime>) {
        let limit = match (frontier, horizon) {
            (Some(frontier), Some(horizon)) => frontier.min(horizon),
            (frontier, horizon) => frontier.or(horizon).unwrap_or(EventTime::MAX),
        };
        while let Some(boundary) = self.boundaries.first().copied().filter(|boundary| *boundary <= limit) {
            self.boundaries.pop_first();
            self.advance(boundary);
            self.saved.push_back((boundary, self.labels.changes()));
        }
        self.advance(limit);
        while self.held.front().is_some_and(|(_, changes)| self.is_saved(changes.boundary)) {
            self.send();
        }
        match &mut self.capability {
            Some(_) if limit == EventTime::MAX => self.capability = None,
            Some(capability) if self.reached > *capability.time() => capability.downgrade(&self.reached),
            _ => {}
        }
    }

    fn advance(&mut self, limit: EventTime) {
        let Some(capability) = &self.capability else { return };
        let mut incidents = Vec::new();
        self.labels.advance(limit, &mut |incident| incidents.push(incident));
        self.ports.0.activate().session(capability).give_iterator(incidents.into_iter());
        self.reached = self.reached.max(limit);
    }

    fn is_saved(&self, boundary: EventTime) -> bool {
        self.saved.iter().any(|(saved, _)| *saved == boundary)
    }

    /// Adds what changed to the last changes of keyed state that are held, and passes them on.
    fn send(&mut self) {
        let Some((capability, mut changes)) = self.held.pop_front() else { return };
        // A boundary at which keyed state said nothing was before its end; what changed since counts for the next.
        while let Some((boundary, changed)) = self.saved.pop_front() {
            for (label, last, state) in changed {
                let kept_as = self.grouping.kept_as(&label);
                match state {
                    Some(state) => changes.push(&kept_as, last, |bytes| bytes.extend_from_slice(&state)),
                    None => changes.remove(&kept_as, last),
                }
            }
            if boundary == changes.boundary {
                break;
            }
        }
        self.ports.1.activate().session(&capability).give(changes);
    }
}
