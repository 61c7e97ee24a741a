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
mod durable;
mod eager;
mod group;
#[cfg(test)]
pub(super) mod play;
mod sight;
mod state;
mod work;

use std::rc::Rc;

use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::StreamVec;
use timely::ExchangeData;

pub use buckets::{Buckets, PartitionNumber, Row, Run, Stretch};
use durable::Saver;
pub use durable::{Announced, Boundary, Durable, Restore, Take};
pub use eager::Eager;
use eager::Provisions;
use state::KeyedState;
use work::{Ports, Work};

use crate::event::{Emission, KeyEvent, Ranked, Revision};
use crate::flow::credits::Meter;
use crate::flow::ports::port_of;
use crate::flow::{by_key_group, Records};
use crate::record::KEY_GROUPS;
use crate::state::{Changes, StateError};
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
    /// What is to survive, at each boundary under its time: empty but for [`Keyed::keyed_durably`].
    pub changes: StreamVec<'scope, EventTime, Changes>,
    /// Never anything; its frontier is that of the records.
    pub passed: StreamVec<'scope, EventTime, ()>,
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

    /// As [`Keyed::keyed_within`], or with `eager` as [`Keyed::keyed_eagerly`], with state that survives: it is what `durable`
    /// gives back, and gives what changed at each boundary as the stream [`KeyedStreams::changes`].
    ///
    /// # Errors
    ///
    /// [`StateError`] if what is given back is no state of `logic`.
    fn keyed_durably<L>(
        self,
        limits: Limits,
        eager: Option<Eager>,
        durable: Durable<'scope>,
        logic: L,
    ) -> Result<KeyedStreams<'scope, L::Out>, StateError>
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
        KeyedState::new(self.width, logic, limits, None).over(self, None)
    }

    fn keyed_eagerly<L>(self, limits: Limits, eager: Eager, logic: L) -> KeyedStreams<'scope, L::Out>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone + Ranked>,
    {
        KeyedState::new(self.width, logic, limits, Some(Provisions::new(eager))).over(self, None)
    }

    fn keyed_durably<L>(
        self,
        limits: Limits,
        eager: Option<Eager>,
        durable: Durable<'scope>,
        logic: L,
    ) -> Result<KeyedStreams<'scope, L::Out>, StateError>
    where
        L: Logic<In = Record, Out: ExchangeData + Clone + Ranked>,
    {
        let mut state = KeyedState::new(self.width, logic, limits, eager.map(Provisions::new));
        state.restore(durable.boundary, durable.restore)?;
        Ok(state.over(self, Some(durable.boundaries)))
    }
}

impl<L: Logic<In = Record, Out: ExchangeData + Clone>> KeyedState<L> {
    /// An operator with this state over `records`.
    fn over<'scope>(
        self,
        records: Records<'scope>,
        boundaries: Option<StreamVec<'scope, EventTime, Announced>>,
    ) -> KeyedStreams<'scope, L::Out> {
        let scope = records.rows.scope();
        let mut builder = OperatorBuilder::new("Keyed".to_owned(), scope);
        let activator = Rc::new(scope.activator_for(builder.operator_info().address));
        let meter = Meter::new(scope.index(), scope.peers(), records.width, records.ahead);
        let mut rows = builder.new_input(records.rows, by_key_group());
        let mut ends =
            builder.new_input(records.ends, Exchange::new(|(worker, _): &(u64, EventTime)| *worker));
        // The ends say when timers stop; they must not hold time back.
        let (emitted_port, emitted) = port_of(0, &mut builder);
        let (evicted_port, evicted) = port_of(0, &mut builder);
        let (said_port, provisional) = port_of(0, &mut builder);
        // An operator whose inputs have ended is shut down: those who hear the notices must outlive the rows.
        let (notices_port, notices) = port_of(0, &mut builder);
        records.credits.consumer(notices);
        let (changes_port, changes) = port_of(0, &mut builder);
        // Nobody holds a capability for it, so nothing holds it back but the records themselves.
        let (_, passed) = port_of(0, &mut builder);
        let announced = Exchange::new(|(worker, _): &Announced| *worker);
        let mut boundaries =
            boundaries.map(|boundaries| builder.new_input_connection(boundaries, announced, []));
        let ports =
            Ports { emitted: emitted_port, evicted: evicted_port, said: said_port, notices: notices_port };
        let (tally, pressure) = (records.tally, records.pressure);

        builder.build(move |mut capabilities| {
            let changes_at = capabilities.swap_remove(4);
            capabilities.truncate(3);
            let saver = boundaries.is_some().then(|| Saver::new(changes_port, Some(changes_at)));
            let mut work = Work {
                state: self,
                meter,
                ports,
                capabilities: capabilities.try_into().ok(),
                saver,
                end: EventTime::MIN,
                tally,
                keys: 0,
                pressure,
                activator,
            };
            move |frontiers| {
                rows.for_each(|_, batch| work.accept(batch));
                ends.for_each(|_, times| {
                    work.end = times.drain(..).fold(work.end, |end, (_, time)| end.max(time))
                });
                if let (Some(boundaries), Some(saver)) = (&mut boundaries, &mut work.saver) {
                    let reached = work.state.reached();
                    boundaries.for_each(|_, announced| {
                        announced.drain(..).for_each(|(_, boundary)| saver.hear(boundary, reached));
                    });
                }
                let frontier = |input: usize| frontiers.get(input)?.frontier().first().copied();
                work.go_on(frontier(0), frontier(2), frontiers[1].is_empty());
            }
        });
        KeyedStreams { emitted, evicted, provisional, changes, passed }
    }
}
