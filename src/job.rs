//! A pipeline file made runnable: its sources, the logic per key, and its sinks.

use std::sync::{Arc, Barrier};

use tidewatch_connectors::egress::{Announce, Egress, Output};
use tidewatch_connectors::format::{CsvEncoder, JsonEncoder, TableEncoder};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::recording::{Play, Recorder, Recording};
use tidewatch_connectors::{Control, Ingested, Input, Schema, Sink};
use tidewatch_dataflows::logic::{DynLogic, Selection, Threshold, Verdict};
use tidewatch_dataflows::operators::{Eager, Keyed, Limits};
use tidewatch_dataflows::{pipelines, EventTime, Logic, Name, Record};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::Inspect;
use timely::worker::Worker;
use tracing::info;

use crate::cluster::{self, Cluster, Outcome};
use crate::config::{PipelineFile, SinkFormat, SinkSpec, Stream};
use crate::registry::Registry;
use crate::Error;

mod input;
mod lenient;

use lenient::Lenient;

/// A pipeline that can be run, any number of times.
#[derive(Clone)]
pub struct Job(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    file: PipelineFile,
    registry: Registry,
    inputs: Vec<Input>,
    schema: Schema,
    within: Option<Arc<Within>>,
    eager: Eager,
    /// Whether its sources are recorded while they are read.
    recorded: bool,
}

/// Puts the logic of a job inside another one.
pub type Within = dyn Fn(DynLogic<Record, Verdict>) -> DynLogic<Record, Verdict> + Send + Sync;

/// A stream with where it goes, made anew for each worker; only one of them opens the sink.
pub type Outputs = dyn Fn() -> Vec<(Stream, Output)> + Send + Sync;

impl Job {
    /// Makes a pipeline runnable: opens nothing yet, but knows that its parts fit together.
    ///
    /// # Errors
    ///
    /// What a source, format or detector has against its parameters.
    pub fn new(file: PipelineFile, registry: &Registry) -> Result<Self, Error> {
        let inputs: Vec<_> = file
            .sources
            .iter()
            .map(|source| input::open(source, file.limits, registry))
            .collect::<Result<_, _>>()?;
        let schema = inputs.first().map(|input| input.schema().clone()).unwrap_or_default();
        let (registry, eager) = (registry.clone(), Eager::default());
        let parts = Parts { file, registry, inputs, schema, within: None, eager, recorded: false };
        let job = Self(Arc::new(parts));
        job.logic(false)?;
        Ok(job)
    }

    /// The pipeline.
    pub fn file(&self) -> &PipelineFile {
        &self.0.file
    }

    /// What processes must have in common to run it together: all but where it is and
    /// where its sinks write to.
    pub fn identity(&self) -> String {
        let PipelineFile { path: _, name, sources, steps, detects, sinks, limits } = self.file();
        let streams: Vec<_> = sinks.iter().map(|sink| sink.stream).collect();
        format!("{:?}", (name, sources, steps, detects, streams, limits))
    }

    /// The names of what its records carry.
    pub fn schema(&self) -> &Schema {
        &self.0.schema
    }

