//! What keyed state does each time its operator is activated.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::operators::{Capability, CapabilitySet};
use timely::scheduling::Activator;
use timely::ExchangeData;

use super::durable::Saver;
use super::group::Outputs;
use super::state::KeyedState;
use crate::event::{Emission, KeyEvent, Revision};
use crate::flow::credits::{Meter, Notice};
use crate::flow::ports::{downgrade, Port};
use crate::flow::{Pressure, Tally};
use crate::record::{KeyNumber, RowBatch};
use crate::state::Changes;
use crate::underway::tell_by;
use crate::{EventTime, Logic, Record};

/// Where the operator gives what it has.
pub(super) struct Ports<O: ExchangeData + Clone> {
    pub(super) emitted: Port<Emission<O>>,
    pub(super) evicted: Port<KeyEvent>,
    pub(super) said: Port<Revision<O>>,
    pub(super) notices: Port<Notice>,
}

/// Keyed state at work, on one worker.
pub(super) struct Work<L: Logic<Out: ExchangeData + Clone>> {
    pub(super) state: KeyedState<L>,
    pub(super) meter: Meter,
    pub(super) ports: Ports<L::Out>,
    /// For what is emitted, evicted and said; none once all has been.
    pub(super) capabilities: Option<[Capability<EventTime>; 3]>,
    /// What saves state, if it is to survive.
    pub(super) saver: Option<Saver>,
    /// The highest watermark that a partition has reached, of those that have ended.
    pub(super) end: EventTime,
    pub(super) tally: Arc<Tally>,
    /// How many keys the tally knows of.
    pub(super) keys: u64,
    pub(super) pressure: Pressure,
    pub(super) activator: Rc<Activator>,
}

type Evictions = Vec<(KeyNumber, KeyEvent)>;

impl<L: Logic<In = Record, Out: ExchangeData + Clone>> Work<L> {
    /// Takes rows from their channel.
    pub(super) fn accept(&mut self, batch: &mut RowBatch) {
        self.meter.accept(batch.origin().dictionary, batch.len());
        self.state.accept(batch);
    }

    /// Goes as far as the frontier of the rows and the horizon of the boundaries allow, and past the end only when every source
    /// worker `has_ended`, and so has said where that is.
    pub(super) fn go_on(&mut self, frontier: Option<EventTime>, horizon: Option<EventTime>, has_ended: bool) {
        // At once: whoever reads it need not wait.
        self.say();
        let (limit, is_end) = match (frontier, horizon) {
            // What leaves, leaves in whole milliseconds.
            (Some(frontier), None) => (frontier.floor_ms(), false),
            (Some(frontier), Some(horizon)) => (frontier.min(horizon).floor_ms(), false),
            (None, None) if has_ended => (self.end.floor_ms(), true),
            (None, _) => (self.state.reached(), false),
        };
        if self.capabilities.is_none() {
            return;
        }
        let boundary = self.saver.as_ref().and_then(Saver::next).filter(|boundary| *boundary <= limit);
        let (limit, is_end) = boundary.map_or((limit, is_end), |boundary| (boundary, false));
        let wants = limit > self.state.reached() || is_end;
        let must_wait = wants && self.pressure.must_wait(&self.activator);
        let (mut evictions, mut arrived) = (Vec::new(), true);
        if wants && !must_wait {
            arrived = self.release(limit, is_end, &mut evictions);
        }
        self.tell(must_wait || !arrived);
        self.count(evictions);
        let is_saved = self.save(boundary);
        self.downgrade(is_end && arrived && !must_wait);
        if !arrived || !is_saved || (boundary.is_some() && !must_wait) {
            // Others on this worker have their turn first, those downstream among them.
            self.activator.activate();
        }
    }

    /// Saves some of the states, those of the boundary that was just reached among them; `true` once all are.
    fn save(&mut self, boundary: Option<EventTime>) -> bool {
        let Some(saver) = &mut self.saver else { return true };
        let has_reached = boundary.is_some_and(|boundary| boundary <= self.state.reached());
        let KeyedState { logic, groups, .. } = &mut self.state;
        if has_reached {
            saver.begin(logic, groups);
        }
        saver.go_on(logic, groups)
    }

    /// Gives what became known of records that are not final.
    fn say(&mut self) {
        if let (Some(eager), Some([.., say_at])) = (&mut self.state.eager, &self.capabilities) {
            self.ports.said.activate().session(say_at).give_iterator(eager.revisions());
        }
    }

    /// Lets records and timers before `limit` go to their logics, and at the end all; returns whether it came that far.
    fn release(&mut self, limit: EventTime, is_end: bool, evictions: &mut Evictions) -> bool {
        let Some([emit_at, ..]) = &self.capabilities else { return true };
        let state = &mut self.state;
        let (sight, reached) = (state.sight.clone(), state.reached());
        let mut eager = state.eager.take();
        let arrived = {
            let _telling = tell_by(sight.clone());
            let emitted = Cell::new(0);
            let mut output = self.ports.emitted.activate();
            let mut session = output.session(emit_at);
            let mut emit = |number, mut emission: Emission<L::Out>| {
                // What a logic that was changed has due from before where the run goes on is due there.
                emission.time = emission.time.max(reached);
                emitted.set(emitted.get() + 1);
                if let Some(eager) = &mut eager {
                    eager.confirm(number, &emission);
                }
                session.give(emission);
            };
            let mut none = Changes::at(EventTime::MIN);
            let saved = self.saver.as_mut().map_or(&mut none, |saver| &mut saver.changes);
            let mut out = Outputs { emit: &mut emit, evicted: evictions, saved, sight: &sight };
            let (records, arrived) = state.advance(limit, &emitted, &mut out);
            self.tally.scored.add(records);
            if is_end && arrived {
                self.tally.scored.add(state.finish(self.end, &mut out));
            }
            arrived
        };
        if let Some(eager) = &mut eager {
            let passed = if is_end && arrived { EventTime::MAX } else { state.reached() };
            eager.pass(passed, evictions, &state.logic, &state.groups);
        }
        state.eager = eager;
        state.prune(evictions);
        self.say();
        arrived
    }

    /// Tells the sources what was accepted, and what waits.
    fn tell(&mut self, is_behind: bool) {
        let mut output = self.ports.notices.activate();
        let none = CapabilitySet::new();
        let mut session = output.session(&none);
        let (waiting, reached) = (self.state.waiting(), self.state.reached());
        self.meter.tell(waiting, reached, is_behind, &mut |notice| session.give(notice));
    }

    /// Counts the keys, and gives those that a limit took.
    fn count(&mut self, evictions: Evictions) {
        let keys = self.state.groups.keys() as u64;
        self.tally.evicted.add(evictions.len() as u64);
        self.tally.keys.add(keys);
        self.tally.keys.subtract(std::mem::replace(&mut self.keys, keys));
        if let Some([_, evict_at, _]) = &self.capabilities {
            let events = evictions.into_iter().map(|(_, event)| event);
            self.ports.evicted.activate().session(evict_at).give_iterator(events);
        }
    }

    /// Nothing before what was reached will be emitted any more, and at last nothing at all.
    fn downgrade(&mut self, is_last: bool) {
        let reached = self.state.reached();
        if let Some(saver) = &mut self.saver {
            saver.downgrade(reached, is_last);
        }
        downgrade(&mut self.capabilities, reached, is_last);
    }
}
