//! What is said of incidents before they are final.
//!
//! Of each label, the stages of alerts that stand beyond what is final go through a copy of what is open, in the order in which they
//! would be final. What that tells is compared with what was said.

use std::collections::{BTreeMap, BTreeSet};

use super::labels::{Labels, Open};
use super::Grouping;
use crate::alerts::{Alert, Incident, IncidentId, News, Raised, Stage};
use crate::event::{Change, Revision};
use crate::{Emission, EventTime, Key, Name};

/// Where a stage stands among those of its label: by time, key and detection, then as they follow each other.
type Place = (EventTime, Key, Name, u64, Stage);

/// What is told, and when.
type Newest = (EventTime, Incident);

/// What is said of an incident.
#[derive(Default)]
struct Said {
    now: Option<Newest>,
    /// Whether it was said that it is final that it opened; of one that was open before the run, nobody need be told.
    confirmed: bool,
}

/// What is known beyond what is final.
pub(super) struct Ahead {
    grouping: Grouping,
    stages: BTreeMap<Key, BTreeMap<Place, Alert>>,
    times: BTreeSet<(EventTime, Key)>,
    /// As it was finally told last, of those that are not over, or are not said to be.
    told: BTreeMap<Key, BTreeMap<IncidentId, Newest>>,
    said: BTreeMap<Key, BTreeMap<IncidentId, Said>>,
    /// The labels of which something has changed.
    changed: BTreeSet<Key>,
    revision: u64,
}

impl Ahead {
    /// Beyond what is open where a run begins.
    pub(super) fn of(grouping: Grouping, labels: &Labels) -> Self {
        let known = |(label, open): (&Key, &Open)| {
            let said = Said { now: None, confirmed: true };
            (label.clone(), BTreeMap::from([(open.incident.id, said)]))
        };
        Self {
            grouping,
            stages: BTreeMap::new(),
            times: BTreeSet::new(),
            told: BTreeMap::new(),
            said: labels.all().map(known).collect(),
            changed: BTreeSet::new(),
            revision: 0,
        }
    }

    /// Hears what is said of an alert.
    pub(super) fn hear(&mut self, Revision { time, key, change, .. }: Revision<Alert>) {
        let (was, is) = match change {
            Change::Provisional(is) | Change::Confirmed(is) => (None, Some(is)),
            Change::Revised { was, is } => (Some(was), Some(is)),
            Change::Retracted(was) => (Some(was), None),
        };
        let label = self.grouping.label(&key);
        let stages = self.stages.entry(label.clone()).or_default();
        let place = |alert: &Alert| (time, key.clone(), alert.peak.detector, alert.anomalies, alert.stage);
        if let Some(was) = was {
            stages.remove(&place(&was));
        }
        if let Some(is) = is {
            stages.insert(place(&is), is);
            self.times.insert((time, label.clone()));
        }
        self.changed.insert(label);
    }

    /// Hears what is finally told.
    pub(super) fn tell(&mut self, Emission { time, key, value }: &Emission<Incident>) {
        self.told.entry(key.clone()).or_default().insert(value.id, (*time, value.clone()));
        self.changed.insert(key.clone());
    }

    /// Forgets the stages before `limit`, which are in what is open.
    pub(super) fn pass(&mut self, limit: EventTime) {
        while self.times.first().is_some_and(|(time, _)| *time < limit) {
            let Some((_, label)) = self.times.pop_first() else { return };
            if let Some(stages) = self.stages.get_mut(&label) {
                stages.retain(|(time, ..), _| *time >= limit);
                if stages.is_empty() {
                    self.stages.remove(&label);
                }
            }
            self.changed.insert(label);
        }
    }

    /// Whether nothing is known that is not over.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.times.is_empty() && self.told.is_empty() && self.said.is_empty()
    }

    /// What has changed since the last call.
    pub(super) fn say(&mut self, labels: &Labels) -> Vec<Raised<Incident>> {
        let mut news = Vec::new();
        for label in std::mem::take(&mut self.changed) {
            let newest = self.newest(&label, labels.open(&label));
            let told = self.told.entry(label.clone()).or_default();
            let said = self.said.entry(label.clone()).or_default();
            let ids: BTreeSet<_> = newest.keys().chain(said.keys()).copied().collect();
            for id in ids {
                let said = said.entry(id).or_default();
                let is_final = told.contains_key(&id);
                // What was open before the run is said as it finally is: what was said of it is not known.
                let may_say = is_final || !said.confirmed;
                let now = newest.get(&id).filter(|_| may_say);
                said.say(now, is_final, |what, (time, value)| {
                    let (key, revision) = (label.clone(), self.revision);
                    self.revision += 1;
                    news.push(Raised { time, key, revision, news: what, value });
                });
            }
            let is_over = |newest: &Newest| newest.1.stage.cause().is_some();
            said.retain(|id, said| {
                let is_over = told.get(id).is_some_and(is_over);
                !is_over && (said.now.is_some() || said.confirmed)
            });
            told.retain(|_, newest| !is_over(newest));
            if told.is_empty() {
                self.told.remove(&label);
            }
            if said.is_empty() {
                self.said.remove(&label);
            }
        }
        news
    }

    /// How each incident of a label would be told last, if what stands were all.
    fn newest(&self, label: &Key, open: Option<&Open>) -> BTreeMap<IncidentId, Newest> {
        let mut newest = self.told.get(label).cloned().unwrap_or_default();
        let mut open = open.cloned();
        for ((time, key, ..), alert) in self.stages.get(label).into_iter().flatten() {
            let over = open.as_ref().and_then(|open| open.over_before(*time));
            if let Some((due, incident)) = over {
                newest.insert(incident.id, (due, incident));
                open = None;
            }
            let alert = Emission { time: *time, key: key.clone(), value: *alert };
            if let Some(incident) = Open::follow(&mut open, &self.grouping, label, &alert) {
                newest.insert(incident.id, (*time, incident));
            }
        }
        newest
    }
}

impl Said {
    fn say(&mut self, now: Option<&Newest>, is_final: bool, mut tell: impl FnMut(News, Newest)) {
        let before = std::mem::replace(&mut self.now, now.cloned());
        match (before, now) {
            (None, Some(now)) if !self.confirmed => tell(News::Raised, now.clone()),
            (before, Some(now)) if before.as_ref() != Some(now) => tell(News::Revised, now.clone()),
            (Some(before), None) if !self.confirmed => tell(News::Retracted, before),
            _ => {}
        }
        if let (Some(now), true, false) = (now, is_final, self.confirmed) {
            self.confirmed = true;
            tell(News::Confirmed, now.clone());
        }
    }
}
