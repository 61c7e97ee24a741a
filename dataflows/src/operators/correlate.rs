//! Alerts that belong together become incidents.

mod labels;
#[cfg(test)]
mod tests;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;

use self::labels::Labels;
use super::beside::{kept_as, Beside, KeptAs, Saver};
use crate::alerts::{Alert, Incident};
use crate::flow::ports::{port_of, Port};
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

    /// What the state of a label is kept under.
    fn kept_as(&self, label: &Key) -> Key {
        kept_as(KeptAs::LABEL, self.of, label)
    }

    fn labels(&self) -> Labels {
        Labels::new(self.clone())
    }
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

    /// As [`Correlate::correlate`], with state that survives: `restored` is what was saved of the labels that this worker owns.
    /// Also gives all changes.
    ///
    /// # Errors
    ///
    /// [`StateError`] if what was restored is no state of incidents.
    #[allow(clippy::type_complexity, reason = "two streams")]
    fn correlate_durably(
        self,
        grouping: Grouping,
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
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
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
    ) -> Result<
        (StreamVec<'scope, EventTime, Emission<Incident>>, StreamVec<'scope, EventTime, Changes>),
        StateError,
    > {
        let mut labels = grouping.labels();
        for (label, state) in restored {
            labels.restore(label, &state, beside.boundary.unwrap_or(EventTime::MIN))?;
        }
        Ok(build(self, grouping, labels, Some(beside)))
    }
}

fn build<'scope>(
    alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    grouping: Grouping,
    labels: Labels,
    beside: Option<Beside<'scope>>,
) -> (StreamVec<'scope, EventTime, Emission<Incident>>, StreamVec<'scope, EventTime, Changes>) {
    let mut builder = OperatorBuilder::new("Correlate".to_owned(), alerts.scope());
    let by_label = Exchange::new(move |alert: &Emission<Alert>| {
        grouping.kept_as(&grouping.label(&alert.key)).id().group().index() as u64
    });
    let mut alerts = builder.new_input(alerts, by_label);
    let (port, incidents) = port_of(0, &mut builder);
    let (mut saver, changed) = Saver::add(&mut builder, beside);
    builder.build(move |mut capabilities| {
        let capability = Some(capabilities.swap_remove(0));
        drop(capabilities);
        let mut work = Work { labels, reached: EventTime::MIN, capability, port };
        move |frontiers| {
            let frontier =
                |input: usize| frontiers[input].frontier().first().copied().unwrap_or(EventTime::MAX);
            alerts.for_each(|_, batch| batch.drain(..).for_each(|alert| work.labels.accept(alert)));
            let limit = saver.hear(frontier(0), frontier);
            while let Some(boundary) = saver.next(limit) {
                work.advance(boundary);
                saver.save(boundary, work.labels.changes());
            }
            work.advance(limit);
            saver.send();
            work.downgrade(limit);
        }
    });
    (incidents, changed)
}

/// What the operator holds.
struct Work {
    labels: Labels,
    /// What is before it has been seen.
    reached: EventTime,
    capability: Option<Capability<EventTime>>,
    port: Port<Emission<Incident>>,
}

impl Work {
    fn advance(&mut self, limit: EventTime) {
        let Some(capability) = &self.capability else { return };
        let mut incidents = Vec::new();
        self.labels.advance(limit, &mut |incident| incidents.push(incident));
        self.port.activate().session(capability).give_iterator(incidents.into_iter());
        self.reached = self.reached.max(limit);
    }

    fn downgrade(&mut self, limit: EventTime) {
        match &mut self.capability {
            Some(_) if limit == EventTime::MAX => self.capability = None,
            Some(capability) if self.reached > *capability.time() => capability.downgrade(&self.reached),
            _ => {}
        }
    }
}
