//! From the parts that a pipeline names to the one logic that runs per key.

mod rules;

use std::sync::Arc;

use crate::alerts::Finding;
use crate::catalogue::Named;
use crate::logic::{DynLogic, Every, Logic};
use crate::params::{ParamError, Parameter, Params};
use crate::{Name, Record};

pub use rules::Rules;

/// Makes a step from checked parameters.
pub type ConstructStep = dyn Fn(&Params) -> Result<DynLogic<Record, Record>, ParamError> + Send + Sync;

/// What is known of an operator that a `[[step]]` can name.
#[derive(Clone)]
pub struct OperatorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Makes one.
    pub construct: Arc<ConstructStep>,
}

impl Named for OperatorInfo {
    fn name(&self) -> &'static str {
        self.name
    }
}

/// Composes steps, one after another, with detections side by side behind them, each with its name.
pub fn compose(
    steps: Vec<DynLogic<Record, Record>>,
    detections: Vec<(Name, DynLogic<Record, Finding>)>,
) -> DynLogic<Record, Finding> {
    let detections = Every::named(detections).erased();
    steps.into_iter().rev().fold(detections, |after, step| step.then(after).erased())
}
