//! The detection of the job, as anybody would write it by hand.

/// What is called an anomaly: a score from here on.
pub(crate) const THRESHOLD: f64 = 6.0;
pub(crate) const ALPHA: f64 = 0.05;
/// After so many records of a key there are scores.
pub(crate) const WARMUP: u32 = 10;

/// Mean and variance of a key, exponentially weighted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ewma {
    mean: f64,
    variance: f64,
    records: u32,
}

impl Ewma {
    /// How many standard deviations a value is from the mean, unless it is too early to say; then learns the value.
    #[inline]
    pub(crate) fn score(&mut self, value: f64) -> Option<f64> {
        if self.records == 0 {
            *self = Self { mean: value, variance: 0.0, records: 1 };
            return None;
        }
        let distance = value - self.mean;
        let score = if distance == 0.0 { 0.0 } else { distance.abs() / self.variance.sqrt() };
        let is_warm = self.records >= WARMUP;
        let step = ALPHA * distance;
        self.mean += step;
        self.variance = (1.0 - ALPHA) * (self.variance + distance * step);
        self.records += 1;
        is_warm.then_some(score)
    }
}
