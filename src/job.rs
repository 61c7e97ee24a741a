//! A pipeline file made runnable: its sources, the logic per key, and its sinks.

use std::sync::Arc;

use tidewatch_connectors::egress::Output;
use tidewatch_connectors::format::{CsvEncoder, JsonEncoder, TableEncoder};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::recording::{Play, Recorder, Recording};
use tidewatch_connectors::{Control, Input, Schema, Sink};
use tidewatch_dataflows::alerts::Finding;
use tidewatch_dataflows::logic::{DynLogic, Logic};
use tidewatch_dataflows::mutes::Edition;
use tidewatch_dataflows::operators::{Eager, KeptAs};
use tidewatch_dataflows::state::Part;
use tidewatch_dataflows::{EventTime, Key, Record, Span};
use timely::worker::Worker;
use tracing::info;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::{self, Cluster, Outcome};
use crate::config::{PipelineFile, SinkFormat, SinkSpec, SourceSpec, Stream};
use crate::recovery::{Lookout, Recovered, Terms};
use crate::registry::{ReadBy, Registry, Written};
use crate::Error;

mod build;
mod input;
mod lenient;
mod mutes;
mod recover;
mod start;
mod transactional;

use lenient::Lenient;
use start::Start;

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
    /// What records its sources while they are read.
    recorder: Option<Recorder>,
    /// The reference data that it goes by, instead of what the list of mutes says now.
    editions: Option<Vec<Edition<String>>>,
    terms: Terms,
}

/// Puts the logic of a job inside another one.
pub type Within = dyn Fn(DynLogic<Record, Finding>) -> DynLogic<Record, Finding> + Send + Sync;

/// A stream with where it goes, made anew for each worker; only one of them opens the sink.
pub type Outputs = dyn Fn() -> Vec<(Stream, Output)> + Send + Sync;

impl Job {
    /// Makes a pipeline runnable: opens nothing yet, but knows that its parts fit together.
    ///
    /// # Errors
    ///
    /// What a source, format or detector has against its parameters; [`Error::Usage`] if keyed state is observed, but the
    /// pipeline has no `[checkpoint]`.
    pub fn new(file: PipelineFile, registry: &Registry) -> Result<Self, Error> {
        if file.checkpoint.is_none() && !registry.observers.is_empty() {
            let path = &file.path;
            let reason =
                "the keyed state that this program observes is that of checkpoints: add a [checkpoint]";
            return Err(Error::Usage(format!("{path}: {reason}")));
        }
        let read_by = match file.checkpoint {
            Some(_) => ReadBy::Job(file.name.clone()),
            None => ReadBy::Run,
        };
        Self::read_by(read_by, file, registry)
    }

    /// The same, to look at its sources only, as a recording does: nobody sees how far it reads them.
    ///
    /// # Errors
    ///
    /// As [`Job::new`].
    pub fn onlooker(file: PipelineFile, registry: &Registry) -> Result<Self, Error> {
        Self::read_by(ReadBy::Onlooker, file, registry)
    }

    fn read_by(read_by: ReadBy, file: PipelineFile, registry: &Registry) -> Result<Self, Error> {
        let inputs: Vec<_> = file
            .sources
            .iter()
            .map(|source| input::open(source, file.limits, read_by.clone(), registry))
            .collect::<Result<_, _>>()?;
        let schema = inputs.first().map(|input| input.schema().clone()).unwrap_or_default();
        let (registry, eager) = (registry.clone(), Eager::default());
        let parts = Parts {
            file,
            registry,
            inputs,
            schema,
            within: None,
            eager,
            recorder: None,
            editions: None,
            terms: Terms::default(),
        };
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
        let PipelineFile { path: _, name, sources, steps, detects, alerts, mutes, sinks, limits, checkpoint } =
            self.file();
        let streams: Vec<_> = sinks.iter().map(|sink| sink.stream).collect();
        format!("{:?}", (name, sources, steps, detects, alerts, mutes, streams, limits, checkpoint))
    }

    /// Stands for all of the pipeline that changes its output: not for where it reads and writes.
    pub fn hash(&self) -> u64 {
        // Of the name are made the identifiers of alerts.
        let PipelineFile { name, sources, steps, detects, alerts, mutes, limits, .. } = self.file();
        let source = |source: &SourceSpec| {
            let source = SourceSpec { options: Default::default(), ..source.clone() };
            format!("{source:?}")
        };
        let sources: Vec<_> = sources.iter().map(source).collect();
        let limits = (limits.keys, limits.state, limits.record);
        // What the list says is in the journal.
        let mutes = mutes.is_some();
        xxh3_64(format!("{:?}", (name, sources, steps, detects, alerts, mutes, limits)).as_bytes())
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
        Self(Arc::new(Parts { recorder: Some(recorder.clone()), ..Parts::clone(&self.0) }))
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
        // A replay must not disturb what goes on, nor be disturbed by it.
        let mut file = PipelineFile { checkpoint: None, ..self.0.file.clone() };
        file.mutes.iter_mut().for_each(|mutes| mutes.every = Span::ZERO);
        Ok(Self(Arc::new(Parts { inputs, file, ..Parts::clone(&self.0) })))
    }

    /// The same job with these editions of reference data in the place of what its list of mutes says now, and later; unless none
    /// were ever noted.
    pub fn referring(&self, editions: Option<Vec<Edition<String>>>) -> Self {
        Self(Arc::new(Parts { editions, ..Parts::clone(&self.0) }))
    }

    /// The same job with its logic inside another one, as a test that watches state puts it.
    pub fn within(&self, within: Arc<Within>) -> Self {
        Self(Arc::new(Parts { within: Some(within), ..Parts::clone(&self.0) }))
    }

