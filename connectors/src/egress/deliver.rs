//! What all ways from a stream to a sink have in common.

use std::collections::BTreeMap;

use tidewatch_dataflows::flow::ports::port;
use tidewatch_dataflows::flow::Pressure;
use tidewatch_dataflows::EventTime;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{CapabilitySet, Probe};
use timely::dataflow::StreamVec;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::SyncActivator;
use timely::ExchangeData;

use crate::{Control, Error, Progress, Shard};

/// What happens to events on the worker of their shard.
pub(super) trait Delivery<E> {
    /// Takes events that have come.
    fn take(&mut self, shard: u32, events: &mut Vec<E>);

    /// Takes note of the frontier of what comes. Called whenever something has come or the frontier has moved.
    fn reach(&mut self, frontier: Progress) -> Result<(), Error>;

    /// How far events are where they should be.
    fn written(&self) -> Progress;

    /// Whether it has so much to write that nobody should send it more.
    fn is_behind(&self) -> bool {
        false
    }
}

/// Events with their shard and the worker that sent them.
type Sent<E> = (u32, u64, Vec<E>);
/// A worker, and how many of its events were taken.
type Taken = (u64, u64);

/// Brings events to the workers of their shards, `hash` modulo `shards`, and tells who has sent them that they were
/// taken; `keep` sees what is sent. `make` is told how to have the operator look again.
pub(super) fn deliver<E: ExchangeData, D: Delivery<E> + 'static>(
    events: StreamVec<'_, EventTime, E>,
    name: &str,
    shards: u32,
    hash: impl Fn(&E) -> u64 + 'static,
    keep: impl Fn(&[E]) + 'static,
    make: impl FnOnce(SyncActivator) -> D,
) {
    let control = Control::current();
    let (scope, pressure) = (events.scope(), Control::pressure());
    let sent = sent(events, shards, hash, pressure.clone(), keep);
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let address = builder.operator_info().address;
    let peers = scope.peers();
    let to_worker = Exchange::new(move |(shard, ..): &Sent<E>| Shard(*shard).worker(peers) as u64);
    let mut input = builder.new_input(sent, to_worker);
    let (_, written) = builder.new_output::<Vec<()>>();
    // Connected to the events, so that whoever hears of them is there as long as they are.
    let (mut taken_output, taken) = port(&mut builder);
    let mut delivery = make(scope.worker().sync_activator_for(address.to_vec()));
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        let (mut reached, mut owed) = (Progress::START, BTreeMap::<u64, u64>::new());
        let none = CapabilitySet::new();

        move |frontiers| {
            let mut come = false;
            input.for_each(|_, sent| {
                for (shard, worker, mut events) in sent.drain(..) {
                    *owed.entry(worker).or_default() += events.len() as u64;
                    delivery.take(shard, &mut events);
                    come = true;
                }
            });
            let frontier = match frontiers[0].frontier().first() {
                None => Progress::End,
                Some(limit) => Progress::Below(*limit),
            };
            if come || frontier > reached {
                reached = frontier;
                if !control.failed() {
                    if let Err(error) = delivery.reach(frontier) {
                        control.fail(error);
                    }
                }
            }
            // Nobody who has ended waits for being told.
            if !delivery.is_behind() || reached == Progress::End {
                let mut output = taken_output.activate();
                let mut session = output.session(&none);
                std::mem::take(&mut owed).into_iter().for_each(|taken| session.give(taken));
            }
            // Only what is written may be passed by a probe; in a failed run nobody asks.
            match (delivery.written(), &mut capabilities) {
                (_, held) if control.failed() => *held = None,
                (Progress::End, held) => *held = None,
                (Progress::Below(limit), Some(held)) if limit > *held[0].time() => held[0].downgrade(&limit),
                _ => {}
            }
        }
    });
    take(taken, pressure);
    let (probe, _) = written.probe();
    Control::await_probe(probe);
}

/// Says who sends each batch, divides it by shards, shows it to `keep`, and counts it as under way.
fn sent<'scope, E: ExchangeData>(
    events: StreamVec<'scope, EventTime, E>,
    shards: u32,
    hash: impl Fn(&E) -> u64 + 'static,
    pressure: Pressure,
    keep: impl Fn(&[E]) + 'static,
) -> StreamVec<'scope, EventTime, Sent<E>> {
    let worker = events.scope().index() as u64;
    let mut divided: Vec<Vec<E>> = (0..shards).map(|_| Vec::new()).collect();
    events.unary::<CapacityContainerBuilder<Vec<_>>, _, _, _>(Pipeline, "Sent", move |_capability, _info| {
        move |input, output| {
            input.for_each(|time, events| {
                pressure.send(events.len() as u64);
                keep(events);
                match &mut divided[..] {
                    [all] => std::mem::swap(all, events),
                    divided => {
                        for event in events.drain(..) {
                            divided[(hash(&event) % u64::from(shards)) as usize].push(event);
                        }
                    }
                }
                let mut session = output.session(&time);
                for (shard, events) in (0..).zip(&mut divided).filter(|(_, events)| !events.is_empty()) {
                    session.give((shard, worker, std::mem::take(events)));
                }
            });
        }
    })
}

/// Tells each worker what was taken of its events.
fn take(taken: StreamVec<'_, EventTime, Taken>, pressure: Pressure) {
    let mut builder = OperatorBuilder::new("Taken".to_owned(), taken.scope());
    let mut input = builder.new_input(taken, Exchange::new(|(worker, _): &Taken| *worker));
    builder.set_notify_for(0, FrontierInterest::Never);
    builder.build(move |_capabilities| {
        move |_frontiers| {
            input.for_each(|_, taken| taken.drain(..).for_each(|(_, events)| pressure.take(events)));
        }
    });
}
