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
}

impl Sight {
    pub(super) fn new(names: Vec<Names>) -> Self {
        Self {
            names,
            partitions: RefCell::default(),
            start: Cell::new(0),
            row: Cell::new(Row::NONE),
            deadline: Cell::new(None),
        }
    }

    /// A partition has rows up to `newest`.
    pub(super) fn reach(&self, number: PartitionNumber, partition: PartitionId, newest: Offset) {
        let mut partitions = self.partitions.borrow_mut();
        match partitions.get_mut(number.index()) {
            Some(known) => known.1 = newest,
            None => partitions.push((partition, newest)),
        }
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
