//! The one operator that holds keyed state.
//!
//! It owns buffering until the frontier, event-time timers, limits and eviction; what runs per key is a [`Logic`].
//!
//! **Protocol.** Rows arrive under any stamp and wait in [`Buckets`]. When the frontier comes to `f`, every row with
//! a time before `f` leaves in `(time, partition, offset)` order and goes to its key's logic; then every timer due
//! before `f` is called. Within a key group, timers go before the records of later times; so a logic sees the
//! same sequence however the frontier moved. At the true end, timers are due up to the highest watermark that any
//! partition reached (what a slower frontier could have shown) and, beyond it, up to the key's own last record; then
//! every logic emits what is in progress. So what a key emits is independent of which keys share its group.

mod advance;
mod buckets;
mod eager;
mod group;
mod sight;
mod state;

use std::cell::Cell;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::CapabilitySet;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;
use timely::ExchangeData;

pub use buckets::{Buckets, PartitionNumber, Row, Run, Stretch};
pub use eager::Eager;
use eager::Provisions;
use group::Outputs;
use state::KeyedState;

use super::credits::{Meter, Notice};
use super::records::by_key_group;
use super::Records;
use crate::event::{Emission, KeyEvent, Ranked, Revision};
use crate::record::KEY_GROUPS;
use crate::underway::tell_by;
use crate::{EventTime, Logic, Record};

/// How much keyed state there may be, over all key groups; each group has an equal share.
///
/// A group past its share loses the state of its longest-silent key, which is counted and reported as a
/// [`KeyEvent`]: the key starts anew with its next record, and its windows in progress are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys with state; a group may have an eighth more than its share.
    pub keys: usize,
    /// Bytes of state, as the logic estimates them.
    pub state: usize,
}

impl Default for Limits {
    /// A million keys, one gibibyte.
    fn default() -> Self {
        Self { keys: 1_000_000, state: 1 << 30 }
    }
}

impl Limits {
    /// An equal share and an eighth: hashing does not spread keys quite evenly.
    fn keys_per_group(&self) -> usize {
        let share = self.keys.div_ceil(KEY_GROUPS).max(1);
        share + share / 8
    }

    fn state_per_group(&self) -> usize {
        self.state.div_ceil(KEY_GROUPS)
    }
}

/// What keyed state gives.
pub struct KeyedStreams<'scope, O> {
    /// What the logic emitted, under times that the frontier has passed.
    pub emitted: StreamVec<'scope, EventTime, Emission<O>>,
    /// The keys whose state a limit took.
    pub evicted: StreamVec<'scope, EventTime, KeyEvent>,
    /// What is said before it is final, and what becomes of it: empty but for [`Keyed::keyed_eagerly`].
    ///
    /// Each change is sent at once, at whatever event time; so the order depends on when records arrive. What the changes
    /// add up to does not: up to the frontier, that is what was emitted ([`Revision::updates`]).
    pub provisional: StreamVec<'scope, EventTime, Revision<O>>,
}

/// Extension trait for running a logic per key.
pub trait Keyed<'scope> {
    /// Replaces the records of each key by what `logic` emits for them, within default [`Limits`].
    ///
    /// Records are exchanged by key group and wait until the frontier has passed their time; then each key's
    /// logic sees them in `(time, partition, offset)` order. What is emitted depends on nothing else: not on the
    /// number of workers, the order of arrival, or batches.
    fn keyed<L>(self, logic: L) -> StreamVec<'scope, EventTime, Emission<L::Out>>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone>;

    /// As [`Keyed::keyed`], with limits, and with the evictions as a stream.
    fn keyed_within<L>(self, limits: Limits, logic: L) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone>;

    /// As [`Keyed::keyed_within`], and says what `logic` would emit as soon as a record arrives, as the stream
    /// [`KeyedStreams::provisional`]. What is emitted finally is the same.
    ///
    /// For each record ahead of the frontier a copy of its key's state is kept, within the budget `eager`.
    fn keyed_eagerly<L>(self, limits: Limits, eager: Eager, logic: L) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone + Ranked>;
}

impl<'scope> Keyed<'scope> for Records<'scope> {
    fn keyed<L>(self, logic: L) -> StreamVec<'scope, EventTime, Emission<L::Out>>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone>,
    {
        self.keyed_within(Limits::default(), logic).emitted
    }

    fn keyed_within<L>(self, limits: Limits, logic: L) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone>,
    {
        self.keyed_with(limits, None, logic)
    }

    fn keyed_eagerly<L>(self, limits: Limits, eager: Eager, logic: L) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone + Ranked>,
    {
        self.keyed_with(limits, Some(Provisions::new(eager)), logic)
    }
}

