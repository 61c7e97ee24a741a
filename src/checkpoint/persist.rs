//! From what changed in keyed state to a manifest.
//!
//! Each worker's *persist* operator has a task write what changed up to a boundary as one object, and reports the
//! object together with where the partitions are read again. It holds its capability at the boundary until then; so once the frontier
//! of the reports has passed a boundary, the first worker has all of them, and has a manifest of them written.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewatch_connectors::control::Rule;
use tidewatch_connectors::ingest::Position;
use tidewatch_connectors::task::{inbox, Inbox, Next, Task};
use tidewatch_connectors::{Control, Error, Kept};
use tidewatch_dataflows::flow::ports::port;
use tidewatch_dataflows::state::Changes;
use tidewatch_dataflows::EventTime;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::StreamVec;
use timely::scheduling::SyncActivator;

use super::keeper::{Archive, Keeper};
use super::ticker::Commits;
use super::ObjectRef;

/// What one worker has saved at a boundary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    boundary: EventTime,
    object: Option<ObjectRef>,
    positions: Vec<Position>,
}

/// What a worker's task is told.
enum Order {
    Save(Changes),
    /// All changes up to the boundary have been given.
    Seal(EventTime),
}

/// Has what changed written, at each boundary, and takes note of it in `commits`.
pub(crate) fn persist(changes: StreamVec<'_, EventTime, Changes>, keeper: &Keeper, commits: Rc<Commits>) {
    let reports = report(changes, keeper);
    commit(reports, keeper.clone(), commits);
}

fn report<'scope>(
    changes: StreamVec<'scope, EventTime, Changes>,
    keeper: &Keeper,
) -> StreamVec<'scope, EventTime, Report> {
    let scope = changes.scope();
    let mut builder = OperatorBuilder::new("Persist".to_owned(), scope);
    let address = builder.operator_info().address;
    let waker = scope.worker().sync_activator_for(address.to_vec());
    let positions = Control::positions(address[0]);
    let mut input = builder.new_input(changes, Pipeline);
    let (mut output, reports) = port(&mut builder);
    let archive = keeper.archive();
    builder.build(move |capabilities| {
        drop(capabilities);
        let control = Control::current();
        let (orders, saved) = start(archive, waker, &control);
        // Of each boundary that is being written, where partitions are read again, and what is held until it is.
        let mut writing = BTreeMap::<EventTime, (Capability<EventTime>, Option<Vec<Position>>)>::new();
        move |_frontiers| {
            input.for_each(|time, changes| {
                for changes in changes.drain(..) {
                    let boundary = changes.boundary;
                    let held = writing.entry(boundary);
                    let (_, read_again) = held.or_insert_with(|| (time.delayed(&boundary, 0), None));
                    let is_last = changes.is_last;
                    // A task that is gone has failed the run.
                    let _ = orders.send(Order::Save(changes));
                    if is_last {
                        *read_again = Some(positions.at(boundary));
                        let _ = orders.send(Order::Seal(boundary));
                    }
                }
            });
            for (boundary, object) in saved.try_iter() {
                let Some((held, Some(positions))) = writing.remove(&boundary) else { continue };
                output.activate().session(&held).give(Report { boundary, object, positions });
            }
        }
    });
    reports
}

type Saved = (EventTime, Option<ObjectRef>);

/// Starts what writes a worker's objects.
fn start(archive: Archive, waker: SyncActivator, control: &Control) -> (Sender<Order>, Receiver<Saved>) {
    let ((orders, inbox), (outbox, saved)) = (inbox(), channel());
    if let Err(error) = control.spawn("objects", Objects { archive, orders: inbox, outbox, waker }) {
        control.fail(error);
    }
    (orders, saved)
}

/// Writes a worker's objects.
struct Objects {
    archive: Archive,
    orders: Inbox<Order>,
    outbox: Sender<Saved>,
    waker: SyncActivator,
}

impl Task for Objects {
    fn step(&mut self, _now: Duration, _haste: bool) -> Result<Next, Error> {
        match self.orders.take_if(|_| true) {
            None => return Ok(self.orders.rest()),
            Some(Order::Save(changes)) => self.archive.save(changes),
            Some(Order::Seal(boundary)) => {
                let object = self.archive.seal(boundary)?;
                if self.outbox.send((boundary, object)).is_ok() {
                    // A worker that is gone waits for nothing.
                    let _ = self.waker.activate();
                }
            }
        }
        Ok(Next::Now)
    }

    fn wait(&mut self, limit: Duration) {
        self.orders.wait(limit);
    }
}

/// Has a manifest written of the reports of each boundary, once all workers have given theirs.
fn commit(reports: StreamVec<'_, EventTime, Report>, keeper: Keeper, commits: Rc<Commits>) {
    let scope = reports.scope();
    let peers = scope.peers();
    let mut builder = OperatorBuilder::new("Manifest".to_owned(), scope);
    let address = builder.operator_info().address;
    let waker = scope.worker().sync_activator_for(address.to_vec());
    let activator = scope.activator_for(address);
    let mut input = builder.new_input(reports, Exchange::new(|_: &Report| 0));
    builder.build(move |_capabilities| {
        let mut come = BTreeMap::<EventTime, Vec<Report>>::new();
        let mut writing = None::<(EventTime, Kept)>;
        let control = Control::current();
        move |frontiers| {
            input.for_each(|_, reports| {
                for report in reports.drain(..) {
                    come.entry(report.boundary).or_default().push(report);
                }
            });
            if let Some((boundary, _)) = writing.take_if(|(_, kept)| kept.is_kept()) {
                commits.newest.set(Some(boundary));
                control.checkpointed(boundary);
                if commits.last.get() == Some(boundary) {
                    control.saved();
                }
            }
            // Workers that have ended before they came to a boundary say nothing of it.
            come.retain(|boundary, reports| reports.len() == peers || frontiers[0].less_equal(boundary));
            let all = if control.obeys(Rule::CheckpointOfAllWorkers) { peers } else { 1 };
            let is_whole = |reports: &Vec<Report>| reports.len() >= all;
            while let Some(first) = come.first_entry().filter(|first| is_whole(first.get())) {
                let (boundary, reports) = first.remove_entry();
                let positions = reports.iter().flat_map(|report| report.positions.clone()).collect();
                let objects = reports.into_iter().filter_map(|report| report.object).collect();
                let kept = keeper.commit(boundary, positions, objects, control.is_savepoint());
                kept.wake(&waker);
                writing = Some((boundary, kept));
                activator.activate();
            }
        }
    });
}