    /// The size of all its sources together, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.0.inputs.iter().map(|input| input.source().size()).sum()
    }

    /// The same job reading at another pace, which changes no result.
    pub fn at_pace(&self, pace: Pace) -> Self {
        let inputs = self.0.inputs.iter().map(|input| input.clone().pace(pace)).collect();
        Self(Arc::new(Parts { inputs, ..Parts::clone(&self.0) }))
    }

    /// The same job, whose sources are recorded while they are read.
    pub fn recorded(&self, recorder: &Recorder) -> Self {
        let inputs = self.0.file.sources.iter().zip(&self.0.inputs);
        let record = |(spec, input): (_, &Input)| recorder.record(input.clone(), input::fingerprint(spec));
        let inputs = inputs.map(record).collect();
        Self(Arc::new(Parts { inputs, recorded: true, ..Parts::clone(&self.0) }))
    }

    /// The same job with what was recorded of its sources in their place.
    ///
    /// # Errors
    ///
    /// If a source was not recorded, or gave something else than the job takes.
    pub fn replayed(&self, recording: &Recording, play: &Play) -> Result<Self, Error> {
        let inputs = self.0.file.sources.iter().zip(&self.0.inputs);
        let inputs =
            inputs.map(|(spec, input)| recording.replay(input.clone(), play, input::fingerprint(spec)));
        let inputs = inputs.collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Parts { inputs, ..Parts::clone(&self.0) })))
    }

    /// The same job with its logic inside another one, as a test that watches state puts it.
    pub fn within(&self, within: Arc<Within>) -> Self {
        Self(Arc::new(Parts { within: Some(within), ..Parts::clone(&self.0) }))
    }

    /// The same job with another budget for what is provisional, which changes nothing that is final.
    pub fn eager(&self, eager: Eager) -> Self {
        Self(Arc::new(Parts { eager, ..Parts::clone(&self.0) }))
    }

    /// The pipeline's sinks; its anomalies go to standard output if it has none.
    pub fn sinks(&self) -> Vec<SinkSpec> {
        let mut sinks = self.0.file.sinks.clone();
        if sinks.is_empty() {
            sinks.push(SinkSpec {
                stream: Stream::Anomalies,
                connector: "stdout".to_owned(),
                options: Default::default(),
                format: SinkFormat::Json,
            });
        }
        sinks
    }

    /// An output to a sink of the pipeline.
    pub fn output(&self, spec: &SinkSpec) -> Output {
        let (registry, spec_) = (self.0.registry.clone(), spec.clone());
        // Whether anything else is still wanted when the reader of standard output has gone.
        let others = self.0.recorded || self.sinks().iter().any(|sink| sink.connector != "stdout");
        let lenient = spec.connector == "stdout" && others;
        let open = move || {
            let Some(info) = registry.sinks.get(spec_.connector.as_str()) else {
                let message = format!("no sink connector is called \"{}\"", spec_.connector);
                return Err(tidewatch_connectors::Error::Configuration(message));
            };
            let sink = (info.construct)(&spec_.options)?;
            let SinkSpec { stream, connector, .. } = &spec_;
            info!(?stream, connector, path = spec_.path(), "opened sink");
            Ok(if lenient { Box::new(Lenient::new(sink)) } else { sink })
        };
        self.encoded(open, spec.format)
    }

    /// An output to any sink, in a format.
    pub fn encoded(
        &self,
        open: impl FnOnce() -> Result<Box<dyn Sink>, tidewatch_connectors::Error> + 'static,
        format: SinkFormat,
    ) -> Output {
        let schema = self.0.schema.clone();
        match format {
            SinkFormat::Json => Output::new(open, JsonEncoder::new(schema)),
            SinkFormat::Csv => Output::new(open, CsvEncoder::new(schema)),
            SinkFormat::Table => Output::new(open, TableEncoder::new(schema)),
        }
    }

    /// Runs the pipeline until its sources have ended, or `control` is interrupted, with results going to `outputs`.
    ///
    /// # Errors
    ///
    /// The first error of a source or sink.
    pub fn run(&self, cluster: Cluster, control: &Control, outputs: Arc<Outputs>) -> Result<Outcome, Error> {
        let job = self.clone();
        let opened = Opened { workers: Barrier::new(cluster.workers()), processes: cluster.processes() };
        cluster::run(cluster, control, move |worker| job.build(worker, &opened, outputs()))
    }

    /// Reads the sources until they have ended, or `control` is interrupted, and computes nothing.
    ///
    /// # Errors
    ///
    /// The first error of a source.
    pub fn read(&self, cluster: Cluster, control: &Control) -> Result<Outcome, Error> {
        let job = self.clone();
        let opened = Barrier::new(cluster.workers());
        cluster::run(cluster, control, move |worker| {
            worker.dataflow::<EventTime, _, _>(|scope| {
                job.0.inputs.iter().for_each(|input| drop(input.ingest(scope)));
            });
            opened.wait();
            Ok(())
        })
    }

    /// Builds the dataflow on one worker, and opens its sinks once all sources are open; the workers of the process leave
    /// it together.
    fn build(
        &self,
        worker: &mut Worker,
        opened: &Opened,
        outputs: Vec<(Stream, Output)>,
    ) -> Result<(), Error> {
        let wants = |wanted| outputs.iter().any(|(stream, _)| *stream == wanted);
        let (logic, provisional) = (self.logic(wants(Stream::Verdicts))?, wants(Stream::Provisional));
        let eager = self.0.eager;
        let control = Control::current();
        let tally = control.tally().clone();
        let limits = self.0.file.limits;
        let limits = Limits {
            keys: usize::try_from(limits.keys).unwrap_or(usize::MAX),
            state: usize::try_from(limits.state).unwrap_or(usize::MAX),
        };
        worker.dataflow::<EventTime, _, _>(|scope| {
            let ingested = self.0.inputs.iter().map(|input| input.ingest(scope)).reduce(Ingested::concat);
            // A sink may empty a file, so none is opened before it is known that the run can start.
            if opened.workers.wait().is_leader() {
                control.opened();
            }
            if scope.index() == 0 {
                control.await_opened(opened.processes);
            }
            let Some(Ingested { records, late, malformed }) = ingested else { return };
            let keyed = match provisional {
                true => records.keyed_eagerly(limits, eager, logic),
                false => records.keyed_within(limits, logic),
            };
            let provisional =
                keyed.provisional.flat_map(|revision| revision.only(|verdict| verdict.anomalous));
            let verdicts = keyed.emitted;
            let anomalies = verdicts
                .clone()
                .filter(|emission| emission.value.anomalous)
                .inspect(move |_| tally.anomalies.add(1));
            for (stream, output) in outputs {
                match stream {
                    Stream::Anomalies => anomalies.clone().egress(output),
                    Stream::Verdicts => verdicts.clone().egress(output),
                    Stream::Provisional => provisional.clone().announce(output),
                    Stream::Late => late.clone().egress(output),
                    Stream::DeadLetters => malformed.clone().egress(output),
                    Stream::Evictions => keyed.evicted.clone().egress(output),
                }
            }
        });
        // Nothing is read before, so a run that cannot start has nothing to be recorded either.
        opened.workers.wait();
        Ok(())
    }

    /// The logic that runs per key; with `all`, it emits normal verdicts too.
    fn logic(&self, all: bool) -> Result<DynLogic<Record, Verdict>, Error> {
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
            let selection = Selection { name: detect.name.as_str().into(), values: values.collect() };
            let threshold = Threshold::new(detect.threshold, detect.clear)?;
            let threshold = if all { threshold.and_normal() } else { threshold };
            detections.push((info.construct)(&detect.params, selection)?.then(threshold).erased());
        }
        let logic = pipelines::compose(steps, detections);
        Ok(match within {
            Some(within) => within(logic),
            None => logic,
        })
    }
}

/// Where the workers of a process meet once their sources are open, and of how many processes.
struct Opened {
    workers: Barrier,
    processes: usize,
}
