//! What is known of a detector without making one.

use std::sync::Arc;

use super::Detector;
use crate::catalogue::{Catalogue, Named};
use crate::logic::{Detect, DynLogic, Logic, Selection, Verdict};
use crate::params::{ParamError, Parameter, Params};
use crate::Record;

/// Makes a detection from checked parameters, the values that it reads, and the detectors that it may be made of.
pub type Construct = dyn Fn(&Params, Selection, &Catalogue<DetectorInfo>) -> Result<DynLogic<Record, Verdict>, ParamError>
    + Send
    + Sync;

/// What is known of a detector without making one.
#[derive(Clone)]
pub struct DetectorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it finds, in one sentence without a full stop.
    pub summary: &'static str,
    /// What its score means, and from which on a record is usually an anomaly.
    pub score: &'static str,
    /// From which score on a record is an anomaly where a pipeline does not say; none if that hangs on the values.
    pub threshold: Option<f64>,
    /// How many records before it a score must be above where a pipeline does not say; 0 lets all pass.
    pub cool_down: u32,
    /// Whether it reads several values of a record together, instead of one.
    pub multivariate: bool,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its cost per record, as in "O(1)".
    pub cost: &'static str,
    /// Bytes of state per key, as in "24"; it begins with those of a key that has no record yet.
    pub state: &'static str,
    /// Author, year and title of what it follows.
    pub source: &'static str,
    /// Makes one.
    pub construct: Arc<Construct>,
}

impl Named for DetectorInfo {
    fn name(&self) -> &'static str {
        self.name
    }
}

impl DetectorInfo {
    /// Turns a function that makes a [`Detector`] into [`DetectorInfo::construct`].
    pub fn constructor<D: Detector>(
        make: impl Fn(&Params) -> Result<D, ParamError> + Send + Sync + 'static,
    ) -> Arc<Construct> {
        Arc::new(move |params, selection, _| Ok(Detect::select(make(params)?, selection).erased()))
    }
}
