//! Alerts that belong together become incidents.

mod ahead;
mod labels;
#[cfg(test)]
mod tests;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;

use self::ahead::Ahead;
pub(super) use self::labels::describe;
use self::labels::Labels;
use super::beside::{kept_as, Beside, KeptAs, Saver};
use crate::alerts::{Alert, Incident, Raised};
use crate::event::Revision;
use crate::flow::ports::{downgrade, port_of, Port};
use crate::state::{Changes, StateError};
use crate::{Emission, EventTime, Key, Name, Span};

/// Which alerts belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// The pipeline, of whose name identifiers are made.
    pub pipeline: Name,
    /// The parts of a key that make its label, by their places; at least one.
    pub parts: Vec<usize>,
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
        kept_as(KeptAs::LABEL, label)
    }

    fn labels(&self) -> Labels {
        Labels::new(self.clone())
    }
}

/// What becomes of alerts that belong together.
pub struct IncidentStreams<'scope> {
    /// The incidents.
    pub incidents: StreamVec<'scope, EventTime, Emission<Incident>>,
    /// What is said of them before it is final; empty without what is said of alerts.
    pub raised: StreamVec<'scope, EventTime, Raised<Incident>>,
    /// As [`Beside::changes`], with what changed here.
    pub changes: StreamVec<'scope, EventTime, Changes>,
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
    /// If there is `said`, what is said of the same alerts before it is final, incidents are said as soon as they seem to be there,
    /// too: raised, revised as alerts come, are revised or retracted, and confirmed or retracted themselves, under the laws of
    /// [`Raised`]. Of one that was open already when a run went on, only what is final is said.
    ///
    /// State is what is open.
    fn correlate(
        self,
        said: Option<StreamVec<'scope, EventTime, Revision<Alert>>>,
        grouping: Grouping,
    ) -> IncidentStreams<'scope>;

    /// As [`Correlate::correlate`], with state that survives: `restored` is what was saved of the labels that this worker owns.
    ///
    /// # Errors
    ///
    /// [`StateError`] if what was restored is no state of incidents.
    fn correlate_durably(
        self,
        said: Option<StreamVec<'scope, EventTime, Revision<Alert>>>,
        grouping: Grouping,
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
    ) -> Result<IncidentStreams<'scope>, StateError>;
}

impl<'scope> Correlate<'scope> for StreamVec<'scope, EventTime, Emission<Alert>> {
    fn correlate(
        self,
        said: Option<StreamVec<'scope, EventTime, Revision<Alert>>>,
        grouping: Grouping,
    ) -> IncidentStreams<'scope> {
        let labels = grouping.labels();
        build(self, said, grouping, labels, None)
    }

    fn correlate_durably(
        self,
        said: Option<StreamVec<'scope, EventTime, Revision<Alert>>>,
        grouping: Grouping,
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
    ) -> Result<IncidentStreams<'scope>, StateError> {
        let mut labels = grouping.labels();
        for (label, state) in restored {
            labels.restore(label, &state, beside.boundary.unwrap_or(EventTime::MIN))?;
        }
        Ok(build(self, said, grouping, labels, Some(beside)))
    }
}

fn build<'scope>(
    alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    said: Option<StreamVec<'scope, EventTime, Revision<Alert>>>,
    grouping: Grouping,
    labels: Labels,
    beside: Option<Beside<'scope>>,
) -> IncidentStreams<'scope> {
    let mut builder = OperatorBuilder::new("Correlate".to_owned(), alerts.scope());
    let by_label = |grouping: &Grouping| {
        let grouping = grouping.clone();
        move |key: &Key| grouping.kept_as(&grouping.label(key)).id().group().index() as u64
    };
    let owner = by_label(&grouping);
    let mut alerts =
        builder.new_input(alerts, Exchange::new(move |alert: &Emission<Alert>| owner(&alert.key)));
    let owner = by_label(&grouping);
    let by_label = Exchange::new(move |revision: &Revision<Alert>| owner(&revision.key));
    let mut said = said.map(|said| builder.new_input(said, by_label));
    let inputs = builder.shape().inputs();
    let (port, incidents) = port_of(0, &mut builder);
    let (raised_port, raised) = port_of(inputs - 1, &mut builder);
    let (mut saver, changes) = Saver::add(&mut builder, beside);
    builder.build(move |mut capabilities| {
        capabilities.truncate(2);
        let ahead = said.is_some().then(|| Ahead::of(grouping, &labels));
        let ports = (port, raised_port);
        let reached = EventTime::MIN;
        let mut work = Work { labels, ahead, reached, capabilities: capabilities.try_into().ok(), ports };
        move |frontiers| {
            let frontier =
                |input: usize| frontiers[input].frontier().first().copied().unwrap_or(EventTime::MAX);
            alerts.for_each(|_, batch| batch.drain(..).for_each(|alert| work.labels.accept(alert)));
            if let (Some(said), Some(ahead)) = (&mut said, &mut work.ahead) {
                said.for_each(|_, batch| batch.drain(..).for_each(|revision| ahead.hear(revision)));
            }
            let limit = (0..inputs).map(frontier).min().unwrap_or(EventTime::MAX);
            let limit = saver.hear(limit, frontier);
            while let Some(boundary) = saver.next(limit) {
                work.advance(boundary);
                saver.save(boundary, work.labels.changes());
            }
            work.advance(limit);
            saver.send();
            work.say();
            downgrade(&mut work.capabilities, work.reached, limit == EventTime::MAX);
        }
    });
    IncidentStreams { incidents, raised, changes }
}

/// What the operator holds.
struct Work {
    labels: Labels,
    /// What is beyond what is final, if anybody wants to know.
    ahead: Option<Ahead>,
    /// What is before it has been seen.
    reached: EventTime,
    /// For what is told and raised; none once all has been.
    capabilities: Option<[Capability<EventTime>; 2]>,
    ports: (Port<Emission<Incident>>, Port<Raised<Incident>>),
}

impl Work {
    fn advance(&mut self, limit: EventTime) {
        let Some([tell_at, _]) = &self.capabilities else { return };
        let mut incidents = Vec::new();
        self.labels.advance(limit, &mut |incident| incidents.push(incident));
        if let Some(ahead) = &mut self.ahead {
            incidents.iter().for_each(|incident| ahead.tell(incident));
            ahead.pass(limit);
        }
        self.ports.0.activate().session(tell_at).give_iterator(incidents.into_iter());
        self.reached = self.reached.max(limit);
    }

    fn say(&mut self) {
        if let (Some(ahead), Some([_, say_at])) = (&mut self.ahead, &self.capabilities) {
            self.ports.1.activate().session(say_at).give_iterator(ahead.say(&self.labels).into_iter());
        }
    }
}
