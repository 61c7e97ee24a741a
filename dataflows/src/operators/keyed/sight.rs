//! What the logic of a worker is at: one store per record, read only when somebody asks.

use std::cell::{Cell, RefCell};

use super::buckets::{PartitionNumber, Row};
use super::group::Names;
use crate::record::{KeyNumber, Offset};
use crate::underway::{Tell, Underway};
use crate::{EventTime, PartitionId};

/// Knows what the logic of one operator is called for.
pub(super) struct Sight {
    /// The keys of each key group.
    names: Vec<Names>,
    /// Each partition by its number, with the offset of its newest row.
    partitions: RefCell<Vec<(PartitionId, Offset)>>,
    /// The first microsecond of the bucket whose rows leave.
    start: Cell<i64>,
    row: Cell<Row>,
    /// The deadline that a key is called for; [`EventTime::MAX`] is the end.
    deadline: Cell<Option<(EventTime, KeyNumber)>>,
    /// A record that the logic is called with as it arrives, before the frontier has passed it.
    arrival: Cell<Option<Arrival>>,
}

type Arrival = (PartitionId, Offset, KeyNumber, EventTime);

impl Sight {
    pub(super) fn new(names: Vec<Names>) -> Self {
        Self {
            names,
            partitions: RefCell::default(),
            start: Cell::new(0),
            row: Cell::new(Row::NONE),
            deadline: Cell::new(None),
            arrival: Cell::new(None),
        }
    }

    /// A partition has rows up to `newest`.
    pub(super) fn reach(&self, number: PartitionNumber, partition: PartitionId, newest: Offset) {
        let mut partitions = self.partitions.borrow_mut();
        if partitions.len() <= number.index() {
            // A partition that has sent no row yet may have a lower number; nobody asks for it before it has.
            partitions.resize(number.index() + 1, (partition, newest));
        }
        partitions[number.index()] = (partition, newest);
    }

    /// The rows of a bucket with this first microsecond follow.
    pub(super) fn enter(&self, start: i64) {
        self.start.set(start);
    }

    /// The logic is called with this row, until it is called with another one.
    #[inline]
    pub(super) fn at_row(&self, row: Row) {
        self.row.set(row);
    }

    /// No more rows follow.
    pub(super) fn past_rows(&self) {
        self.row.set(Row::NONE);
    }

    /// The logic is called for a deadline of a key, whatever row comes next.
    #[inline]
    pub(super) fn at_deadline(&self, time: EventTime, key: KeyNumber) {
        self.deadline.set(Some((time, key)));
    }

    /// The logic is called with a record that arrives, and all that it makes due or has taken anew.
    pub(super) fn at_arrival(&self, arrival: Option<Arrival>) {
        self.arrival.set(arrival);
    }

    #[inline]
    pub(super) fn past_deadline(&self) {
        self.deadline.set(None);
    }
}

impl Tell for Sight {
    fn tell(&self) -> Option<Underway> {
        let key = |number: KeyNumber| {
            let names = self.names[number.group().index()].try_borrow().ok()?;
            Some(names.get(number.index())?.key.clone())
        };
        if let Some((partition, offset, number, time)) = self.arrival.get() {
            return Some(Underway::Record { partition, offset, key: key(number)?, time });
        }
        if let Some((time, number)) = self.deadline.get() {
            let key = key(number)?;
            return Some(match time {
                EventTime::MAX => Underway::End { key },
                time => Underway::Deadline { key, time },
            });
        }
        let row = self.row.get();
        if row.is_none() {
            return None;
        }
        let (partition, newest) = *self.partitions.try_borrow().ok()?.get(row.partition().index())?;
        let (offset, time) = (row.offset(newest), row.time(self.start.get()));
        Some(Underway::Record { partition, offset, key: key(row.key)?, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::keyed::{Buckets, Row};
    use crate::record::{Key, KeyId};

    #[test]
    fn partitions_may_have_rows_in_another_order_than_they_were_numbered_in() {
        let sight = Sight::new(vec![Names::default(); crate::record::KEY_GROUPS]);
        let ids = ["a", "b", "c"].map(|name| PartitionId::of("s", name));
        let mut buckets = Buckets::new(0);
        let numbers = ids.map(|id| buckets.partition(id));
        let key = KeyNumber::new(KeyId::of("k").group(), 0);
        sight.names[key.group().index()].borrow_mut().push(Key::new("k").into());
        for at in [1, 0, 2] {
            let offset = Offset(at as u64 + 1);
            sight.reach(numbers[at], ids[at], offset);
            buckets.push(
                EventTime::from_micros(at as i64),
                numbers[at].stretch(0),
                key,
                offset.0 as u32,
                &[],
            );
        }
        let mut told = Vec::new();
        buckets.release(EventTime::MAX, |run| {
            sight.enter(run.start());
            told.extend(run.rows().map(|(_, row, _): (_, Row, _)| {
                sight.at_row(row);
                sight.tell()
            }));
        });
        let expected = [0, 1, 2].map(|at| {
            let (partition, offset, time) =
                (ids[at], Offset(at as u64 + 1), EventTime::from_micros(at as i64));
            Some(Underway::Record { partition, offset, key: Key::new("k"), time })
        });
        assert_eq!(expected.to_vec(), told);
        sight.past_rows();
        assert_eq!(None, sight.tell());
    }
}
