//! Alerts before they are final.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::StreamVec;

use crate::alerts::{Alert, AlertId, News, Raised, Stage};
use crate::event::{Change, Revision};
use crate::{EventTime, Key};

/// Extension trait for saying alerts as soon as they seem to be there.
pub trait Raise<'scope> {
    /// Replaces revisions of the stages of alerts by what becomes of each alert: raised, revised, then confirmed or retracted.
    ///
    /// An alert is said to be at the newest of its stages that stand. It is confirmed once, when it is final that it opened;
    /// and still revised after that, as it goes on. An opening that moves is another alert: one is retracted and one
    /// raised. What comes when depends on the run, as with all that is provisional.
    ///
    /// State is what is said of alerts that are not finally closed. Of one that was open already when a run went on, only
    /// what is final is said until it has gone on, finally.
    fn raise(self) -> StreamVec<'scope, EventTime, Raised<Alert>>;
}

impl<'scope> Raise<'scope> for StreamVec<'scope, EventTime, Revision<Alert>> {
    fn raise(self) -> StreamVec<'scope, EventTime, Raised<Alert>> {
        type Said = CapacityContainerBuilder<Vec<Raised<Alert>>>;
        self.unary::<Said, _, _, _>(Pipeline, "Raise", |_, _| {
            let mut followed = Followed::default();
            move |input, output| {
                let mut capability = None;
                input.for_each_stamp(|stamp, batches| {
                    if capability.is_none() {
                        capability = stamp.retain_least(0);
                    }
                    batches.flat_map(|batch| batch.drain(..)).for_each(|revision| followed.hear(revision));
                });
                // What comes together is said together: an alert whose opening changes in between is not retracted for that.
                if let Some(capability) = capability {
                    output.session(&capability).give_iterator(followed.say().into_iter());
                }
            }
        })
    }
}

/// What is said of alerts.
#[derive(Default)]
struct Followed {
    alerts: BTreeMap<AlertId, Known>,
    /// Those of which something has changed.
    changed: BTreeSet<AlertId>,
    revision: u64,
}

/// What is said of one alert.
struct Known {
    key: Key,
    /// The stages that stand, from the newest final one on, in their order.
    stages: Vec<KnownStage>,
    /// What was said last, if anything is said.
    said: Option<(EventTime, Alert)>,
    /// Whether its opening was heard; if not, it was open before this run.
    begun: bool,
    /// Whether it is final that it opened; and whether that was said.
    opened: (bool, bool),
}

/// A stage that stands.
struct KnownStage {
    time: EventTime,
    alert: Alert,
    is_final: bool,
}

impl KnownStage {
    /// Stages follow each other in time; at one time, in that of what they count.
    fn place(&self) -> (EventTime, u64, Stage) {
        (self.time, self.alert.anomalies, self.alert.stage)
    }
}

impl Followed {
    fn hear(&mut self, Revision { time, key, change, .. }: Revision<Alert>) {
        let (was, is, is_final) = match change {
            Change::Provisional(is) => (None, Some(is), false),
            Change::Revised { was, is } => (Some(was), Some(is), false),
            Change::Retracted(was) => (Some(was), None, false),
            Change::Confirmed(is) => (Some(is), Some(is), true),
        };
        if let Some(was) = was {
            if let Some(known) = self.alerts.get_mut(&was.id) {
                known.stages.retain(|stage| stage.is_final || (stage.time, stage.alert) != (time, was));
                self.changed.insert(was.id);
            }
        }
        if let Some(alert) = is {
            let known = self.alerts.entry(alert.id).or_insert_with(|| Known {
                key,
                stages: Vec::new(),
                said: None,
                begun: false,
                opened: (false, false),
            });
            known.stand(KnownStage { time, alert, is_final });
            self.changed.insert(alert.id);
        }
    }

    /// What has changed since the last call.
    fn say(&mut self) -> Vec<Raised<Alert>> {
        let mut news = Vec::new();
        for id in std::mem::take(&mut self.changed) {
            let Some(known) = self.alerts.get_mut(&id) else { continue };
            known.say(|what, time, key, alert| {
                news.push(Raised {
                    time,
                    key: key.clone(),
                    revision: self.revision,
                    news: what,
                    value: alert,
                });
                self.revision += 1;
            });
            if known.stages.iter().all(|stage| stage.is_final && stage.alert.stage.cause().is_some()) {
                self.alerts.remove(&id);
            }
        }
        news
    }
}

impl Known {
    fn stand(&mut self, stage: KnownStage) {
        self.begun |= stage.alert.stage == Stage::Opened;
        self.opened.0 |= stage.is_final;
        let at = self.stages.partition_point(|known| known.place() <= stage.place());
        self.stages.insert(at, stage);
        if let Some(newest) = self.stages.iter().rposition(|stage| stage.is_final) {
            self.stages.drain(..newest);
        }
    }

    /// Tells what has changed since the last call.
    fn say(&mut self, mut tell: impl FnMut(News, EventTime, &Key, Alert)) {
        if !self.begun {
            self.opened = (true, true);
        }
        // Of one that was open before this run, what was said then is not known: so nothing is said that may be taken back.
        let may_say = !self.opened.1 || self.stages.iter().any(|stage| stage.is_final);
        let now = self.stages.last().filter(|_| may_say).map(|newest| (newest.time, newest.alert));
        let before = std::mem::replace(&mut self.said, now);
        match (before, now) {
            (None, Some((time, alert))) if !self.opened.1 => tell(News::Raised, time, &self.key, alert),
            (before, Some((time, alert))) if before != Some((time, alert)) => {
                tell(News::Revised, time, &self.key, alert);
            }
            (Some((time, alert)), None) if !self.opened.1 => tell(News::Retracted, time, &self.key, alert),
            _ => {}
        }
        if let ((true, false), Some((time, alert))) = (self.opened, now) {
            self.opened.1 = true;
            tell(News::Confirmed, time, &self.key, alert);
        }
    }
}
