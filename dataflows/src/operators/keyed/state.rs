//! What keyed state holds, apart from timely: rows that wait, and the states of keys.

use std::rc::Rc;

use super::advance::Advance;
use super::buckets::{Buckets, Row};
use super::durable::Restore;
use super::eager::Provisions;
use super::group::{Groups, Outputs};
use super::sight::Sight;
use super::Limits;
use crate::event::KeyEvent;
use crate::record::{KeyNumber, Recoding, RowBatch};
use crate::state::StateError;
use crate::underway::tell_by;
use crate::{EventTime, Logic, Record};

/// How many rows have their keys' slots fetched together.
const LOOKAHEAD: usize = 16;

/// How many keys that nobody names keep their texts, beside those that a waiting row names.
const SPARED: usize = 64;

/// What the operator holds, apart from timely.
pub(super) struct KeyedState<L: Logic> {
    pub(super) logic: L,
    pub(super) limits: Limits,
    pub(super) buckets: Buckets,
    pub(super) recoding: Recoding,
    pub(super) groups: Groups<L::State>,
    /// Keys that no dictionary names any more, or that lost their state.
    pub(super) orphans: Vec<KeyNumber>,
    pub(super) record: Record,
    pub(super) advance: Advance,
    pub(super) sight: Rc<Sight>,
    /// What is said of the rows that wait, if anything is.
    pub(super) eager: Option<Provisions<L>>,
}

impl<L: Logic<In = Record, Out: Clone>> KeyedState<L> {
    pub(super) fn new(width: usize, logic: L, limits: Limits, eager: Option<Provisions<L>>) -> Self {
        let groups = Groups::default();
        Self {
            logic,
            limits,
            buckets: Buckets::new(width),
            recoding: Recoding::default(),
            sight: Rc::new(Sight::new(groups.names())),
            groups,
            orphans: Vec::new(),
            record: Record::default(),
            advance: Advance::default(),
            eager,
        }
    }

    /// Takes back the states that were saved at `boundary`, from where state goes on, and notes from now on what changes.
    pub(super) fn restore(
        &mut self,
        boundary: Option<EventTime>,
        restore: Box<Restore>,
    ) -> Result<(), StateError> {
        self.groups.restore(&self.logic, boundary, restore)?;
        self.advance = boundary.map(Advance::from).unwrap_or_default();
        Ok(())
    }

    /// Buffers the rows of a batch, and keeps the texts of their keys.
    pub(super) fn accept(&mut self, batch: &mut RowBatch) {
        let recoded = self.recoding.of(batch.origin().dictionary);
        for (number, key) in batch.learned.drain(..) {
            let group = number.group();
            recoded.learn(number, KeyNumber::new(group, self.groups.of(group).learn(key)));
        }
        let partition = self.buckets.partition(batch.origin().partition);
        let common = batch.upper();
        match common {
            Some(upper) => {
                let stretch = partition.stretch(upper);
                self.buckets.extend(
                    batch.rows().map(|(head, values)| {
                        (head.time, stretch, recoded.own(head.key), head.offset, values)
                    }),
                );
            }
            None => self.buckets.extend(batch.rows().enumerate().map(|(row, (head, values))| {
                let stretch = partition.stretch((batch.offset(row).0 >> 32) as u32);
                (head.time, stretch, recoded.own(head.key), head.offset, values)
            })),
        }
        if let Some(newest) = batch.newest() {
            self.sight.reach(partition, batch.origin().partition, newest);
        }
        if let Some(eager) = &mut self.eager {
            let partition = batch.origin().partition;
            let _telling = tell_by(self.sight.clone());
            for (row, (head, values)) in batch.rows().enumerate() {
                let (place, key) = ((head.time, partition), recoded.own(head.key));
                self.sight.at_arrival(Some((partition, batch.offset(row), key, head.time)));
                eager.arrive(&self.logic, &self.groups, key, place, values);
            }
            self.sight.at_arrival(None);
        }
        for number in batch.forgotten.drain(..) {
            let key = recoded.own(number);
            if self.groups.of(key.group()).forget(key.index()) {
                self.orphans.push(key);
            }
        }
    }

    /// How many records wait.
    pub(super) fn waiting(&self) -> usize {
        self.buckets.len()
    }

    /// Brings state to `limit`: every record and every timer before it. Returns the number of records.
    pub(super) fn release(&mut self, limit: EventTime, out: &mut Outputs<'_, L::Out>) -> u64 {
        let records = self.release_records(limit, EventTime::MAX, out);
        self.release_timers(limit, out);
        records
    }

    /// Brings state to the true end, from `end`, where it has advanced to.
    pub(super) fn finish(&mut self, end: EventTime, out: &mut Outputs<'_, L::Out>) -> u64 {
        // What is still to be saved is to be as it was, and the end comes to every key.
        for group in self.groups.iter_mut() {
            group.save_some(&self.logic, usize::MAX, out.saved);
        }
        let records = self.release_records(EventTime::MAX, end.floor_ms(), out);
        for group in self.groups.iter_mut() {
            group.on_end(&self.logic, end.floor_ms(), out);
        }
        records
    }

    pub(super) fn release_records(
        &mut self,
        limit: EventTime,
        end: EventTime,
        out: &mut Outputs<'_, L::Out>,
    ) -> u64 {
        let Self { logic, limits, buckets, groups, record, .. } = self;
        let mut records = 0;
        buckets.release(limit, |run| {
            out.sight.enter(run.start());
            for chunk in run.chunks(LOOKAHEAD) {
                // Together, the loads of the next rows' slots do not wait for each other.
                for (_, Row { key, .. }, _) in chunk.rows() {
                    groups.of(key.group()).touch(key.index());
                }
                for (time, row, values) in chunk.rows() {
                    out.sight.at_row(row);
                    records += 1;
                    record.time = time;
                    match (&mut record.values[..], values) {
                        ([slot], [value]) => *slot = *value,
                        _ => values.clone_into(&mut record.values),
                    }
                    let key = row.key;
                    groups.of(key.group()).on_record(logic, limits, key.index(), record, end, out);
                }
            }
        });
        out.sight.past_rows();
        records
    }

    pub(super) fn release_timers(&mut self, limit: EventTime, out: &mut Outputs<'_, L::Out>) {
        for group in self.groups.iter_mut() {
            group.on_time(&self.logic, limit, out);
        }
    }

    /// Drops the texts of orphans that no waiting row needs, once there are many beside the rows.
    pub(super) fn prune(&mut self, evicted: &[(KeyNumber, KeyEvent)]) {
        self.orphans.extend(evicted.iter().map(|(key, _)| *key));
        if self.orphans.len() < SPARED + self.buckets.len() {
            return;
        }
        self.orphans.sort_unstable();
        self.orphans.dedup();
        let mut needed: Vec<_> = self.buckets.keys().collect();
        needed.extend(self.eager.iter().flat_map(Provisions::keys));
        needed.sort_unstable();
        let groups = &mut self.groups;
        self.orphans.retain(|key| {
            let is_needed = needed.binary_search(key).is_ok();
            if !is_needed {
                groups.of(key.group()).prune(key.index());
            }
            is_needed
        });
    }
}
