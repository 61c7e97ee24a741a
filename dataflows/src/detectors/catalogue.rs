//! The detectors that a pipeline can name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Detector;
use crate::logic::{Detect, DynLogic, Logic, Selection, Verdict};
use crate::params::{ParamError, Parameter, Params};
use crate::Record;

/// Makes a detection from checked parameters and the values that it reads.
pub type Construct =
    dyn Fn(&Params, Selection) -> Result<DynLogic<Record, Verdict>, ParamError> + Send + Sync;

/// What is known of a detector without making one.
#[derive(Clone)]
pub struct DetectorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it finds, in one sentence without a full stop.
    pub summary: &'static str,
    /// What its score means, and from which on a record is usually an anomaly.
    pub score: &'static str,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its cost per record, as in "O(1)".
    pub cost: &'static str,
    /// Bytes of state per key, as in "24" or "8 per record of the window".
    pub state: &'static str,
    /// Author, year and title of what it follows.
    pub source: &'static str,
    /// Makes one.
    pub construct: Arc<Construct>,
}

impl DetectorInfo {
    /// Turns a function that makes a [`Detector`] into [`DetectorInfo::construct`].
    pub fn constructor<D: Detector>(
        make: impl Fn(&Params) -> Result<D, ParamError> + Send + Sync + 'static,
    ) -> Arc<Construct> {
        Arc::new(move |params, selection| Ok(Detect::select(make(params)?, selection).erased()))
    }
}

/// The detectors by name: the built-in ones, and those that a program adds.
#[derive(Clone)]
pub struct Catalogue(BTreeMap<&'static str, DetectorInfo>);

impl Default for Catalogue {
    /// The built-in detectors.
    fn default() -> Self {
        Self(super::built_in().into_iter().map(|info| (info.name, info)).collect())
    }
}

impl Catalogue {
    /// Adds a detector, in place of one of the same name.
    pub fn add(&mut self, info: DetectorInfo) {
        self.0.insert(info.name, info);
    }

    /// The detector of this name.
    pub fn get(&self, name: &str) -> Option<&DetectorInfo> {
        self.0.get(name)
    }

    /// All detectors, by name.
    pub fn iter(&self) -> impl Iterator<Item = &DetectorInfo> {
        self.0.values()
    }
}
