//! Says nothing of deviations that are too small to matter.

use super::{Logic, Verdict};
use crate::params::{Kind, Literal, ParamError, Parameter, Range};
use crate::state::StateError;
use crate::{EventTime, Key};

/// Scores 0 what lies near the expected value, however unlikely it is.
///
/// A series that hardly ever moves makes anything unlikely, so that it shouts at the least change. Near is what lies within
/// the greater of `absolute`, in the unit of the value, and `fraction` times the magnitude of the expected value. Verdicts without
/// a score, a value or an expected value stay as they are: not every detector expects one.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::detectors::EwmaZ;
/// use tidewatch_dataflows::logic::{above, DeadBand, Logic};
///
/// let not_below_half_a_degree = EwmaZ::new(0.05)?.then(DeadBand::new(0.5, 0.0)?).then(above(4.0));
/// # Ok::<(), tidewatch_dataflows::params::ParamError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadBand {
    absolute: f64,
    fraction: f64,
}

impl DeadBand {
    /// How a pipeline file spells what is near whatever is expected.
    pub const ABSOLUTE: Parameter = Parameter::with_default(
        "dead_band",
        Kind::Number(Range::NON_NEGATIVE),
        Literal::Number(0.0),
        "what differs from the expected value by no more than this scores 0",
    );
    /// How it spells what is near by the size of what is expected.
    pub const FRACTION: Parameter = Parameter::with_default(
        "dead_band_fraction",
        Kind::Number(Range::NON_NEGATIVE),
        Literal::Number(0.0),
        "what differs from the expected value by no more than this fraction of it scores 0",
    );

    /// Nearness within `absolute`, in the unit of the value, or `fraction` of the expected value; both at least 0.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if a number is out of range.
    pub fn new(absolute: f64, fraction: f64) -> Result<Self, ParamError> {
        Ok(Self { absolute: Self::ABSOLUTE.number(absolute)?, fraction: Self::FRACTION.number(fraction)? })
    }

    /// What counts as near: how far from the expected value, and by which fraction of it.
    pub fn width(&self) -> (f64, f64) {
        (self.absolute, self.fraction)
    }

    fn holds(&self, verdict: &Verdict) -> bool {
        let (Some(value), Some(expected)) = (verdict.value, verdict.expected) else { return false };
        (value - expected).abs() <= self.absolute.max(self.fraction * expected.abs())
    }
}

impl Logic for DeadBand {
    type In = Verdict;
    type Out = Verdict;
    type State = ();

    fn start(&self, _key: &Key) {}

    #[inline]
    fn on_record(
        &self,
        _state: &mut (),
        time: EventTime,
        input: &Verdict,
        out: &mut impl FnMut(EventTime, Verdict),
    ) {
        let score = input.score.map(|score| if self.holds(input) { 0.0 } else { score });
        out(time, Verdict { score, ..*input });
    }

    fn copy(&self, _state: &()) {}

    fn save(&self, _state: &(), _out: &mut Vec<u8>) {}

    fn restore(&self, _bytes: &mut &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::drive::Drive;

    #[test]
    fn what_lies_near_the_expected_value_scores_0() {
        let score = |absolute, fraction, value, expected| {
            let logic = DeadBand::new(absolute, fraction).unwrap();
            let mut drive = Drive::start(&logic);
            let verdict = Verdict { value, expected, ..Verdict::of("d".into(), Some(7.0)) };
            drive.record(EventTime::MIN, &verdict);
            drive.emitted[0].1.score
        };
        assert_eq!(Some(0.0), score(0.5, 0.0, Some(10.5), Some(10.0)));
        assert_eq!(Some(7.0), score(0.5, 0.0, Some(9.25), Some(10.0)));
        assert_eq!(Some(0.0), score(0.5, 0.125, Some(-8.75), Some(-10.0)));
        assert_eq!(Some(7.0), score(0.0, 0.0, Some(10.5), Some(10.0)));
        assert_eq!(Some(7.0), score(9.0, 9.0, Some(10.0), None));
        assert_eq!(Some(7.0), score(1e308, 0.0, Some(-1e308), Some(1e308)));
        let refused = DeadBand::new(-1.0, 0.0).unwrap_err().to_string();
        assert_eq!("\"dead_band\" takes a number of at least 0, not -1", refused);
    }
}
