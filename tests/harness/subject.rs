//! What can be attacked: a pipeline file, a logic, a dataflow.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use tidewatch::cluster::{self, Cluster, Outcome};
use tidewatch::config::{self, SinkFormat, Stream};
use tidewatch::job::Job;
use tidewatch::mesh::{Member, Secret};
use tidewatch::registry::{Registry, SourceInfo};
use tidewatch::Error;
use tidewatch_connectors::egress::{Announce, Egress, Output as Sinking};
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch_connectors::{Control, Ingested, Input, Schema};
use tidewatch_dataflows::event::Revision;
use tidewatch_dataflows::logic::AnyState;
use tidewatch_dataflows::operators::{Keyed, KeyedStreams, Limits};
use tidewatch_dataflows::{Emission, Event, EventTime, Logic, Record};
use timely::dataflow::StreamVec;
use timely::worker::Worker;

use super::{Captured, Feed, Output, Setting, Snapshotting};

pub(super) trait Subject: Send + Sync {
    /// Runs it once.
    fn run(&self, feed: &Feed, setting: &Setting) -> Result<Captured, Error>;
}

/// A sink for each stream.
#[derive(Clone, Default)]
struct Sinks(BTreeMap<&'static str, MemorySink>);

impl Sinks {
    fn new(streams: &[&'static str]) -> Self {
        Self(streams.iter().map(|name| (*name, MemorySink::default())).collect())
    }

    fn take<E: Event>(&self, name: &str, schema: &Schema, stream: StreamVec<'_, EventTime, E>) {
        stream.egress(Sinking::json(self.0[name].clone(), schema.clone()));
    }

    fn announce<O: Output>(
        &self,
        name: &str,
        schema: &Schema,
        stream: StreamVec<'_, EventTime, Revision<O>>,
    ) {
        stream.announce(Sinking::json(self.0[name].clone(), schema.clone()));
    }

    fn captured(&self) -> Captured {
        self.0.iter().map(|(name, sink)| (*name, sink.payloads())).collect()
    }
}

fn memory(feed: &Feed) -> Memory {
    let memory = Memory::new(feed.partitions.clone());
    match &feed.header {
        Some(header) => memory.header(header.as_str()),
        None => memory,
    }
}

pub(super) struct Pipeline {
    text: String,
    registry: Registry,
}

impl Pipeline {
    pub(super) fn new(text: &str, registry: Registry) -> Self {
        Self { text: text.to_owned(), registry }
    }

    fn job(&self, feed: &Feed) -> Result<Job, Error> {
        let mut registry = self.registry.clone();
        let first = feed.partitions.iter().find_map(|(_, records)| records.first());
        let source = Arc::new(memory(feed));
        registry.sources.add(SourceInfo {
            name: "memory",
            parameters: vec![],
            rows: matches!(first, Some(MemoryRecord::Row { .. })),
            envelopes: false,
            append_times: false,
            falls_silent: |_| false,
            construct: Arc::new(move |_, _| Ok(source.clone())),
        });
        let environment = |name: &str| std::env::var(name).ok();
        Job::new(config::parse("attacked.toml", &self.text, &environment, &registry)?, &registry)
    }
}

/// The anomalies come first.
const STREAMS: [(&str, Stream); 6] = [
    ("anomalies", Stream::Anomalies),
    ("verdicts", Stream::Verdicts),
    ("alerts", Stream::Alerts),
    ("late", Stream::Late),
    ("dead_letters", Stream::DeadLetters),
    ("evictions", Stream::Evictions),
];

const PROVISIONAL: [(&str, Stream); 2] =
    [("provisional", Stream::Provisional), ("provisional_alerts", Stream::ProvisionalAlerts)];

impl Subject for Pipeline {
    fn run(&self, feed: &Feed, setting: &Setting) -> Result<Captured, Error> {
        let mut job = self.job(feed)?.at_pace(setting.pace);
        if setting.snapshotting {
            // Erased twice instead of once.
            let overhead = size_of::<AnyState>();
            job = job.within(Arc::new(move |logic| Snapshotting { logic, overhead }.erased()));
        }
        if let Some(eager) = setting.eager {
            job = job.eager(eager);
        }
        let streams = STREAMS.into_iter().take(if setting.alone { 1 } else { STREAMS.len() });
        let grouped = job.file().alerts.is_some() && !setting.alone;
        let streams = streams.chain(grouped.then_some(("incidents", Stream::Incidents)));
        let muted = job.file().mutes.is_some() && !setting.alone;
        let streams = streams.chain(muted.then_some(("muted", Stream::Muted)));
        let eager = setting.eager.is_some();
        let raised = (grouped && eager).then_some(("provisional_incidents", Stream::ProvisionalIncidents));
        let streams: Vec<_> =
            streams.chain(PROVISIONAL.into_iter().filter(|_| eager)).chain(raised).collect();
        let sinks = Sinks::new(&streams.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let outputs = {
            let (job, sinks) = (job.clone(), sinks.clone());
            move || {
                let output = |(name, stream): (&str, Stream)| {
                    let sink = sinks.0[name].clone();
                    (stream, job.encoded(stream, move || Ok(Box::new(sink)), SinkFormat::Json))
                };
                streams.iter().copied().map(output).collect()
            }
        };
        let outputs = Arc::new(outputs);
        on_cluster(setting.processes, setting.workers, |cluster| {
            feed.tape.job(&job, &cluster)?.run(cluster, &Control::default(), outputs.clone())
        })?;
        Ok(sinks.captured())
    }
}

/// Runs something on each process of a cluster: threads here, but with the connections that processes have.
pub(crate) fn on_cluster(
    processes: usize,
    workers: u16,
    run: impl Fn(Cluster) -> Result<Outcome, Error> + Sync,
) -> Result<(), Error> {
    if processes == 1 {
        return run(Cluster::threads(workers)).map(drop);
    }
    let secret = Secret::random()?;
    let listeners: Vec<_> =
        (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect();
    let address = |listener: &TcpListener| listener.local_addr().expect("it is bound").to_string();
    let addresses: Vec<_> = listeners.iter().map(address).collect();
    let run = &run;
    std::thread::scope(|scope| {
        let start = |(index, listener)| {
            let member = Member::new(index, addresses.clone(), secret.clone()).listening(listener);
            let cluster = Cluster::process(workers, member);
            scope.spawn(move || run(cluster).map(drop))
        };
        let threads: Vec<_> = listeners.into_iter().enumerate().map(start).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })
}

/// Runs a dataflow over the records of `feed`.
fn run(
    feed: &Feed,
    setting: &Setting,
    streams: &[&'static str],
    build: impl for<'s> Fn(Ingested<'s>, &Sinks, &Schema) + Send + Sync + 'static,
) -> Result<Captured, Error> {
    let width = feed.partitions.iter().flat_map(|(_, records)| records).find_map(|record| match record {
        MemoryRecord::Row { values, .. } => Some(values.len()),
        MemoryRecord::Raw { .. } => None,
    });
    let schema = Schema::new(["key"], (0..width.unwrap_or(1)).map(|index| format!("value{index}")));
    let input = Input::of_rows(memory(feed), schema.clone()).lateness(feed.lateness).pace(setting.pace);
    let sinks = Sinks::new(streams);
    let shared = sinks.clone();
    let build = Arc::new(move |worker: &mut Worker, input: &Input| {
        worker.dataflow::<EventTime, _, _>(|scope| build(input.ingest(scope), &shared, &schema));
        Ok(())
    });
    on_cluster(setting.processes, setting.workers, |cluster| {
        let (build, input) = (Arc::clone(&build), feed.tape.input(&input, &cluster)?);
        cluster::run(cluster, &Control::default(), move |worker| build(worker, &input))
    })?;
    Ok(sinks.captured())
}

pub(super) struct OfLogic<F> {
    pub(super) make: Arc<F>,
    pub(super) limits: Limits,
}

impl<L, F> Subject for OfLogic<F>
where
    L: Logic<In = Record, Out: Output>,
    F: Fn() -> L + Send + Sync + 'static,
{
    fn run(&self, feed: &Feed, setting: &Setting) -> Result<Captured, Error> {
        let (make, limits, snapshotting) = (self.make.clone(), self.limits, setting.snapshotting);
        let eager = setting.eager;
        let streams = ["emitted", "evictions", "late"].into_iter().chain(eager.map(|_| "provisional"));
        run(feed, setting, &streams.collect::<Vec<_>>(), move |ingested, sinks, schema| {
            let (logic, records) = (make(), ingested.records);
            let KeyedStreams { emitted, evicted, provisional, .. } = match (snapshotting, eager) {
                (true, _) => records.keyed_within(limits, Snapshotting { logic, overhead: 0 }),
                (false, Some(eager)) => records.keyed_eagerly(limits, eager, logic),
                (false, None) => records.keyed_within(limits, logic),
            };
            if eager.is_some() {
                sinks.announce("provisional", schema, provisional);
            }
            sinks.take("emitted", schema, emitted);
            sinks.take("evictions", schema, evicted);
            sinks.take("late", schema, ingested.late);
        })
    }
}

pub(super) struct Dataflow<F>(pub(super) Arc<F>);

impl<O, F> Subject for Dataflow<F>
where
    O: Output,
    F: for<'s> Fn(Ingested<'s>) -> StreamVec<'s, EventTime, Emission<O>> + Send + Sync + 'static,
{
    fn run(&self, feed: &Feed, setting: &Setting) -> Result<Captured, Error> {
        let build = self.0.clone();
        run(feed, setting, &["emitted"], move |ingested, sinks, schema| {
            sinks.take("emitted", schema, build(ingested));
        })
    }
}
