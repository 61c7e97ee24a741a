//! The whole `tidewatch` program with a detector of one's own: `cargo run --example custom_detector` runs
//! `custom_detector.toml`, and `cargo run --example custom_detector -- detectors stuck` describes the detector.

use std::env::args_os;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use tidewatch::dataflows::detectors::DetectorInfo;
use tidewatch::dataflows::params::{Kind, Literal, ParamError, Parameter, Range};
use tidewatch::prelude::*;
use tidewatch::registry::Registry;

/// Scores a value by how many records in a row have stayed within `tolerance` of the first one of them.
struct Stuck {
    tolerance: f64,
}

/// Where a row of records began, and how many there are.
#[derive(Clone, Serialize, Deserialize)]
struct Run {
    anchor: f64,
    length: u32,
}

impl Detector for Stuck {
    type State = Option<Run>;

    fn name(&self) -> &'static str {
        "stuck"
    }

    fn start(&self, _seed: u64) -> Option<Run> {
        None
    }

    fn score(&self, state: &mut Option<Run>, _time: EventTime, values: &[f64]) -> Score {
        let run = match state.take() {
            Some(run) if (values[0] - run.anchor).abs() <= self.tolerance => {
                Run { length: run.length.saturating_add(1), ..run }
            }
            _ => Run { anchor: values[0], length: 1 },
        };
        let score = Score { expected: Some(run.anchor), ..Score::of(f64::from(run.length)) };
        *state = Some(run);
        score
    }
}

const TOLERANCE: Parameter = Parameter::with_default(
    "tolerance",
    Kind::Number(Range::NON_NEGATIVE),
    Literal::Number(0.0),
    "how far a value may be from the first one of a row to belong to it",
);

/// All that is built in, and `stuck`.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.detectors.add(DetectorInfo {
        name: "stuck",
        summary: "values that no longer change",
        score: "records in a row with the same value",
        threshold: None,
        cool_down: 0,
        multivariate: false,
        parameters: vec![TOLERANCE],
        cost: "O(1)",
        state: "24",
        source: "elementary",
        construct: DetectorInfo::constructor(|params| {
            Ok::<_, ParamError>(Stuck { tolerance: params.value("tolerance") })
        }),
    });
    registry
}

fn main() -> ExitCode {
    match args_os().len() {
        1 => tidewatch::cli::main_with(registry(), ["tidewatch", "run", "examples/custom_detector.toml"]),
        _ => tidewatch::cli::main(registry()),
    }
}
