//! What a pipeline file can name.

use std::sync::Arc;

use tidewatch_connectors::format::Framing;
use tidewatch_connectors::{store, Error, Sink, Source, Store, TransactionalSink};
use tidewatch_dataflows::detectors::{self, DetectorInfo};
use tidewatch_dataflows::operators::LiveStates;
use tidewatch_dataflows::params::{Parameter, Params};
use tidewatch_dataflows::pipelines::OperatorInfo;
use tidewatch_dataflows::{logic, Catalogue, Named};

mod built_in;
mod kafka;

/// The name of the key part of a connector that gives rows.
pub const ROW_KEY: &str = "key";
/// The name of the value of a connector that gives rows.
pub const ROW_VALUE: &str = "value";

/// Sources, operators, detectors and sinks by the names that pipeline files know them by: the built-in ones, and those
/// that a program adds.
///
/// # Examples
///
/// ```
/// let registry = tidewatch::registry::Registry::default();
/// assert!(registry.sources.get("file").is_some() && registry.operators.get("window").is_some());
/// ```
#[derive(Clone)]
pub struct Registry {
    /// The detectors.
    pub detectors: Catalogue<DetectorInfo>,
    /// What a `[[step]]` can name.
    pub operators: Catalogue<OperatorInfo>,
    /// What a `[[source]]` can name.
    pub sources: Catalogue<SourceInfo>,
    /// What a `[[sink]]` can name.
    pub sinks: Catalogue<SinkInfo>,
    /// Opens the store that a `[checkpoint]` names.
    pub store: Arc<OpenStore>,
    /// Reads the list that `[mutes]` names.
    pub mutes: Arc<ReadMutes>,
    /// Who looks at keyed state ([`Registry::observe`]).
    pub observers: Vec<Arc<Observe>>,
}

/// Opens a store by what a pipeline file calls it.
pub type OpenStore = dyn Fn(&str) -> Result<Arc<dyn Store>, Error> + Send + Sync;

/// Reads the text of a list of mutes by what a pipeline file calls it.
pub type ReadMutes = dyn Fn(&str) -> Result<String, Error> + Send + Sync;

/// Builds into a job's dataflow what looks at its keyed state.
pub type Observe = dyn Fn(LiveStates<'_>) + Send + Sync;

impl Registry {
    /// Has `observe` called, on each worker, with the keyed state of a job, to which it can add operators of its own: joins,
    /// counts, sinks.
    ///
    /// The arrangement has what state was at the boundaries of checkpoints, so a job that is observed needs a `[checkpoint]`, and
    /// `every` there says how old what it shows may be. When boundaries come depends on a clock: what is computed
    /// here is for those who watch, and goes to sinks that need not be exactly once. Keeping it costs a copy of the state of
    /// every key, which jobs that nobody observes do without. A replay is not observed.
    pub fn observe(&mut self, observe: impl Fn(LiveStates<'_>) + Send + Sync + 'static) {
        self.observers.push(Arc::new(observe));
    }
}

impl Default for Registry {
    /// What is built in.
    fn default() -> Self {
        Self {
            detectors: detectors::built_in(),
            operators: logic::built_in(),
            sources: built_in::sources(),
            sinks: built_in::sinks(),
            store: Arc::new(store::open),
            mutes: Arc::new(crate::mutes::read),
            observers: Vec::new(),
        }
    }
}

/// What a source needs to know beside its options.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// How bytes fall into payloads.
    pub framing: Framing,
    /// The longest record in bytes.
    pub max_record: usize,
    /// Who reads it.
    pub read_by: ReadBy,
}

/// Who reads a source; where others can see how far it is read, they see it under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBy {
    /// The job of this name, which goes on where it stood.
    Job(String),
    /// A run that begins from the beginning each time.
    Run,
    /// Something that stands beside the job, as a recording: nobody is to see how far it is.
    Onlooker,
}

/// Makes a source from checked options.
pub type ConstructSource = dyn Fn(&Params, &SourceContext) -> Result<Arc<dyn Source>, Error> + Send + Sync;

/// What is written to a sink.
#[derive(Clone, Debug)]
pub struct Written {
    /// The name of the pipeline that writes.
    pub pipeline: String,
    /// Its schema, as in `verdict.v1`, if it is written as JSON.
    pub schema: Option<&'static str>,
}

/// Makes a sink from checked options.
pub type ConstructSink = dyn Fn(&Params, &Written) -> Result<Box<dyn Sink>, Error> + Send + Sync;

/// What a sink needs to know beside its options so that its output becomes visible in transactions.
#[derive(Clone)]
pub struct SinkContext {
    /// What the pipeline is called.
    pub job: String,
    /// Where it may keep how far it is; nothing else writes there.
    pub store: Arc<dyn Store>,
    /// How many times the job was started anew.
    pub incarnation: u64,
}

/// The schema of a stream, if it is written as JSON, with the checked options of the sink that it goes to.
pub type SinkStream<'a> = (Option<&'static str>, &'a Params);

/// Makes a sink whose output becomes visible in transactions, of streams that were told to go together.
pub type ConstructTransactional =
    dyn Fn(&[SinkStream<'_>], &SinkContext) -> Result<Arc<dyn TransactionalSink>, Error> + Send + Sync;

/// How a sink connector takes part in exactly-once output.
#[derive(Clone)]
pub struct Transactional {
    /// The streams whose options have the same value of this one share transactions; without it each has its own.
    pub together_by: Option<&'static str>,
    /// Makes the sink.
    pub construct: Arc<ConstructTransactional>,
}

/// What is known of a source connector without making one.
#[derive(Clone)]
pub struct SourceInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// Its options.
    pub parameters: Vec<Parameter>,
    /// Whether it gives rows, with key part [`ROW_KEY`] and value [`ROW_VALUE`], so that it needs no format.
    pub rows: bool,
    /// Whether its records come in envelopes, so that keys can have `@topic`, `@key` and `@header.NAME` as parts.
    pub envelopes: bool,
    /// Whether its records carry the time at which they were appended.
    pub append_times: bool,
    /// Whether, with these options, a partition can have no record for a while without having ended.
    pub falls_silent: fn(&Params) -> bool,
    /// Makes one.
    pub construct: Arc<ConstructSource>,
}

impl Named for SourceInfo {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// What is known of a sink connector without making one.
#[derive(Clone)]
pub struct SinkInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// Its options.
    pub parameters: Vec<Parameter>,
    /// What it has against options that are right one by one; opens nothing.
    pub check: fn(&Params) -> Result<(), Error>,
    /// Makes one.
    pub construct: Arc<ConstructSink>,
    /// How its output becomes visible in transactions, if it can; a pipeline with a `[checkpoint]` uses it.
    pub transactional: Option<Transactional>,
}

impl Named for SinkInfo {
    fn name(&self) -> &'static str {
        self.name
    }
}
