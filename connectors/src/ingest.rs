//! From a source to a stream of records.
//!
//! One operator owns, for every source, what event time needs: a capability per partition, its watermark, lateness,
//! future-dated and idle partitions (ARCHITECTURE.md, "Laws"). A reader and a decoder only say what a record is.
//!
//! A partition is owned by the worker that its name gives, whatever partitions there are besides; those of a local
//! source by the first worker.

mod feed;
mod gate;
mod idle;
mod input;
mod position;
mod quarantine;
mod rejected;
mod turns;

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewatch_dataflows::flow::credits::{Credits, Told};
use tidewatch_dataflows::flow::ports::port;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::record::{Dictionary, RowBatch};
use tidewatch_dataflows::{Event, EventTime};
use timely::container::NoopBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::vec::Filter;
use timely::dataflow::operators::{CapabilitySet, Concat};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;

use crate::{Control, Error};

use feed::{Feed, Rules};
use gate::{Allowance, Gate};
pub(crate) use idle::Table;
use idle::{Standing, Standings};
pub use input::Input;
pub(crate) use position::decoding;
pub use quarantine::Quarantine;
pub(crate) use quarantine::Quarantined;
pub use rejected::{Cause, Rejected};
pub use turns::Pace;
use turns::{Asking, Turns};

/// How long to wait for a watermark that nobody tells.
const LOOK: Duration = Duration::from_millis(20);

/// After how many bytes of rejected records those who keep them have their turn to say so.
const REJECTED: usize = 64 << 10;

/// The streams of an ingested source.
pub struct Ingested<'scope> {
    /// Records in time, on their way to keyed state.
    pub records: Records<'scope>,
    /// Records behind their partition's watermark, under the watermark.
    pub late: StreamVec<'scope, EventTime, Rejected>,
    /// What is not a record that the format knows, or is dated in the future, under the watermark.
    pub malformed: StreamVec<'scope, EventTime, Rejected>,
}

impl Ingested<'_> {
    /// The streams of both sources, which have the same schema.
    ///
    /// # Panics
    ///
    /// If their records do not have equally many values.
    pub fn concat(self, other: Self) -> Self {
        Self {
            records: self.records.concat(other.records),
            late: self.late.concat(other.late),
            malformed: self.malformed.concat(other.malformed),
        }
    }
}

