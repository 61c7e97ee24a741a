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
mod resume;
mod taking;
mod turns;
mod work;

use std::rc::Rc;

use tidewatch_dataflows::flow::credits::{Credits, Told};
use tidewatch_dataflows::flow::ports::port;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::record::{Dictionary, RowBatch};
use tidewatch_dataflows::EventTime;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::vec::Filter;
use timely::dataflow::operators::Concat;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::operate::FrontierInterest;

use crate::control::Rule;
use crate::{Control, Error};

use feed::Feed;
use gate::Gate;
pub(crate) use idle::Table;
use idle::{Standing, Standings};
pub use input::Input;
pub(crate) use position::decoding;
pub use quarantine::Quarantine;
pub(crate) use quarantine::Quarantined;
pub use rejected::{Cause, Rejected};
pub use resume::{Position, Positions, Resume};
use taking::Rules;
pub use turns::Pace;
use turns::{Asking, Turns};
use work::{Ports, Work};

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
        let waker = || scope.worker().sync_activator_for(address.to_vec());

        let (rows_port, rows) = builder.new_output();
        let (rejected_port, rejected) = port(&mut builder);
        let (ends_port, ends) = port(&mut builder);
        let (standings_port, standings) = port(&mut builder);
        // What other workers say of their partitions; connected to no output, so that it cannot hold time back.
        let to_worker = Exchange::new(|standing: &Standing| standing.to);
        let mut standings_input = builder.new_input_connection(standings, to_worker, []);
        builder.set_notify_for(0, FrontierInterest::Never);
        // Neither can what the consumers say.
        let (credits, told, consumers) = Credits::line(scope);
        let mut told_input = builder.new_input_connection(told, Pipeline, []);
        builder.set_notify_for(1, FrontierInterest::Never);

        let positions = self.resume.is_some().then(|| Control::positions(address[0]));
        let open = |partition| Feed::open(self, partition, waker(), positions.as_ref());
        let opened: Result<Vec<Feed>, Error> = self
            .partitions(index, peers, ingest)
            .and_then(|partitions| partitions.into_iter().map(open).collect());
        let feeds = opened.unwrap_or_else(|error| {
            control.fail(error);
            Vec::new()
        });
        let table = Control::standings(address[0]);
        if !table.add(&self.name) {
            // Their partitions could have the same names, and be told apart by nothing.
            let name = &self.name;
            control.fail(Error::Configuration(format!(
                "two sources of a dataflow are called \"{name}\": call one something else, with .named(…)"
            )));
        }
        let (width, turns) = (self.schema.values.len(), Turns::new(self.pace, peers));
        let mut work = Work {
            index,
            peers,
            ingest,
            waker: waker(),
            activator: Rc::new(scope.activator_for(address.clone())),
            ports: Ports {
                rows: OutputBuilder::from(rows_port),
                rejected: rejected_port,
                ends: ends_port,
                standings: standings_port,
            },
            rules: Rules::new(self, dictionary, control.clone()),
            feeds,
            dictionary: Dictionary::with_generation(self.pace.dictionary),
            batch: RowBatch::default(),
            rejections: Vec::new(),
            gate: Gate::new(dictionary, width, turns.records(), consumers, peers, self.ahead),
            turns,
            asking: Asking::new(self.source.patience(), self.idle),
            pressure: Control::pressure(),
            standings: Standings::new(ingest, index, peers, table, self.idle.is_some()),
            floor: { self.resume.as_ref() }
                .filter(|_| control.obeys(Rule::NoSilenceBelowFloor))
                .map_or(EventTime::MIN, |resume| resume.floor),
            idle: self.idle,
            journal: self.journal.clone(),
            end: EventTime::MIN,
            ends_at: None,
            control,
        };
        let (tally, pressure) = (work.control.tally().clone(), work.pressure.clone());
        // An interruption may come before the first turn.
        work.control.hold(index, ingest, Some(EventTime::MIN));
        builder.build(move |mut capabilities| {
            capabilities.truncate(3);
            work.ends_at = capabilities.pop();
            let (rejected_at, rows_at) = (capabilities.pop(), capabilities.pop());
            work.feeds.iter_mut().for_each(|feed| feed.hold(rows_at.clone().zip(rejected_at.clone())));

            move |_frontiers| {
                standings_input.for_each(|_, heard| heard.drain(..).for_each(|one| work.standings.hear(one)));
                told_input
                    .for_each(|_, told: &mut Vec<Told>| told.drain(..).for_each(|one| work.gate.hear(one)));
                if work.control.interrupted() || work.control.failed() {
                    return;
                }
                if let Err(error) = work.go_on() {
                    work.control.fail(error);
                }
            }
        });

        Ingested {
            records: Records { rows, ends, width, ahead: self.ahead, tally, credits, pressure },
            late: rejected.clone().filter(|rejected| rejected.cause == Cause::Late),
            malformed: rejected.filter(|rejected| rejected.cause == Cause::Malformed),
        }
    }
}
