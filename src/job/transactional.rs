//! The sinks of a job whose output becomes visible in transactions.

use std::sync::Arc;

use tidewatch_connectors::egress::{Commit, Committer, Egress, Output, Shards};
use tidewatch_connectors::format::{CsvEncoder, Encoder, JsonEncoder, TableEncoder};
use tidewatch_connectors::ingest::Rejected;
use tidewatch_connectors::store::within;
use tidewatch_connectors::{Schema, Store, TransactionalSink};
use tidewatch_dataflows::alerts::{Alert, Incident, Muted};
use tidewatch_dataflows::logic::Verdict;
use tidewatch_dataflows::params::Value;
use tidewatch_dataflows::{Emission, EventTime, KeyEvent};
use timely::dataflow::StreamVec;
use xxhash_rust::xxh3::xxh3_64;

use super::Job;
use crate::config::{PipelineFile, SinkFormat, SinkSpec, Stream};
use crate::registry::{SinkContext, Transactional};
use crate::Error;

const WITH_MUTES: &str = "a sink of muted alerts is refused without [mutes]";
const WITH_ALERTS: &str = "a sink of incidents is refused without [alerts]";

/// What a pipeline has found out, for good.
pub(super) struct Results<'scope> {
    pub(super) anomalies: StreamVec<'scope, EventTime, Emission<Verdict>>,
    pub(super) verdicts: StreamVec<'scope, EventTime, Emission<Verdict>>,
    pub(super) alerts: StreamVec<'scope, EventTime, Emission<Alert>>,
    /// If any may be muted.
    pub(super) muted: Option<StreamVec<'scope, EventTime, Emission<Muted>>>,
    /// If alerts are grouped.
    pub(super) incidents: Option<StreamVec<'scope, EventTime, Emission<Incident>>>,
    pub(super) late: StreamVec<'scope, EventTime, Rejected>,
    pub(super) malformed: StreamVec<'scope, EventTime, Rejected>,
    pub(super) evicted: StreamVec<'scope, EventTime, KeyEvent>,
}

impl Results<'_> {
    /// Writes a stream to a sink.
    pub(super) fn egress(&self, stream: Stream, output: Output) {
        match stream {
            Stream::Anomalies => self.anomalies.clone().egress(output),
            Stream::Verdicts => self.verdicts.clone().egress(output),
            Stream::Alerts => self.alerts.clone().egress(output),
            Stream::Muted => self.muted.clone().expect(WITH_MUTES).egress(output),
            Stream::Incidents => self.incidents.clone().expect(WITH_ALERTS).egress(output),
            Stream::Late => self.late.clone().egress(output),
            Stream::DeadLetters => self.malformed.clone().egress(output),
            Stream::Evictions => self.evicted.clone().egress(output),
            Stream::Provisional | Stream::ProvisionalAlerts | Stream::ProvisionalIncidents => {
                unreachable!("what is provisional is no result")
            }
        }
    }

    /// Writes a stream to a sink in transactions.
    fn commit(&self, stream: Stream, committer: &Committer, format: SinkFormat, schema: &Schema) {
        match format {
            SinkFormat::Json => self.commit_as(stream, committer, JsonEncoder::new(schema.clone())),
            SinkFormat::Csv => self.commit_as(stream, committer, CsvEncoder::new(schema.clone())),
            SinkFormat::Table => self.commit_as(stream, committer, TableEncoder::new(schema.clone())),
        }
    }

    fn commit_as(&self, stream: Stream, committer: &Committer, encoder: impl Encoder + Clone + 'static) {
        match stream {
            Stream::Anomalies => self.anomalies.clone().commit(committer, encoder),
            Stream::Verdicts => self.verdicts.clone().commit(committer, encoder),
            Stream::Alerts => self.alerts.clone().commit(committer, encoder),
            Stream::Muted => self.muted.clone().expect(WITH_MUTES).commit(committer, encoder),
            Stream::Incidents => self.incidents.clone().expect(WITH_ALERTS).commit(committer, encoder),
            Stream::Late => self.late.clone().commit(committer, encoder),
            Stream::DeadLetters => self.malformed.clone().commit(committer, encoder),
            Stream::Evictions => self.evicted.clone().commit(committer, encoder),
            Stream::Provisional | Stream::ProvisionalAlerts | Stream::ProvisionalIncidents => {
                unreachable!("what is provisional is in no transaction")
            }
        }
    }
}