impl Input {
    /// Reads the source into a dataflow, each worker the partitions that it owns.
    ///
    /// A source that cannot be read, or that has the name of another one of the dataflow, ends the run with an error.
    pub fn ingest<'scope>(&self, scope: Scope<'scope, EventTime>) -> Ingested<'scope> {
        let (index, peers) = (scope.index(), scope.peers());
        let control = Control::current();
        let ingest = Control::next_ingest();
        let mut builder = OperatorBuilder::new("Ingest".to_owned(), scope);
        let address = builder.operator_info().address;
        // One for each ingest operator of each worker.
        let dictionary = (builder.operator_info().global_id * peers + index) as u32;
        let activator = Rc::new(scope.activator_for(address.clone()));
        let waker = || scope.worker().sync_activator_for(address.to_vec());

        let (rows_output, rows) = builder.new_output();
        let (mut rejected_output, rejected) = port::<Rejected>(&mut builder);
        let (mut ends_output, ends) = port::<(u64, EventTime)>(&mut builder);
        let (mut standings_output, standings) = port::<Standing>(&mut builder);
        let mut rows_output = OutputBuilder::<_, NoopBuilder<RowBatch>>::from(rows_output);
        // What other workers say of their partitions; connected to no output, so that it cannot hold time back.
        let to_worker = Exchange::new(|standing: &Standing| standing.to);
        let mut standings_input = builder.new_input_connection(standings, to_worker, []);
        builder.set_notify_for(0, FrontierInterest::Never);
        // Neither can what the consumers say.
        let (credits, told, consumers) = Credits::line(scope);
        let mut told_input = builder.new_input_connection(told, Pipeline, []);
        builder.set_notify_for(1, FrontierInterest::Never);
        let turn = self.pace.turn(peers);
        let mut gate = Gate::new(dictionary, self.schema.values.len(), turn, consumers, peers, self.ahead);
        let pressure = Control::pressure();

        let open = |partition| Feed::open(self, partition, waker());
        let opened: Result<Vec<Feed>, Error> = self
            .partitions(index, peers, ingest)
            .and_then(|partitions| partitions.into_iter().map(open).collect());
        let mut feeds = opened.unwrap_or_else(|error| {
            control.fail(error);
            Vec::new()
        });
        let rules = Rules::new(self, dictionary, control.clone());
        let (idle, journal) = (self.idle, self.journal.clone());
        let mut asking = Asking::new(self.source.patience(), idle);
        let mut turns = Turns::new(self.pace);
        let table = Control::standings(address[0]);
        if !table.add(&self.name) {
            // Their partitions could have the same names, and be told apart by nothing.
            let name = &self.name;
            control.fail(Error::Configuration(format!(
                "two sources of a dataflow are called \"{name}\": call one something else, with .named(…)"
            )));
        }
        let mut standings = Standings::new(ingest, index, peers, table, idle.is_some());

        // An interruption may come before the first turn.
        control.hold(index, ingest, Some(EventTime::MIN));
        builder.build(move |mut capabilities| {
            capabilities.truncate(3);
            let mut ends_at = capabilities.pop();
            let (rejected_at, rows_at) = (capabilities.pop(), capabilities.pop());
            for feed in &mut feeds {
                feed.hold(rows_at.clone().zip(rejected_at.clone()));
            }
            drop((rows_at, rejected_at));
            let mut dictionary = Dictionary::with_generation(turns.pace.dictionary);
            let mut batch = RowBatch::default();
            let mut rejections = Vec::new();
            let mut end = EventTime::MIN;

            move |_frontiers| {
                standings_input
                    .for_each(|_, heard| heard.drain(..).for_each(|standing| standings.hear(standing)));
                told_input
                    .for_each(|_, told: &mut Vec<Told>| told.drain(..).for_each(|told| gate.hear(told)));
                if control.interrupted() || control.failed() {
                    return;
                }

                // Read where the watermark is lowest, so that the frontier moves; a few turns, then others work.
                let asked = asking.is_due(Instant::now());
                if asked {
                    feeds.iter_mut().for_each(Feed::retry);
                }
                let mut turns_left = 4;
                let mut allowance = match pressure.must_wait(&activator) {
                    true => Allowance::Nothing,
                    false => gate.allows(&control),
                };
                while let Some(at) = turns.next(&feeds, allowance).filter(|_| turns_left > 0) {
                    let feed = &mut feeds[at];
                    if let Allowance::Holders { over: Some(over), .. } = allowance {
                        return control.fail(feed.holds_too_much(over));
                    }
                    match feed.read(&rules, turn, &mut dictionary, &mut batch, &mut rejections) {
                        // A partition that had nothing costs no turn, but one on a long skip does.
                        Ok(0) if !feed.is_ready() => {}
                        Ok(_) => turns_left -= 1,
                        Err(error) => return control.fail(error),
                    }
                    let Some((rows_at, rejected_at)) = feed.capabilities() else { continue };
                    if !batch.is_empty() {
                        gate.send(batch.len());
                        rows_output.activate().session_with_builder(rows_at).give_container(&mut batch);
                    }
                    if rejections.iter().map(Event::weight).sum::<usize>() > REJECTED {
                        turns_left = 0;
                    }
                    rejected_output.activate().session(rejected_at).give_iterator(rejections.drain(..));
                    if feed.settle() {
                        end = end.max(feed.watermark());
                        standings.outlive(feed);
                        feeds.swap_remove(at);
                    }
                    allowance = gate.allows(&control);
                }
                // Who is not asked is not silent.
                feeds.iter_mut().filter(|feed| !feed.may_be_read(allowance)).for_each(Feed::excuse);

                // A partition that has been silent for long must not hold the others back; it was asked just now.
                // The end of the last one is told at once, because nothing comes after it.
                if standings.are_wanted() && (asked || feeds.is_empty()) {
                    standings.look(&feeds, Instant::now(), idle);
                    if let Err(error) = standings.decide(&mut feeds, journal.as_ref()) {
                        return control.fail(error);
                    }
                    let mut output = standings_output.activate();
                    output.session(&CapabilitySet::new()).give_iterator(standings.tell());
                }

                control.hold(index, ingest, feeds.iter().map(|feed| feed.watermark().floor_ms()).min());
                if feeds.is_empty() {
                    if let Some(ends_at) = ends_at.take() {
                        let all = (0..peers as u64).map(|worker| (worker, end));
                        ends_output.activate().session(&ends_at).give_iterator(all);
                    }
                } else if feeds.iter().any(|feed| feed.may_be_read(allowance)) {
                    activator.activate();
                } else if gate.is_held_by_rejected(&control) {
                    activator.activate_after(LOOK);
                } else if let Some(wait) = asking.wait(Instant::now()) {
                    activator.activate_after(wait);
                }
            }
        });

        let tally = Control::current().tally().clone();
        Ingested {
            records: Records {
                rows,
                ends,
                width: self.schema.values.len(),
                ahead: self.ahead,
                tally,
                credits,
                pressure: Control::pressure(),
            },
            late: rejected.clone().filter(|rejected| rejected.cause == Cause::Late),
            malformed: rejected.filter(|rejected| rejected.cause == Cause::Malformed),
        }
    }
}
