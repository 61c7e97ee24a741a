use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::play::{limits, logics, script, Boxed, Play, Said};
use super::super::Limits;
use super::*;

/// What arrived at a time: the partition, and its rows.
type Arrived = (u8, Vec<(EventTime, u8, f64)>);
/// What is kept of each key.
type Kept = BTreeMap<String, (EventTime, Option<Vec<u8>>)>;

impl Play {
    /// Saves the states of at most so many slots; `true` once all are saved.
    fn save_some(&mut self, at: &mut usize, mut slots: usize) -> bool {
        for group in self.state.groups.iter_mut().skip(*at) {
            let (looked_at, is_done) = group.save_some(&self.state.logic, slots, &mut self.saved);
            slots -= looked_at.min(slots);
            *at += usize::from(is_done);
            if !is_done {
                return false;
            }
        }
        true
    }

    /// Takes what was saved.
    fn take_saved(&mut self, kept: &mut Kept) {
        for change in std::mem::replace(&mut self.saved, Changes::at(EventTime::MIN)).iter() {
            kept.insert(change.key.to_owned(), (change.last, change.state.map(<[u8]>::to_vec)));
        }
    }

    fn begin(&mut self) {
        let (boundary, saved) = (self.frontier, &mut self.saved);
        self.state.groups.iter_mut().for_each(|group| group.begin_saving(boundary, saved));
    }

    fn restored(logic: Boxed, limits: Limits, boundary: EventTime, kept: Kept) -> Self {
        let mut play = Self::new(logic, limits, None);
        let give = move |take: &mut Take<'_>| {
            kept.iter().try_for_each(|(key, (last, state))| {
                take(Change { key, last: *last, state: state.as_deref() })
            })
        };
        play.state.restore(Some(boundary), Box::new(give)).expect("it was saved");
        play.frontier = boundary;
        play
    }
}

/// As a sink is given them: what one key emits at one time stays in order.
fn in_order(said: &[Said]) -> Vec<Said> {
    let mut said = said.to_vec();
    said.sort_by(|(time, key, _), (other, than, _)| (time, key).cmp(&(other, than)));
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Saved some slots at a time while records go on, at any boundary, then restored: what follows is the same.
    #[test]
    fn what_is_restored_at_any_boundary_goes_on_as_if_nothing_had_happened(
        script in script(), limits in limits(), slots in 1usize..5, every in 1usize..4,
    ) {
        for (name, logic) in logics() {
            let mut whole = Play::new(logic(), limits, None);
            whole.state.groups.iter_mut().for_each(|group| group.want_saved(None));
            let mut arrived: Vec<Arrived> = Vec::new();
            let (mut kept, mut at, mut saving) = (Kept::new(), 0, None);
            // At each boundary what is kept, and how much had been emitted and evicted.
            let mut boundaries: Vec<(EventTime, usize, usize, Kept)> = Vec::new();
            let mut finish = |whole: &mut Play, saving: &mut Option<(EventTime, usize, usize)>, at: &mut usize| {
                if let Some((boundary, emitted, evicted)) = saving.take() {
                    assert!(whole.save_some(at, usize::MAX));
                    whole.take_saved(&mut kept);
                    boundaries.push((boundary, emitted, evicted, kept.clone()));
                }
            };
            for (step, (partition, rows, advance)) in script.iter().enumerate() {
                let rows: Vec<_> = rows.iter().map(|(ahead, key, value)| (whole.time(*ahead), *key, *value)).collect();
                whole.arrive_at(*partition, &rows);
                arrived.push((*partition, rows));
                if *advance > 0 {
                    whole.advance(whole.time(*advance * 4));
                }
                if saving.is_some() {
                    whole.save_some(&mut at, slots);
                }
                if step % every == 0 {
                    finish(&mut whole, &mut saving, &mut at);
                    whole.begin();
                    (saving, at) = (Some((whole.frontier, whole.emitted.len(), whole.evicted)), 0);
                }
            }
            let last = whole.frontier;
            // The end may come while states are being saved.
            whole.advance(EventTime::MAX);
            finish(&mut whole, &mut saving, &mut at);
            for (boundary, emitted, evicted, kept) in boundaries {
                let mut again = Play::restored(logic(), limits, boundary, kept);
                for (partition, rows) in &arrived {
                    let rows: Vec<_> = rows.iter().copied().filter(|(time, ..)| *time >= boundary).collect();
                    again.arrive_at(*partition, &rows);
                }
                again.advance(last);
                again.advance(EventTime::MAX);
                let expected = in_order(&whole.emitted[emitted..]);
                prop_assert_eq!(expected, in_order(&again.emitted), "{} from {}", name, boundary);
                prop_assert_eq!(whole.evicted - evicted, again.evicted, "{} from {}", name, boundary);
            }
        }
    }
}
