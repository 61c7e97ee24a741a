//! From where a partition is read again after a crash.
//!
//! With the *logical time* ℓ of a record `rₙ`, which is `max(t(rₙ), W(n))`, or `W(n)` if it is malformed, state at a
//! boundary b holds what has ℓ < b, wherever it lies in its partition. So a partition is read again from an offset before
//! which every record has ℓ < b, with the watermark before that offset; late records are classified as they were, and what
//! is not late and earlier than b is dropped.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewatch_dataflows::{EventTime, Offset, PartitionId, Span, Watermark};

use crate::Partition;

/// How far apart marks are: fewer records and less event time are not worth one.
const RECORDS: u64 = 4096;
const APART: Span = Span::from_millis(100);

/// Where the reading of a partition stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The name of the source.
    pub source: String,
    /// The name of the partition within the source.
    pub name: String,
    /// The offset from which it is read again.
    pub offset: Offset,
    /// The watermark before that offset.
    pub watermark: EventTime,
    /// The greatest event time before that offset; [`EventTime::MIN`] if there is none.
    pub newest: EventTime,
}

impl Position {
    /// The beginning of a partition, whose records are late before `watermark`.
    pub fn start(source: &str, name: &str, offset: Offset, watermark: EventTime) -> Self {
        let (source, name, newest) = (source.to_owned(), name.to_owned(), EventTime::MIN);
        Self { source, name, offset, watermark, newest }
    }

    /// The identity of the partition.
    pub fn partition(&self) -> PartitionId {
        PartitionId::of(&self.source, &self.name)
    }
}

/// Where all partitions of a run are read from.
#[derive(Clone, Debug)]
pub struct Resume {
    /// What is earlier is in the state already; [`EventTime::MIN`] if there is none.
    pub boundary: EventTime,
    /// No new decision is taken about a partition whose watermark is below it: what is earlier may have been committed.
    pub floor: EventTime,
    /// Each partition that is read.
    pub positions: Vec<Position>,
}

impl Resume {
    /// The names of the partitions of a source.
    pub(super) fn partitions(&self, source: &str) -> Vec<String> {
        let of_source = self.positions.iter().filter(|position| position.source == source);
        of_source.map(|position| position.name.clone()).collect()
    }

    /// Where a partition is read from.
    pub(super) fn position(&self, partition: &Partition) -> Option<&Position> {
        let is_it =
            |position: &&Position| *position.source == *partition.source && *position.name == *partition.name;
        self.positions.iter().find(is_it)
    }
}

/// A place in a partition from which it can be read again.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The greatest logical time of the records before it.
    before: EventTime,
    offset: Offset,
    watermark: Watermark,
}

/// The places from which one partition can be read again.
#[derive(Debug)]
pub(super) struct Marks {
    partition: Partition,
    marks: VecDeque<Mark>,
    /// The greatest logical time of all records so far.
    seen: EventTime,
}

impl Marks {
    fn new(partition: Partition, offset: Offset, watermark: Watermark) -> Self {
        let seen = EventTime::MIN;
        Self { partition, marks: [Mark { before: seen, offset, watermark }].into(), seen }
    }

    /// Reading stands at `offset`, with this watermark before it.
    pub(super) fn stand(&mut self, offset: Offset, watermark: Watermark) {
        let mark = Mark { before: self.seen, offset, watermark };
        match self.marks.back_mut() {
            // Decided since, at the same place.
            Some(last) if last.offset == offset => *last = mark,
            Some(last)
                if offset.0 - last.offset.0 < RECORDS
                    && self.seen < last.before.saturating_add(APART)
                    && watermark.time() < last.watermark.time().saturating_add(APART) => {}
            _ => self.marks.push_back(mark),
        }
    }

    /// Records were read since, of this logical time at most.
    pub(super) fn see(&mut self, logical: EventTime) {
        self.seen = self.seen.max(logical);
    }

    /// The last place before which all records have logical times before `boundary`; boundaries only grow.
    fn at(&mut self, boundary: EventTime) -> Position {
        while self.marks.get(1).is_some_and(|next| next.before < boundary) {
            self.marks.pop_front();
        }
        let Mark { offset, watermark, .. } = self.marks[0];
        let Partition { source, name, .. } = &self.partition;
        let (source, name) = (source.to_string(), name.to_string());
        Position { source, name, offset, watermark: watermark.time(), newest: watermark.newest() }
    }
}

/// Where the partitions that a worker reads into a dataflow stand; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Positions(Rc<RefCell<BTreeMap<PartitionId, Rc<RefCell<Marks>>>>>);

impl Positions {
    /// Takes a partition in, which is read from `offset` on.
    pub(super) fn add(
        &self,
        partition: &Partition,
        offset: Offset,
        watermark: Watermark,
    ) -> Rc<RefCell<Marks>> {
        let marks = Rc::new(RefCell::new(Marks::new(partition.clone(), offset, watermark)));
        self.0.borrow_mut().insert(partition.id, marks.clone());
        marks
    }

    /// Where each partition is read again if state is restored at `boundary`, which the watermarks of all have reached;
    /// boundaries only grow.
    pub fn at(&self, boundary: EventTime) -> Vec<Position> {
        self.0.borrow().values().map(|marks| marks.borrow_mut().at(boundary)).collect()
    }
}

/// What a source is resumed with.
pub(super) type Resumed = Option<Arc<Resume>>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(micros: i64) -> EventTime {
        EventTime::from_micros(micros)
    }

    proptest! {
        /// Against the definition: no record before the place has a logical time at or after the boundary, and the watermark
        /// there is that of the whole prefix.
        #[test]
        fn a_partition_is_read_again_from_where_nothing_is_missed(
            turns in prop::collection::vec((prop::collection::vec(0i64..3_000_000, 0..40), prop::option::weighted(0.2, 0i64..3_000_000)), 1..30),
            lateness in 0i64..300_000,
            boundaries in prop::collection::vec(0i64..3_000_000, 1..6),
        ) {
            let partition = Partition::new("s", "p");
            let mut watermark = Watermark::new(Span::from_micros(lateness));
            let mut marks = Marks::new(partition, Offset(0), watermark);
            // Of each record its logical time; before each the watermark, and with all decisions at its offset.
            let (mut logical, mut before) = (Vec::new(), vec![(watermark, watermark)]);
            for (times, forced) in turns {
                marks.stand(Offset(logical.len() as u64), watermark);
                for time in times {
                    logical.push(at(time).max(watermark.time()));
                    watermark.admit(at(time));
                    marks.see(*logical.last().unwrap());
                    before.push((watermark, watermark));
                }
                if let Some(forced) = forced {
                    watermark.force(at(forced));
                    marks.stand(Offset(logical.len() as u64), watermark);
                    before.last_mut().unwrap().1 = watermark;
                }
            }
            let mut boundaries: Vec<_> = boundaries.into_iter().map(at).filter(|b| *b <= watermark.time()).collect();
            boundaries.sort_unstable();
            for boundary in boundaries {
                let position = marks.at(boundary);
                let offset = position.offset.0 as usize;
                prop_assert!(logical[..offset].iter().all(|logical| *logical < boundary));
                let (least, most) = before[offset];
                prop_assert!(least.time() <= position.watermark && position.watermark <= most.time());
                prop_assert_eq!(least.newest(), position.newest);
            }
        }
    }
}