    /// The same job, which starts on other terms than to go on where it stood.
    pub fn on(&self, terms: Terms) -> Self {
        Self(Arc::new(Parts { terms, ..Parts::clone(&self.0) }))
    }

    /// The same job with another budget for what is provisional, which changes nothing that is final.
    pub fn eager(&self, eager: Eager) -> Self {
        Self(Arc::new(Parts { eager, ..Parts::clone(&self.0) }))
    }

    /// Tells what is in the state that a checkpoint keeps of a key, or under a text that is no key's.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it is no state of this job in this version of the program.
    pub fn describe(&self, key: &Key, state: &[u8]) -> Result<Vec<Part>, Error> {
        let parts = match KeptAs::of(key.as_str()) {
            KeptAs::Key => self.logic(false)?.describe(state),
            beside => beside.describe(state),
        };
        parts.map_err(|error| {
            let path = &self.file().path;
            Error::Usage(format!("what is kept of {key} is not as {path} and this program keep it: {error}"))
        })
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

    /// Those of the pipeline's sinks that are written to as output comes; those whose output becomes visible in transactions
    /// the job sees to itself.
    pub fn plain_sinks(&self) -> Vec<SinkSpec> {
        let mut sinks = self.sinks();
        sinks.retain(|sink| !self.is_transactional(sink));
        sinks
    }

    /// An output to a sink of the pipeline.
    pub fn output(&self, spec: &SinkSpec) -> Output {
        let (registry, spec_) = (self.0.registry.clone(), spec.clone());
        // Whether anything else is still wanted when the reader of standard output has gone.
        let others = self.0.recorder.is_some() || self.sinks().iter().any(|sink| sink.connector != "stdout");
        let lenient = spec.connector == "stdout" && others;
        let written = Written { pipeline: self.0.file.name.clone(), schema: spec.schema() };
        let open = move || {
            let Some(info) = registry.sinks.get(spec_.connector.as_str()) else {
                let message = format!("no sink connector is called \"{}\"", spec_.connector);
                return Err(tidewatch_connectors::Error::Configuration(message));
            };
            let sink = (info.construct)(&spec_.options, &written)?;
            let SinkSpec { stream, connector, .. } = &spec_;
            info!(?stream, connector, path = spec_.path(), "opened sink");
            Ok(if lenient { Box::new(Lenient::new(sink)) } else { sink })
        };
        self.encoded(spec.stream, open, spec.format)
    }

    /// An output of a stream to any sink, in a format.
    pub fn encoded(
        &self,
        stream: Stream,
        open: impl FnOnce() -> Result<Box<dyn Sink>, tidewatch_connectors::Error> + 'static,
        format: SinkFormat,
    ) -> Output {
        let schema = self.0.file.schema_of(stream);
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
        let start = Start::of(&cluster);
        // A recording is of one run.
        let goes_on = self.0.file.checkpoint.is_some() && self.0.recorder.is_none();
        let lookout = self.lookout(&cluster, control, goes_on)?;
        let outcome = cluster::run(cluster, control, move |worker| job.build(worker, &start, outputs()));
        drop(lookout);
        self.close();
        outcome
    }

    /// Has the first process look for partitions that appear, for which a run starts again that `goes_on` where it stood.
    fn lookout(&self, cluster: &Cluster, control: &Control, goes_on: bool) -> Result<Option<Lookout>, Error> {
        let start = || Lookout::start(&self.0.inputs, control, cluster.processes(), goes_on);
        (cluster.index() == 0).then(start).transpose()
    }

    /// Its inputs, which go on where they stood if the job does, and are recorded if it is.
    fn recorded_inputs<'a>(&'a self, recovered: Option<&'a Recovered>) -> impl Iterator<Item = Input> + 'a {
        self.0.file.sources.iter().zip(&self.0.inputs).map(move |(spec, input)| {
            let input = recovered.map_or_else(|| input.clone(), |recovered| recovered.input(input));
            match &self.0.recorder {
                Some(recorder) => recorder.record(input, input::fingerprint(spec)),
                None => input,
            }
        })
    }

    /// Has the sources let go of what they needed for a run.
    fn close(&self) {
        self.0.inputs.iter().for_each(|input| input.source().close());
    }

    /// Reads the sources until they have ended, or `control` is interrupted, and computes nothing.
    ///
    /// # Errors
    ///
    /// The first error of a source.
    pub fn read(&self, cluster: Cluster, control: &Control) -> Result<Outcome, Error> {
        let job = self.clone();
        let start = Start::of(&cluster);
        let lookout = self.lookout(&cluster, control, false)?;
        let outcome = cluster::run(cluster, control, move |worker| {
            worker.dataflow::<EventTime, _, _>(|scope| {
                job.recorded_inputs(None).for_each(|input| drop(input.ingest(scope)));
            });
            start.meet(&Control::current());
            Ok(())
        });
        drop(lookout);
        self.close();
        outcome
    }

    /// Builds the dataflow on one worker, and opens its sinks once all sources are open; the workers of the process leave
    /// it together.
    fn build(&self, worker: &mut Worker, start: &Start, outputs: Vec<(Stream, Output)>) -> Result<(), Error> {
        let control = Control::current();
        let recovered = match &self.0.file.checkpoint {
            None => None,
            Some(checkpoint) => {
                match start.recover(&control, worker.index(), |place| self.recover(place, checkpoint))? {
                    // All is done, or nothing can be.
                    None => return Ok(()),
                    recovered => recovered,
                }
            }
        };
        let built =
            worker.dataflow::<EventTime, _, _>(|scope| self.build_in(scope, start, recovered, outputs));
        // Nothing is read before, so a run that cannot start has nothing to be recorded either.
        start.meet(&control);
        built
    }
}
