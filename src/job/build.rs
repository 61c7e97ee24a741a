//! The dataflow of a job.

use tidewatch_connectors::egress::{Announce, Output};
use tidewatch_connectors::ingest::Rejected;
use tidewatch_connectors::{Control, Ingested};
use tidewatch_dataflows::alerts::{Alert, Finding, Incident, Muted, Raised, Stage};
use tidewatch_dataflows::event::Revision;
use tidewatch_dataflows::flow::{Records, Tally};
use tidewatch_dataflows::logic::{DynLogic, Selection, Verdict};
use tidewatch_dataflows::operators::{Correlate, Grouping, Keyed, KeyedStreams, Limits, Mute, Raise};
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

/// What the detections of a job find.
pub(super) struct Found<'scope> {
    pub(super) keyed: KeyedStreams<'scope, Finding>,
    /// The alerts that are told.
    pub(super) alerts: Findings<'scope, Alert>,
    /// What is said of them before it is final.
    pub(super) said: StreamVec<'scope, EventTime, Revision<Alert>>,
    /// Those that are kept back, if any may be.
    pub(super) muted: Option<Findings<'scope, Muted>>,
    /// What alerts belong together, if they are grouped.
    pub(super) incidents: Option<Findings<'scope, Incident>>,
    /// What is said of incidents before it is final.
    pub(super) raised: Option<StreamVec<'scope, EventTime, Raised<Incident>>>,
}

impl<'scope> Found<'scope> {
    /// What keyed state gives, with nothing muted or grouped.
    pub(super) fn of(keyed: KeyedStreams<'scope, Finding>) -> Self {
        let alerts = keyed.emitted.clone().flat_map(Emission::alert);
        let said = narrow(&keyed.provisional, alert);
        Self { keyed, alerts, said, muted: None, incidents: None, raised: None }
    }
}

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
        let file = self.file();
        if let Some((stream, table)) = wanted.iter().find_map(|stream| Some((stream, file.lacks(*stream)?))) {
            let (path, stream) = (&file.path, stream.name());
            return Err(Error::Usage(format!("{path}: the stream \"{stream}\" needs a table {table}")));
        }
        let logic = self.logic(wanted.contains(&Stream::Verdicts))?;
        let ingested =
            self.recorded_inputs(recovered).map(|input| input.ingest(scope)).reduce(Ingested::concat);
        start.await_opened(&Control::current(), scope.index());
        let Some(Ingested { records, late, malformed }) = ingested else { return Ok(()) };
        let found = self.find(records, logic, recovered, &wanted)?;
        let results = results(&found, late, malformed);
        for (stream, output) in outputs {
            match stream {
                Stream::Provisional => narrow(&found.keyed.provisional, anomaly).announce(output),
                Stream::ProvisionalAlerts => found.said.clone().raise().announce(output),
                Stream::ProvisionalIncidents => {
                    let raised = found.raised.clone();
                    raised.expect("a sink of incidents is refused without [alerts]").announce(output);
                }
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
            let grouping = self.grouping();
            let mutes = self.mutes(Some(recovered));
            return recovered.find(
                records,
                limits,
                eager,
                logic,
                grouping,
                mutes,
                &self.0.registry.observers,
            );
        }
        let keyed = match eager {
            Some(eager) => records.keyed_eagerly(limits, eager, logic),
            None => records.keyed_within(limits, logic),
        };
        let mut found = Found::of(keyed);
        if let Some(mutes) = self.mutes(None) {
            let editions = mutes.refer(found.keyed.passed.clone())?;
            let Found { alerts, said, .. } = &found;
            let streams = alerts.clone().mute(said.clone(), editions);
            (found.alerts, found.muted, found.said) =
                (streams.alerts, Some(streams.muted), streams.provisional);
        }
        let is_of_incidents =
            |stream: &Stream| matches!(stream, Stream::Incidents | Stream::ProvisionalIncidents);
        if let Some(grouping) = self.grouping().filter(|_| wanted.iter().any(is_of_incidents)) {
            let said = provisional.then(|| found.said.clone());
            let streams = found.alerts.clone().correlate(said, grouping);
            (found.incidents, found.raised) = (Some(streams.incidents), Some(streams.raised));
        }
        Ok(found)
    }

    /// Which alerts are one incident, if that is wanted.
    fn grouping(&self) -> Option<Grouping> {
        let PipelineFile { name, alerts, .. } = self.file();
        alerts.as_ref().map(|alerts| Grouping {
            pipeline: name.as_str().into(),
            parts: alerts.group_by.clone(),
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
            detections.push((name, detect.rules.apply(scores, file.name.as_str().into(), name, all)?));
        }
        let logic = pipelines::compose(steps, detections);
        Ok(match within {
            Some(within) => within(logic),
            None => logic,
        })
    }
}

type Findings<'scope, O> = StreamVec<'scope, EventTime, Emission<O>>;

/// What was found, for good; anomalies and alerts are counted.
fn results<'scope>(
    found: &Found<'scope>,
    late: StreamVec<'scope, EventTime, Rejected>,
    malformed: StreamVec<'scope, EventTime, Rejected>,
) -> Results<'scope> {
    let verdicts = found.keyed.emitted.clone().flat_map(Emission::verdict);
    let anomalies = verdicts.clone().filter(|emission| emission.value.anomalous);
    let counting = |count: fn(&Tally)| {
        let tally = Control::current().tally().clone();
        move || count(&tally)
    };
    let anomaly = counting(|tally| tally.anomalies.add(1));
    let alert = counting(|tally| tally.alerts.add(1));
    let mute = counting(|tally| tally.muted.add(1));
    let opens = |alert: &Alert| alert.stage == Stage::Opened;
    let muted = found.muted.clone();
    Results {
        anomalies: anomalies.inspect(move |_| anomaly()),
        verdicts,
        alerts: found.alerts.clone().inspect(move |event| {
            if opens(&event.value) {
                alert()
            }
        }),
        muted: muted.map(|muted| {
            muted.inspect(move |event| {
                if opens(&event.value.alert) {
                    mute()
                }
            })
        }),
        incidents: found.incidents.clone(),
        late,
        malformed,
        evicted: found.keyed.evicted.clone(),
    }
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
