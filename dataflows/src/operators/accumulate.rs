//! Revisions as a differential collection.

use differential_dataflow::{AsCollection, VecCollection};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::StreamVec;
use timely::ExchangeData;

use crate::event::Revision;
use crate::{Emission, EventTime};

/// Extension trait for adding up what is said before it is final.
///
/// A differential operator is given what is said as updates: taken away what is no longer said, added what is said now.
pub trait Accumulate<'scope, O> {
    /// Replaces revisions by updates at their event times.
    ///
    /// Up to the frontier, the collection is that of the final emissions, each at its event time; so what is computed from
    /// it is final too, and the same in every run.
    fn accumulate(self) -> VecCollection<'scope, EventTime, Emission<O>>;

    /// Replaces revisions by updates at the times under which they came.
    ///
    /// The collection is what is said, also of times that the frontier has not passed, as it changes while the frontier
    /// moves. So what is computed from it holds a moment after a record has arrived; it depends on when that was.
    fn accumulate_as_said(self) -> VecCollection<'scope, EventTime, Emission<O>>;
}

impl<'scope, O: ExchangeData + Clone> Accumulate<'scope, O> for StreamVec<'scope, EventTime, Revision<O>> {
    fn accumulate(self) -> VecCollection<'scope, EventTime, Emission<O>> {
        self.flat_map(Revision::updates).as_collection()
    }

    fn accumulate_as_said(self) -> VecCollection<'scope, EventTime, Emission<O>> {
        type Updates<O> = CapacityContainerBuilder<Vec<(Emission<O>, EventTime, isize)>>;
        let updates = self.unary::<Updates<O>, _, _, _>(Pipeline, "AccumulateAsSaid", |_, _| {
            |input, output| {
                input.for_each_stamp(|stamp, batches| {
                    let Some(capability) = stamp.retain_least(0) else { return };
                    let time = *capability.time();
                    let updates = batches.flat_map(|batch| batch.drain(..)).flat_map(Revision::updates);
                    let mut session = output.session(&capability);
                    session.give_iterator(updates.map(|(emission, _, diff)| (emission, time, diff)));
                });
            }
        });
        updates.as_collection()
    }
}
