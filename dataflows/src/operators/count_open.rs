//! How many anomalies are open.

use differential_dataflow::operators::CountTotal;
use differential_dataflow::{ExchangeData, Hashable, VecCollection};

use crate::logic::Verdict;
use crate::{Emission, EventTime, Key};

/// Extension trait for counting the anomalies that are open, by a label.
pub trait CountOpen<'scope> {
    /// Replaces verdicts by the number of open anomalies of each label that has any.
    ///
    /// An anomaly of a key and detection opens with the verdict with which the key becomes anomalous and closes with the one
    /// with which it ceases to be: the verdicts that [`Threshold::and_turns`](crate::logic::Threshold::and_turns) marks;
    /// others change nothing. A detection that speaks only when something is wrong, as `no-record` does, closes nothing;
    /// and a key that loses its state to a limit leaves its anomaly open.
    ///
    /// State is a count per label, and what has come but is ahead of the frontier. A verdict that is retracted or revised
    /// is as if it had never been. The counts are those of the collection: final for
    /// [`accumulate`](super::Accumulate::accumulate), of the moment for
    /// [`accumulate_as_said`](super::Accumulate::accumulate_as_said).
    fn count_open<L: ExchangeData + Hashable>(
        self,
        label: impl Fn(&Key) -> L + 'static,
    ) -> VecCollection<'scope, EventTime, (L, isize)>;
}

impl<'scope> CountOpen<'scope> for VecCollection<'scope, EventTime, Emission<Verdict>> {
    fn count_open<L: ExchangeData + Hashable>(
        self,
        label: impl Fn(&Key) -> L + 'static,
    ) -> VecCollection<'scope, EventTime, (L, isize)> {
        let opened = |verdict: &Verdict| if verdict.anomalous { 1_isize } else { -1 };
        self.filter(|emission| emission.value.turned)
            .explode(move |emission| Some((label(&emission.key), opened(&emission.value))))
            .count_total()
    }
}
