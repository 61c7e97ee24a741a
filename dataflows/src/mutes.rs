//! What nobody wants to hear of: maintenance windows, and keys that are muted.
//!
//! A list of [`Mute`]s is reference data that may change while a pipeline runs. What makes output a function of it is that each
//! edition of the list has an event time from which on it is in force ([`Edition`]): which one holds for an alert depends
//! on the alert's time, not on when somebody looked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{EventTime, Key};

/// An entry of a list: whose alerts are muted, and when.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mute {
    /// What each part of a key must be; none if it may be anything.
    pub key: Vec<Option<Box<str>>>,
    /// The detection whose alerts are muted; none if those of all are.
    pub detector: Option<Box<str>>,
    /// From when on.
    pub from: EventTime,
    /// Until when: the first instant at which it does not hold.
    pub to: EventTime,
    /// Why, for people.
    pub reason: Box<str>,
}

impl Mute {
    /// Whether it mutes alerts of a detection of a key at a time.
    pub fn covers(&self, key: &Key, detector: &str, time: EventTime) -> bool {
        self.holds(time) && self.concerns(key, detector)
    }

    fn holds(&self, time: EventTime) -> bool {
        self.from <= time && time < self.to
    }

    fn concerns(&self, key: &Key, detector: &str) -> bool {
        self.detector.as_deref().is_none_or(|one| one == detector)
            && self
                .key
                .iter()
                .zip(key.parts())
                .all(|(one, part)| one.as_deref().is_none_or(|one| one == part))
    }
}

/// An edition of reference data, in force from a time on until the next one is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edition<T> {
    /// From when on.
    pub from: EventTime,
    /// What holds then.
    pub value: T,
}

/// The editions of a list of mutes. Before the first one nothing is muted.
///
/// # Examples
///
/// ```
/// use tidewatch_dataflows::mutes::{Mute, Mutes, Edition};
/// use tidewatch_dataflows::{EventTime, Key};
///
/// let at = |secs| EventTime::from_secs(secs).unwrap();
/// let key = vec![Some("web-1".into())];
/// let mute = Mute { key, detector: None, from: at(10), to: at(20), reason: "update".into() };
/// let mut mutes = Mutes::default();
/// mutes.add(Edition { from: EventTime::MIN, value: vec![mute] });
/// let web = Key::new("web-1");
/// assert_eq!(None, mutes.muted(&web, "slow", at(9)));
/// assert_eq!(Some(("update", at(20))), mutes.muted(&web, "slow", at(10)));
/// // A later edition may take it away.
/// mutes.add(Edition { from: at(15), value: vec![] });
/// assert_eq!(Some(("update", at(15))), mutes.muted(&web, "slow", at(10)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mutes(BTreeMap<EventTime, Vec<Mute>>);

impl Mutes {
    /// Adds an edition; of two that are in force from the same time on, the one that is added last holds.
    pub fn add(&mut self, edition: Edition<Vec<Mute>>) {
        self.0.insert(edition.from, edition.value);
    }

    /// Forgets what is no longer in force at `time`.
    pub fn forget(&mut self, time: EventTime) {
        if let Some((newest, _)) = self.0.range(..=time).next_back() {
            let newest = *newest;
            self.0.retain(|from, _| *from >= newest);
        }
    }

    /// Why alerts of a detection of a key are muted at a time, if they are, and the first instant after it at which they are not.
    pub fn muted(&self, key: &Key, detector: &str, time: EventTime) -> Option<(&str, EventTime)> {
        let (in_force, _) = self.0.range(..=time).next_back()?;
        let mut editions = self.0.range(in_force..).peekable();
        let (mut reason, mut until) = (None, time);
        while let Some((_, mutes)) = editions.next() {
            let end = editions.peek().map_or(EventTime::MAX, |(from, _)| **from);
            let mut ours: Vec<_> = mutes.iter().filter(|mute| mute.concerns(key, detector)).collect();
            reason = reason.or_else(|| ours.iter().find(|mute| mute.holds(time)).map(|mute| &*mute.reason));
            ours.sort_by_key(|mute| mute.from);
            for mute in ours {
                if mute.holds(until) && until < end {
                    until = mute.to.min(end);
                }
            }
            // It goes on only if the next edition mutes it, too.
            if until < end {
                break;
            }
        }
        reason.map(|reason| (reason, until))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> EventTime {
        EventTime::from_secs(secs).unwrap()
    }

    fn mute() -> impl Strategy<Value = Mute> {
        let part = || prop::option::of(prop::sample::select(vec!["a", "b"]).prop_map(Box::from));
        let detector = prop::option::of(Just(Box::from("d")));
        (part(), part(), detector, 0i64..30, 0i64..30).prop_map(|(one, other, detector, from, to)| Mute {
            key: vec![one, other],
            detector,
            from: at(from),
            to: if to == 29 { EventTime::MAX } else { at(to) },
            reason: format!("{from} to {to}").into(),
        })
    }

    /// Whether they are muted: what the edition in force says.
    fn muted_slow(editions: &[Edition<Vec<Mute>>], key: &Key, detector: &str, time: EventTime) -> bool {
        let newest =
            editions.iter().filter(|edition| edition.from <= time).max_by_key(|edition| edition.from);
        newest.is_some_and(|edition| edition.value.iter().any(|mute| mute.covers(key, detector, time)))
    }

    proptest! {
        #[test]
        fn what_is_muted_is_so_until_the_first_instant_at_which_no_edition_in_force_says_so(
            editions in prop::collection::btree_map(0i64..30, prop::collection::vec(mute(), 0..4), 0..4),
            (one, other) in (prop::sample::select(vec!["a", "b"]), prop::sample::select(vec!["a", "b"])),
            detector in prop::sample::select(vec!["d", "e"]), forgotten in 0i64..40,
        ) {
            let editions = editions.into_iter().map(|(from, value)| Edition { from: at(from), value });
            let editions: Vec<_> = editions.collect();
            let mut mutes = Mutes::default();
            editions.iter().cloned().for_each(|edition| mutes.add(edition));
            mutes.forget(at(forgotten));
            let key = Key::from_parts([one, other]);
            let is_muted = |secs| muted_slow(&editions, &key, detector, at(secs));
            for secs in forgotten..40 {
                let muted = mutes.muted(&key, detector, at(secs));
                prop_assert_eq!(is_muted(secs), muted.is_some(), "at {}", secs);
                let Some((_, until)) = muted else { continue };
                // Whole seconds are all instants at which anything changes.
                let first = (secs..41).find(|secs| !is_muted(*secs)).map_or(EventTime::MAX, at);
                prop_assert_eq!(first, until, "from {}", secs);
            }
        }
    }
}
