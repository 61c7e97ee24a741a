//! From the parts that a pipeline names to the one logic that runs per key.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::logic::window::Window;
use crate::logic::{DynLogic, Every, Logic, Verdict};
use crate::params::{ParamError, Parameter, Params};
use crate::Record;

/// Makes a step from checked parameters.
pub type ConstructStep = dyn Fn(&Params) -> Result<DynLogic<Record, Record>, ParamError> + Send + Sync;

/// What is known of an operator that a `[[step]]` can name.
#[derive(Clone)]
pub struct OperatorInfo {
    /// The name in pipeline files.
    pub name: &'static str,
    /// What it does, in one sentence without a full stop.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Makes one.
    pub construct: Arc<ConstructStep>,
}

/// The operators by name: the built-in ones, and those that a program adds.
#[derive(Clone)]
pub struct Operators(BTreeMap<&'static str, OperatorInfo>);

impl Default for Operators {
    /// The built-in operators.
    fn default() -> Self {
        let mut operators = Self(BTreeMap::new());
        operators.add(OperatorInfo {
            name: "window",
            summary: "replaces records by one for each window of event time",
            parameters: Window::PARAMETERS.to_vec(),
            construct: Arc::new(|params| Ok(Window::from_params(params)?.erased())),
        });
        operators
    }
}

impl Operators {
    /// Adds an operator, in place of one of the same name.
    pub fn add(&mut self, info: OperatorInfo) {
        self.0.insert(info.name, info);
    }

    /// The operator of this name.
    pub fn get(&self, name: &str) -> Option<&OperatorInfo> {
        self.0.get(name)
    }

    /// All operators, by name.
    pub fn iter(&self) -> impl Iterator<Item = &OperatorInfo> {
        self.0.values()
    }
}

/// Composes steps, one after another, with detections side by side behind them.
pub fn compose(
    steps: Vec<DynLogic<Record, Record>>,
    detections: Vec<DynLogic<Record, Verdict>>,
) -> DynLogic<Record, Verdict> {
    let detections = Every::of(detections).erased();
    steps.into_iter().rev().fold(detections, |after, step| step.then(after).erased())
}
