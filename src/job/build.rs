//! The dataflow of a job.

use tidewatch_connectors::egress::{Announce, Output};
use tidewatch_connectors::{Control, Ingested, Input};
use tidewatch_dataflows::alerts::{Alert, Finding, Incident, Stage};
use tidewatch_dataflows::event::Revision;
use tidewatch_dataflows::flow::Records;
use tidewatch_dataflows::logic::{DynLogic, Selection, Verdict};
use tidewatch_dataflows::operators::{Correlate, Grouping, Keyed, KeyedStreams, Limits, Raise};
use tidewatch_dataflows::{pipelines, Emission, EventTime, Name, Record};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::Inspect;
use timely::dataflow::{Scope, StreamVec};

use super::start::Start;
use super::transactional::Results;
use super::{Job, Parts};
use crate::config::{PipelineFile, Stream};
use crate::recovery::Recovered;
use crate::Error;

/// What keyed state gives, and incidents, if alerts are grouped.
pub(super) type Found<'scope> =
    (KeyedStreams<'scope, Finding>, Option<StreamVec<'scope, EventTime, Emission<Incident>>>);

impl Job {
    /// Builds it on one worker.
    pub(super) fn build_in<'scope>(
        &self,
        scope: Scope<'scope, EventTime>,
        start: &Start,
        recovered: Option<&Recovered>,
        outputs: Vec<(Stream, Output)>,
    ) -> Result<(), Error> {
        let transactional = self.transactional();
        let mut wanted: Vec<_> = outputs.iter().map(|(stream, _)| *stream).collect();
        wanted.extend(transactional.streams());
        if wanted.contains(&Stream::Incidents) && self.file().alerts.is_none() {
            let path = &self.file().path;
            return Err(Error::Usage(format!("{path}: incidents need a table [alerts] with \"group_by\"")));
        }
        let logic = self.logic(wanted.contains(&Stream::Verdicts))?;
        let ingest = |input: &Input| match recovered {
            Some(recovered) => recovered.input(input).ingest(scope),
            None => input.ingest(scope),
        };
        let ingested = self.0.inputs.iter().map(ingest).reduce(Ingested::concat);
        start.await_opened(&Control::current(), scope.index());
        let Some(Ingested { records, late, malformed }) = ingested else { return Ok(()) };
        let (keyed, incidents) = self.find(records, logic, recovered, &wanted)?;
        let (anomalies, verdicts, alerts) = counted(keyed.emitted);
        let results =
            Results { anomalies, verdicts, alerts, incidents, late, malformed, evicted: keyed.evicted };
        for (stream, output) in outputs {
            match stream {
                Stream::Provisional => narrow(&keyed.provisional, anomaly).announce(output),
                Stream::ProvisionalAlerts => narrow(&keyed.provisional, alert).raise().announce(output),
                _ => results.egress(stream, output),
            }
        }
        if let Some(recovered) = recovered {
            transactional.commit(&results, &recovered.shards, self.file(), scope.index(), scope.peers())?;
        }
        Ok(())
    }

    /// What the detections find, in keyed state that goes on, if it does.
    fn find<'scope>(
        &self,
        records: Records<'scope>,
        logic: DynLogic<Record, Finding>,
        recovered: Option<&Recovered>,
        wanted: &[Stream],
    ) -> Result<Found<'scope>, Error> {
        let provisional = wanted.iter().any(|stream| stream.is_provisional());
        let (limits, eager) = (self.limits(), provisional.then_some(self.0.eager));
        if let Some(recovered) = recovered {
            // State is the same whoever wants to see what.
            let grouped = (self.0.schema.key.len(), self.grouping());
            return recovered.keyed(records, limits, eager, logic, grouped, &self.0.registry.observers);
        }
        let keyed = match eager {
            Some(eager) => records.keyed_eagerly(limits, eager, logic),
            None => records.keyed_within(limits, logic),
        };
        let grouping = self.grouping().filter(|_| wanted.contains(&Stream::Incidents));
        let alerts = || keyed.emitted.clone().flat_map(Emission::alert);
        let incidents = grouping.map(|grouping| alerts().correlate(grouping));
        Ok((keyed, incidents))
    }

    /// Which alerts are one incident, if that is wanted.
    fn grouping(&self) -> Option<Grouping> {
        let PipelineFile { name, alerts, .. } = self.file();
        alerts.as_ref().map(|alerts| Grouping {
            pipeline: name.as_str().into(),
            parts: alerts.group_by.clone(),
            of: self.0.schema.key.len(),
            gap: alerts.gap,
        })
    }

    fn limits(&self) -> Limits {
        let limits = self.0.file.limits;
        Limits {
            keys: usize::try_from(limits.keys).unwrap_or(usize::MAX),
            state: usize::try_from(limits.state).unwrap_or(usize::MAX),
        }
    }

    /// The logic that runs per key; with `all`, it emits normal verdicts too.
    pub(super) fn logic(&self, all: bool) -> Result<DynLogic<Record, Finding>, Error> {
        let Parts { file, registry, schema, within, .. } = &*self.0;
        let mut steps = Vec::new();
        for step in &file.steps {
            let info = registry.operators.get(&step.operator);
            let info = info.ok_or_else(|| Error::unknown("operator", &step.operator))?;
            steps.push((info.construct)(&step.params)?);
        }
        let mut detections = Vec::new();
        for detect in &file.detects {
            let info = registry.detectors.get(&detect.detector);
            let info = info.ok_or_else(|| Error::unknown("detector", &detect.detector))?;
            let values =
                detect.values.iter().map(|index| (*index, Name::from(schema.values[*index].as_str())));
            let name = Name::from(detect.name.as_str());
            let selection = Selection { name, values: values.collect() };
            let scores = (info.construct)(&detect.params, selection, &registry.detectors)?;
            detections.push(detect.rules.apply(scores, file.name.as_str().into(), name, all)?);
        }
        let logic = pipelines::compose(steps, detections);
        Ok(match within {
            Some(within) => within(logic),
            None => logic,
        })
    }
}

type Findings<'scope, O> = StreamVec<'scope, EventTime, Emission<O>>;

/// The anomalies, all verdicts, and the alerts among what was found; anomalies and alerts are counted.
fn counted(
    found: Findings<'_, Finding>,
) -> (Findings<'_, Verdict>, Findings<'_, Verdict>, Findings<'_, Alert>) {
    let tally = Control::current().tally().clone();
    let verdicts = found.clone().flat_map(Emission::verdict);
    let anomalies = verdicts.clone().filter(|emission| emission.value.anomalous);
    let anomalies = anomalies.inspect({
        let tally = tally.clone();
        move |_| tally.anomalies.add(1)
    });
    let alerts = found.flat_map(Emission::alert);
    let alerts = alerts.inspect(move |alert| tally.alerts.add(u64::from(alert.value.stage == Stage::Opened)));
    (anomalies, verdicts, alerts)
}

/// What is said provisionally of what `read` makes something of.
fn narrow<'scope, O: timely::ExchangeData + Clone>(
    said: &StreamVec<'scope, EventTime, Revision<Finding>>,
    read: fn(Finding) -> Option<O>,
) -> StreamVec<'scope, EventTime, Revision<O>> {
    said.clone().flat_map(move |revision| revision.narrow(read))
}

fn anomaly(finding: Finding) -> Option<Verdict> {
    finding.verdict().copied().filter(|verdict| verdict.anomalous)
}

fn alert(finding: Finding) -> Option<Alert> {
    finding.alert().copied()
}