impl<'scope> Records<'scope> {
    fn keyed_with<L>(
        self,
        limits: Limits,
        eager: Option<Provisions<L>>,
        logic: L,
    ) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone>,
    {
        let scope = self.rows.scope();
        let mut builder = OperatorBuilder::new("Keyed".to_owned(), scope);
        let activator = Rc::new(scope.activator_for(builder.operator_info().address));
        let mut meter = Meter::new(scope.index(), scope.peers(), self.width, self.ahead);
        let mut rows = builder.new_input(self.rows, by_key_group());
        let mut ends = builder.new_input(self.ends, Exchange::new(|(worker, _): &(u64, EventTime)| *worker));
        // The ends say when timers stop; they must not hold time back.
        let from_rows = [(0, Antichain::from_elem(Default::default()))];
        let (emitted_output, emitted) = builder.new_output_connection(from_rows.clone());
        let (evicted_output, evicted) = builder.new_output_connection(from_rows.clone());
        let (said_output, provisional) = builder.new_output_connection(from_rows.clone());
        // An operator whose inputs have ended is shut down: those who hear the notices must outlive the rows.
        let (notices_output, notices) = builder.new_output_connection(from_rows);
        self.credits.consumer(notices);
        let mut emitted_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(emitted_output);
        let mut evicted_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(evicted_output);
        let mut said_output = OutputBuilder::<_, CapacityContainerBuilder<Vec<_>>>::from(said_output);
        let mut notices_output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<Notice>>>::from(notices_output);
        let (width, tally, pressure) = (self.width, self.tally, self.pressure);

        builder.build(move |mut capabilities| {
            capabilities.truncate(3);
            let mut capabilities = Some(capabilities);
            let mut state = KeyedState::new(width, logic, limits, eager);
            let mut end = EventTime::MIN;
            let mut keys = 0;
            let none = CapabilitySet::new();

            move |frontiers| {
                rows.for_each(|_, batch| {
                    meter.accept(batch.origin().dictionary, batch.len());
                    state.accept(batch);
                });
                ends.for_each(|_, times| end = times.drain(..).fold(end, |end, (_, time)| end.max(time)));

                if let (Some(eager), Some([.., say_at])) = (&mut state.eager, capabilities.as_deref()) {
                    // At once: whoever reads it need not wait.
                    said_output.activate().session(say_at).give_iterator(eager.revisions());
                }

                // Go as far as the frontier allows; past the end only when every source worker has said where it is.
                let (limit, is_end) = match frontiers[0].frontier().first() {
                    // What leaves, leaves in whole milliseconds.
                    Some(frontier) => (frontier.floor_ms(), false),
                    None if frontiers[1].is_empty() => (end.floor_ms(), true),
                    None => (state.reached(), false),
                };
                let Some([emit_at, evict_at, say_at]) = capabilities.as_deref_mut() else { return };
                let mut evictions = Vec::new();
                let mut arrived = true;
                let wants = limit > state.reached() || is_end;
                let must_wait = wants && pressure.must_wait(&activator);
                let sight = state.sight.clone();
                if wants && !must_wait {
                    let _telling = tell_by(sight.clone());
                    let emitted = Cell::new(0);
                    let mut output = emitted_output.activate();
                    let mut session = output.session(emit_at);
                    let mut eager = state.eager.take();
                    let mut emit = |number, emission| {
                        emitted.set(emitted.get() + 1);
                        if let Some(eager) = &mut eager {
                            eager.confirm(number, &emission);
                        }
                        session.give(emission);
                    };
                    let mut out = Outputs { emit: &mut emit, evicted: &mut evictions, sight: &sight };
                    let (records, done) = state.advance(limit, &emitted, &mut out);
                    arrived = done;
                    tally.scored.add(records);
                    if is_end && arrived {
                        tally.scored.add(state.finish(end, &mut out));
                    }
                    if let Some(eager) = &mut eager {
                        let passed = if is_end && arrived { EventTime::MAX } else { state.reached() };
                        eager.pass(passed, &evictions, &state.logic, &state.groups);
                        said_output.activate().session(say_at).give_iterator(eager.revisions());
                    }
                    state.eager = eager;
                    state.prune(&evictions);
                }
                let behind = must_wait || !arrived;
                {
                    let mut output = notices_output.activate();
                    let mut session = output.session(&none);
                    meter.tell(state.waiting(), state.reached(), behind, &mut |notice| session.give(notice));
                }
                tally.evicted.add(evictions.len() as u64);
                tally.keys.add(state.groups.keys() as u64);
                tally.keys.subtract(std::mem::replace(&mut keys, state.groups.keys() as u64));
                evicted_output
                    .activate()
                    .session(evict_at)
                    .give_iterator(evictions.into_iter().map(|(_, event)| event));

                // Nothing before what was reached will be emitted any more.
                if is_end && arrived && !must_wait {
                    capabilities = None;
                } else if state.reached() > *emit_at.time() {
                    emit_at.downgrade(&state.reached());
                    evict_at.downgrade(&state.reached());
                    say_at.downgrade(&state.reached());
                }
                if !arrived {
                    // Others on this worker have their turn first, those downstream among them.
                    activator.activate();
                }
            }
        });
        KeyedStreams { emitted, evicted, provisional }
    }
}