/// The sinks of a job in transactions: for each those of its tables that share them.
pub(super) struct Grouped<'a> {
    groups: Vec<(&'a Transactional, Vec<&'a SinkSpec>)>,
    interval: std::time::Duration,
}

impl Job {
    /// Whether the output of a sink becomes visible in transactions.
    pub(super) fn is_transactional(&self, spec: &SinkSpec) -> bool {
        let info = self.0.registry.sinks.get(spec.connector.as_str());
        self.0.file.checkpoint.is_some()
            && !spec.stream.is_provisional()
            && info.is_some_and(|info| info.transactional.is_some())
    }

    /// The sinks in transactions.
    pub(super) fn transactional(&self) -> Grouped<'_> {
        let mut groups: Vec<(&Transactional, Vec<&SinkSpec>)> = Vec::new();
        for spec in self.0.file.sinks.iter().filter(|spec| self.is_transactional(spec)) {
            let info = self.0.registry.sinks.get(spec.connector.as_str());
            let Some(transactional) = info.and_then(|info| info.transactional.as_ref()) else { continue };
            let shares = |other: &SinkSpec| {
                let same = |option| spec.options.get(option) == other.options.get(option);
                spec.connector == other.connector && transactional.together_by.is_some_and(same)
            };
            match groups.iter_mut().find(|(_, specs)| shares(specs[0])) {
                Some((_, specs)) => specs.push(spec),
                None => groups.push((transactional, vec![spec])),
            }
        }
        let commit = self.0.file.checkpoint.as_ref().map(|checkpoint| checkpoint.commit);
        Grouped { groups, interval: commit.unwrap_or_default().into() }
    }
}

impl Grouped<'_> {
    /// The streams that they are of.
    pub(super) fn streams(&self) -> impl Iterator<Item = Stream> + '_ {
        self.groups.iter().flat_map(|(_, specs)| specs.iter().map(|spec| spec.stream))
    }

    /// Makes the sinks.
    pub(super) fn open(
        &self,
        job: &str,
        store: &Arc<dyn Store>,
        incarnation: u64,
    ) -> Result<Vec<Arc<dyn TransactionalSink>>, Error> {
        let open = |(transactional, specs): &(&Transactional, Vec<&SinkSpec>)| {
            let streams: Vec<_> = specs.iter().map(|spec| (spec.schema(), &spec.options)).collect();
            let store = within(store.clone(), format!("sinks/{:016x}/", identity(transactional, specs)));
            let context = SinkContext { job: job.to_owned(), store, incarnation };
            Ok((transactional.construct)(&streams, &context)?)
        };
        self.groups.iter().map(open).collect()
    }

    /// Writes the results to the shards of each sink that live on a worker.
    pub(super) fn commit(
        &self,
        results: &Results<'_>,
        shards: &[Shards],
        file: &PipelineFile,
        index: usize,
        peers: usize,
    ) -> Result<(), Error> {
        for ((_, specs), shards) in self.groups.iter().zip(shards) {
            let committer = Committer::start(shards, specs.len(), index, peers, self.interval)?;
            for spec in specs {
                results.commit(spec.stream, &committer, spec.format, &file.schema_of(spec.stream));
            }
        }
        Ok(())
    }
}

/// Stands for a sink, whatever the order of the pipeline's tables.
fn identity(transactional: &Transactional, specs: &[&SinkSpec]) -> u64 {
    let what = |spec: &SinkSpec| match transactional.together_by {
        Some(option) => format!("{:?}", spec.options.get(option)),
        None => {
            format!("{:?}", spec.options.get("path").or(Some(&Value::Text(spec.stream.name().to_owned()))))
        }
    };
    let first = specs[0];
    xxh3_64(format!("{} {}", first.connector, what(first)).as_bytes())
}
