//! Events that wait for the frontier.

use std::collections::BTreeMap;

use tidewatch_dataflows::{Event, EventTime};

use crate::{Control, Progress};

/// Events by their time, in each in the order of arrival.
pub(super) struct Waiting<E>(BTreeMap<EventTime, Vec<E>>);

impl<E> Default for Waiting<E> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<E: Event> Waiting<E> {
    pub(super) fn add(&mut self, events: impl Iterator<Item = E>) {
        for event in events {
            // Most times have one event, which is all that a blocked sink holds of it: a list that grows by itself has room for four.
            self.0.entry(event.time()).or_insert_with(|| Vec::with_capacity(1)).push(event);
        }
    }

    /// Takes the events that a frontier has closed, each time in its final order.
    pub(super) fn close(&mut self, frontier: Progress) -> BTreeMap<EventTime, Vec<E>> {
        let open = match frontier {
            Progress::Below(limit) => self.0.split_off(&limit),
            Progress::End => BTreeMap::new(),
        };
        let mut closed = std::mem::replace(&mut self.0, open);
        // Stable: events that are equal in the order come from one key, in the order of their emission.
        closed.values_mut().for_each(|events| events.sort_by(E::order));
        closed
    }
}

/// Counts what waits, where sources must wait for it.
pub(super) fn keep<E: Event>(control: Control) -> impl Fn(&[E]) {
    move |events| {
        for event in events.iter().filter(|event| event.weight() > 0) {
            control.keep(event.time(), event.weight() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::event::Emission;
    use tidewatch_dataflows::Key;

    use super::*;

    fn emission(micros: i64, value: f64) -> Emission<f64> {
        Emission { time: EventTime::from_micros(micros), key: Key::new("k"), value }
    }

    #[test]
    fn an_event_alone_at_its_time_has_no_room_for_others() {
        let mut waiting = Waiting::default();
        waiting.add([3, 1, 1, 2].into_iter().map(|micros| emission(micros, 0.5)));
        let closed = waiting.close(Progress::End);
        let room = |micros: i64| closed[&EventTime::from_micros(micros)].capacity();
        assert_eq!((1, 1), (room(2), room(3)));
        assert!(room(1) >= 2, "there are two");
    }
}
