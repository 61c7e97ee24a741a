//! What a pipeline file can name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewatch_connectors::format::Framing;
use tidewatch_connectors::{Error, Sink, Source};
use tidewatch_dataflows::detectors::Catalogue;
use tidewatch_dataflows::params::{Parameter, Params};
use tidewatch_dataflows::pipelines::Operators;

mod built_in;

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
/// assert!(registry.sources.contains_key("file") && registry.operators.get("window").is_some());
/// ```
#[derive(Clone)]
pub struct Registry {
    /// The detectors.
    pub detectors: Catalogue,
    /// The detectors that read several values of a record together; each of the others reads one.
    pub multivariate: BTreeSet<&'static str>,
    /// What a `[[step]]` can name.
    pub operators: Operators,
    /// What a `[[source]]` can name.
    pub sources: BTreeMap<&'static str, SourceInfo>,
    /// What a `[[sink]]` can name.
    pub sinks: BTreeMap<&'static str, SinkInfo>,
}

impl Default for Registry {
    /// What is built in.
    fn default() -> Self {
        Self {
            detectors: Catalogue::default(),
            multivariate: BTreeSet::new(),
            operators: Operators::default(),
            sources: built_in::sources().into_iter().map(|info| (info.name, info)).collect(),
            sinks: built_in::sinks().into_iter().map(|info| (info.name, info)).collect(),
        }
    }
}

impl Registry {
    /// Adds a source connector, in place of one of the same name.
    pub fn add_source(&mut self, info: SourceInfo) {
        self.sources.insert(info.name, info);
    }

    /// Adds a sink connector, in place of one of the same name.
    pub fn add_sink(&mut self, info: SinkInfo) {
        self.sinks.insert(info.name, info);
    }
}

/// What a source needs to know beside its options.
#[derive(Clone, Debug)]
pub struct SourceContext {
    /// How bytes fall into payloads.
    pub framing: Framing,
    /// The longest record in bytes.
    pub max_record: usize,
}

/// Makes a source from checked options.
pub type ConstructSource = dyn Fn(&Params, &SourceContext) -> Result<Arc<dyn Source>, Error> + Send + Sync;

/// Makes a sink from checked options.
pub type ConstructSink = dyn Fn(&Params) -> Result<Box<dyn Sink>, Error> + Send + Sync;

/// What is known of a source connector without making one.
#[derive(Clone)]
pub struct SourceInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it reads, in one sentence without a full stop.
    pub summary: &'static str,
    /// Its options.
    pub parameters: Vec<Parameter>,
    /// Whether it gives rows, with key part [`ROW_KEY`] and value [`ROW_VALUE`], so that it needs no format.
    pub rows: bool,
    /// Whether its records carry the time at which they were appended.
    pub append_times: bool,
    /// Whether, with these options, a partition can have no record for a while without having ended.
    pub falls_silent: fn(&Params) -> bool,
    /// Makes one.
    pub construct: Arc<ConstructSource>,
}

/// What is known of a sink connector without making one.
#[derive(Clone)]
pub struct SinkInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it writes to, in one sentence without a full stop.
    pub summary: &'static str,
    /// Its options.
    pub parameters: Vec<Parameter>,
    /// Makes one.
    pub construct: Arc<ConstructSink>,
}
