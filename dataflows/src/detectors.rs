//! Detectors: state machines that score one key's records in time order. They know no timely and no clock.

mod adwin;
mod auto;
mod bounds;
mod cusum;
mod discord;
mod ensemble;
mod entropy;
mod ewma;
mod gaussian;
mod hampel;
mod holt_winters;
mod info;
#[cfg(test)]
mod laws;
mod page_hinkley;
mod quantiles;
mod range;
mod rate;
mod seasonal;
mod welford;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::catalogue::Catalogue;
use crate::logic::Silence;
use crate::params::{Kind, Literal, Parameter, Range};
use crate::EventTime;

pub use adwin::Adwin;
pub use auto::Auto;
pub use bounds::Bounds;
pub use cusum::Cusum;
pub use discord::Discord;
pub use ensemble::{Combine, Ensemble, EnsembleState};
pub use entropy::EntropyNovelty;
pub use ewma::EwmaZ;
pub use gaussian::WindowedGaussian;
pub use hampel::Hampel;
pub use holt_winters::HoltWinters;
pub use info::{Construct, DetectorInfo};
pub use page_hinkley::{Direction, PageHinkley};
pub use quantiles::QuantileBands;
pub use range::RunningRange;
pub use rate::RateOfChange;
pub use seasonal::{Season, Seasonal};
pub use welford::WelfordZ;

/// The score of a value that differs, where differences are measured in a unit that is 0.
const BEYOND_MEASURE: f64 = 1e9;
/// The greatest magnitude of a value that detectors with a variance learn: the squares of a million distances between
/// such values have a finite sum. A greater value is as anomalous as can be, and leaves no trace.
const LEARNABLE: f64 = 1e150;
/// The least score above 1, from which a detector of changes has found one.
const ABOVE_1: f64 = 1.0 + f64::EPSILON;
/// Records before the first score of a detector that learns what is normal, unless said otherwise.
const WARMUP_RECORDS: u32 = 30;
const WARMUP: Parameter = Parameter::with_default(
    "warmup",
    Kind::Integer(1, u32::MAX as i64),
    Literal::Integer(WARMUP_RECORDS as i64),
    "records before the first score",
);
const CLIP: Parameter = Parameter::with_default(
    "clip",
    Kind::Number(Range { from: 0.0, to: 1000.0, open: false }),
    Literal::Number(4.0),
    "deviations beyond which a value is learned as if it were no further away; 0 learns all values whole",
);

/// An online anomaly detector over one key's records.
///
/// # Laws
///
/// * Causal: removing later records never changes earlier scores.
/// * Deterministic on every platform: `libm` for exp, ln and pow; a fixed order of summation.
/// * `values` holds the selected values of a record, in the pipeline's order; none of them is NaN or infinite.
/// * Scores are finite and at least 0 whatever the finite values, and no value makes all later scores the same.
pub trait Detector: 'static {
    /// What it remembers of one key.
    type State: Clone + Serialize + DeserializeOwned + 'static;

    /// The name under which pipeline files know it.
    fn name(&self) -> &'static str;

    /// Changes whenever a state of an earlier build would be read wrongly, or would score differently.
    fn version(&self) -> u32 {
        1
    }

    /// The state of a key that has no record yet; `seed` is a hash of the detector's name and the key.
    fn start(&self, seed: u64) -> Self::State;

    /// Scores a record against what came before it, then learns from it.
    fn score(&self, state: &mut Self::State, time: EventTime, values: &[f64]) -> Score;

    /// An estimate of the bytes that a state occupies.
    fn memory(&self, _state: &Self::State) -> usize {
        size_of::<Self::State>()
    }
}

/// What a detector says of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// How anomalous, 0 or more; each detector documents the unit. `None` while the detector is warming.
    pub score: Option<f64>,
    /// The value that was expected, if the detector has one.
    pub expected: Option<f64>,
    /// The lower end of what would have been normal.
    pub lower: Option<f64>,
    /// The upper end of what would have been normal.
    pub upper: Option<f64>,
    /// The index of the value that contributed most, if the detector reads several.
    pub attribution: Option<usize>,
}

impl Score {
    /// A detector that has not seen enough yet.
    pub const WARMING: Self =
        Self { score: None, expected: None, lower: None, upper: None, attribution: None };

    /// A score alone.
    pub fn of(score: f64) -> Self {
        Self { score: Some(score), ..Self::WARMING }
    }
}

/// The detectors that are built in.
pub fn built_in() -> Catalogue<DetectorInfo> {
    let infos = [
        Adwin::info(),
        Auto::info(),
        Bounds::info(),
        Cusum::info(),
        Discord::info(),
        Ensemble::info(),
        EntropyNovelty::info(),
        EwmaZ::info(),
        Hampel::info(),
        HoltWinters::info(),
        PageHinkley::info(),
        QuantileBands::info(),
        RateOfChange::info(),
        RunningRange::info(),
        Seasonal::info(),
        WelfordZ::info(),
        WindowedGaussian::info(),
        Silence::info(),
    ];
    infos.into_iter().collect()
}
