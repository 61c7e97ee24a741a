//! Outputs of operators that are built by hand.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::progress::Antichain;
use timely::Container;

use crate::EventTime;

/// An output of single items.
pub type Port<D> = OutputBuilder<EventTime, CapacityContainerBuilder<Vec<D>>>;

/// Adds an output to an operator, at the times of all its inputs.
pub fn port<'scope, D>(
    builder: &mut OperatorBuilder<'scope, EventTime>,
) -> (Port<D>, StreamVec<'scope, EventTime, D>)
where
    Vec<D>: Container,
{
    let (output, stream) = builder.new_output();
    (OutputBuilder::from(output), stream)
}

/// Lets go of the times before `reached`, for some outputs of an operator; at last of all, because nothing follows.
pub fn downgrade<const N: usize>(
    held: &mut Option<[Capability<EventTime>; N]>,
    reached: EventTime,
    is_last: bool,
) {
    match held {
        Some(_) if is_last => *held = None,
        Some(held) => {
            held.iter_mut()
                .filter(|capability| reached > *capability.time())
                .for_each(|capability| capability.downgrade(&reached));
        }
        None => {}
    }
}

/// Adds an output to an operator, at the times of one of its inputs.
pub fn port_of<'scope, D>(
    input: usize,
    builder: &mut OperatorBuilder<'scope, EventTime>,
) -> (Port<D>, StreamVec<'scope, EventTime, D>)
where
    Vec<D>: Container,
{
    let as_it_is = Antichain::from_elem(Default::default());
    let (output, stream) = builder.new_output_connection([(input, as_it_is)]);
    (OutputBuilder::from(output), stream)
}
