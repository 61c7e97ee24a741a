//! What a pipeline file can name.

use std::collections::{BTreeMap, BTreeSet};

use tidewatch_dataflows::detectors::Catalogue;
use tidewatch_dataflows::params::{ParamError, Parameter, Params};

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
/// assert!(registry.sources.contains_key("file") && registry.operators.contains_key("window"));
/// ```
#[derive(Clone)]
pub struct Registry {
    /// The detectors.
    pub detectors: Catalogue,
    /// The detectors that read several values of a record together; each of the others reads one.
    pub multivariate: BTreeSet<&'static str>,
    /// What a `[[step]]` can name.
    pub operators: BTreeMap<&'static str, OperatorInfo>,
    /// What a `[[source]]` can name.
    pub sources: BTreeMap<&'static str, ConnectorInfo>,
    /// What a `[[sink]]` can name.
    pub sinks: BTreeMap<&'static str, ConnectorInfo>,
}

impl Default for Registry {
    /// What is built in.
    fn default() -> Self {
        let by_name = |infos: Vec<ConnectorInfo>| infos.into_iter().map(|info| (info.name, info)).collect();
        Self {
            detectors: Catalogue::default(),
            multivariate: BTreeSet::new(),
            operators: built_in::operators().into_iter().map(|info| (info.name, info)).collect(),
            sources: by_name(built_in::sources()),
            sinks: by_name(built_in::sinks()),
        }
    }
}

/// What is known of a source or sink connector without making one.
#[derive(Clone, Debug)]
pub struct ConnectorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it reads or writes, in one sentence without a full stop.
    pub summary: &'static str,
    /// Its options.
    pub parameters: Vec<Parameter>,
    /// Whether it gives rows, with key part [`ROW_KEY`] and value [`ROW_VALUE`], so that it needs no format.
    pub rows: bool,
    /// Whether its records carry the time at which they were appended.
    pub append_times: bool,
    /// Whether, with these options, a partition can have no record for a while without having ended.
    pub falls_silent: fn(&Params) -> bool,
}

/// What is known of an operator without making one.
#[derive(Clone, Debug)]
pub struct OperatorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it does, in one sentence without a full stop.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Checks the parameters, each of which is right by itself, together.
    pub check: fn(&Params) -> Result<(), ParamError>,
}
