//! From scores to verdicts and alerts.

use crate::alerts::Finding;
use crate::logic::{
    Calibrate, CoolDown, DeadBand, DynLogic, Episodes, Logic, Rebaseline, Threshold, Verdict,
};
use crate::params::ParamError;
use crate::{Lapse, Name, Record};

/// How the scores of a detection become verdicts and alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What scores 0 because it is near what was expected, if anything does.
    pub dead_band: Option<DeadBand>,
    /// After how many scores of a key each is replaced by one minus its tail probability, if it is.
    pub calibrate: Option<u32>,
    /// After how many anomalous scores more than others a level is the new baseline, if it ever is.
    pub rebaseline_after: Option<u32>,
    /// For how many records, or how long, a score must be above those before it, or it becomes 0.
    pub cool_down: Lapse,
    /// The score from which a key is anomalous.
    pub threshold: f64,
    /// The score below which it no longer is; at most `threshold`.
    pub clear: f64,
    /// For how many records, or how long, nothing must be anomalous for an alert to close.
    pub close_after: Lapse,
    /// How many times as bad an open alert must become to be told again.
    pub rearm: f64,
    /// The score from which an alert is critical, if any is.
    pub critical: Option<f64>,
}

impl Rules {
    /// Applies them to what gives the scores of `detector`, in an order that never changes: dead band, calibration, new
    /// baseline, cool-down, threshold, episodes; with `all`, normal verdicts are emitted too.
    ///
    /// # Errors
    ///
    /// [`ParamError`] if one is out of range.
    pub fn apply(
        &self,
        scores: DynLogic<Record, Verdict>,
        pipeline: Name,
        detector: Name,
        all: bool,
    ) -> Result<DynLogic<Record, Finding>, ParamError> {
        let mut scores = scores;
        if let Some(dead_band) = self.dead_band {
            scores = scores.then(dead_band).erased();
        }
        if let Some(warmup) = self.calibrate {
            scores = scores.then(Calibrate::new(warmup)?).erased();
        }
        if let Some(after) = self.rebaseline_after {
            scores = Rebaseline::new(scores, self.threshold, self.clear, after)?.erased();
        }
        if self.cool_down != Lapse::NONE {
            scores = scores.then(CoolDown::new(self.cool_down)?).erased();
        }
        let threshold = Threshold::new(self.threshold, self.clear)?.and_normal();
        Ok(scores.then(threshold).then(self.episodes(pipeline, detector, all)?).erased())
    }

    fn episodes(&self, pipeline: Name, detector: Name, all: bool) -> Result<Episodes, ParamError> {
        let mut episodes =
            Episodes::new(pipeline, detector).close_after(self.close_after)?.rearm(self.rearm)?;
        if self.calibrate.is_some() {
            episodes = episodes.calibrated();
        }
        if let Some(critical) = self.critical {
            episodes = episodes.critical(critical);
        }
        Ok(if all { episodes.and_normal() } else { episodes })
    }
}
