//! Alerts that nobody wants to hear of are kept back.

mod held;
#[cfg(test)]
mod tests;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;

pub(super) use self::held::describe;
use self::held::{Held, Said};
use super::beside::{kept_as, Beside, KeptAs, Saver};
use crate::alerts::{Alert, Muted};
use crate::event::Revision;
use crate::flow::ports::{downgrade, port_of, Port};
use crate::mutes::{Edition, Mute as Entry};
use crate::state::{Changes, StateError};
use crate::{Emission, EventTime, Key};

/// An edition of the list, for a worker.
pub type Announcement = (u64, Edition<Vec<Entry>>);

/// What becomes of alerts some of which are muted.
pub struct MutedStreams<'scope> {
    /// Those that are told.
    pub alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    /// Those that are kept back, while they are.
    pub muted: StreamVec<'scope, EventTime, Emission<Muted>>,
    /// What is said of those that are told before it is final.
    pub provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
    /// As [`Beside::changes`], with what changed here.
    pub changes: StreamVec<'scope, EventTime, Changes>,
}

/// Extension trait for keeping back alerts that are muted.
pub trait Mute<'scope> {
    /// Keeps back each alert that opens while its key and detection are muted by the edition of the list that is in force then,
    /// for as long as that lasts.
    ///
    /// An alert that is over by then is never told. One that is still open *opens* then: told as it is by then, under the
    /// identifier that it has. One that was told before anything muted it goes on to be told. `editions` must tell each worker of all editions
    /// that are in force from a time on before that time has passed. `provisional`, what is said of the same alerts before it
    /// is final, follows: what turns out to be muted is retracted.
    ///
    /// Alerts are exchanged by what they are kept under, and wait until the frontiers of alerts and editions have passed their time. What is
    /// emitted depends on nothing but alerts and editions. State is the alerts that are kept back.
    fn mute(
        self,
        provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
        editions: StreamVec<'scope, EventTime, Announcement>,
    ) -> MutedStreams<'scope>;

    /// As [`Mute::mute`], with state that survives: `restored` is what was saved of keys whose state here this worker owns.
    ///
    /// # Errors
    ///
    /// [`StateError`] if what was restored is no state of muted alerts.
    fn mute_durably(
        self,
        provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
        editions: StreamVec<'scope, EventTime, Announcement>,
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
    ) -> Result<MutedStreams<'scope>, StateError>;
}

impl<'scope> Mute<'scope> for StreamVec<'scope, EventTime, Emission<Alert>> {
    fn mute(
        self,
        provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
        editions: StreamVec<'scope, EventTime, Announcement>,
    ) -> MutedStreams<'scope> {
        build(self, provisional, editions, Held::new(EventTime::MIN), None)
    }

    fn mute_durably(
        self,
        provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
        editions: StreamVec<'scope, EventTime, Announcement>,
        beside: Beside<'scope>,
        restored: Vec<(Key, Vec<u8>)>,
    ) -> Result<MutedStreams<'scope>, StateError> {
        let mut held = Held::new(beside.boundary.unwrap_or(EventTime::MIN));
        restored.into_iter().try_for_each(|(key, state)| held.restore(key, &state))?;
        Ok(build(self, provisional, editions, held, Some(beside)))
    }
}

fn build<'scope>(
    alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    provisional: StreamVec<'scope, EventTime, Revision<Alert>>,
    editions: StreamVec<'scope, EventTime, Announcement>,
    held: Held,
    beside: Option<Beside<'scope>>,
) -> MutedStreams<'scope> {
    let mut builder = OperatorBuilder::new("Mute".to_owned(), alerts.scope());
    let owner = |key: &Key| kept_as(KeptAs::MUTED, key).id().group().index() as u64;
    let mut alerts =
        builder.new_input(alerts, Exchange::new(move |alert: &Emission<Alert>| owner(&alert.key)));
    let by_key = Exchange::new(move |revision: &Revision<Alert>| owner(&revision.key));
    let mut provisional = builder.new_input(provisional, by_key);
    let to_worker = Exchange::new(|(worker, _): &Announcement| *worker);
    let mut editions = builder.new_input_connection(editions, to_worker, []);
    let (told_port, told) = port_of(0, &mut builder);
    let (muted_port, muted) = port_of(0, &mut builder);
    let as_it_is = Antichain::from_elem(Default::default());
    let (said_output, said) = builder.new_output_connection([(1, as_it_is)]);
    let (mut saver, changes) = Saver::add(&mut builder, beside);
    builder.build(move |mut capabilities| {
        capabilities.truncate(3);
        let ports = (told_port, muted_port, Port::from(said_output));
        let mut work = Work { held, capabilities: capabilities.try_into().ok(), ports };
        move |frontiers| {
            let frontier =
                |input: usize| frontiers[input].frontier().first().copied().unwrap_or(EventTime::MAX);
            editions.for_each(|_, batch| batch.drain(..).for_each(|(_, edition)| work.held.learn(edition)));
            alerts.for_each(|_, batch| batch.drain(..).for_each(|alert| work.held.accept(alert)));
            provisional.for_each(|_, batch| work.say(|held, out| held.hear_all(batch.drain(..), out)));
            let limit = (0..3).map(frontier).min().unwrap_or(EventTime::MAX);
            let limit = saver.hear(limit, frontier);
            while let Some(boundary) = saver.next(limit) {
                work.say(|held, out| held.advance(boundary, out));
                saver.save(boundary, work.held.changes());
            }
            work.say(|held, out| held.advance(limit, out));
            saver.send();
            downgrade(&mut work.capabilities, work.held.reached(), limit == EventTime::MAX);
        }
    });
    MutedStreams { alerts: told, muted, provisional: said, changes }
}

/// What is told, muted, and said of what is told before it is final.
type Ports = (Port<Emission<Alert>>, Port<Emission<Muted>>, Port<Revision<Alert>>);

/// What the operator holds.
struct Work {
    held: Held,
    /// For what is told, muted and said; none once all has been.
    capabilities: Option<[Capability<EventTime>; 3]>,
    ports: Ports,
}

impl Work {
    /// Has something done, and gives what that makes known.
    fn say(&mut self, act: impl FnOnce(&mut Held, &mut Said)) {
        let Some([tell_at, mute_at, say_at]) = &self.capabilities else { return };
        let mut out = Said::default();
        act(&mut self.held, &mut out);
        let (told, muted, said) = &mut self.ports;
        told.activate().session(tell_at).give_iterator(out.told.into_iter());
        muted.activate().session(mute_at).give_iterator(out.muted.into_iter());
        said.activate().session(say_at).give_iterator(out.revisions.into_iter());
    }
}
