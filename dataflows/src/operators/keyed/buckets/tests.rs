//! Buckets against sorting everything.

use super::*;
use crate::record::KeyId;
use proptest::prelude::*;

type Waiting = (EventTime, PartitionId, usize);

const NEWEST: usize = 1 << 16;

/// An offset with more bits than a row keeps; it grows with `offset`.
fn far(offset: usize) -> Offset {
    Offset(1 << 62 | (offset as u64) << 43 | offset as u64)
}

/// A row's time, number and value, after a look at what else it says.
fn checked((run, (time, row, values)): (Run<'_>, (EventTime, Row, &[f64]))) -> (EventTime, usize, f64) {
    let number = row.key.index();
    assert_eq!((time, far(number)), (row.time(run.start()), row.offset(far(NEWEST))));
    (time, number, values[0])
}

/// The definition: everything before the limit, sorted as a whole.
fn release_slow(waiting: &mut Vec<Waiting>, limit: EventTime) -> Vec<(EventTime, usize, f64)> {
    let (mut out, rest) = waiting.iter().partition::<Vec<Waiting>, _>(|(time, ..)| {
        limit == EventTime::MAX || millisecond(*time) < millisecond(limit)
    });
    *waiting = rest;
    out.sort_unstable();
    out.iter().map(|(time, _, offset)| (*time, *offset, *offset as f64)).collect()
}

proptest! {
    #[test]
    fn agrees_with_sorting_everything(
        steps in prop::collection::vec((prop::collection::vec((0i64..200_000, 0u8..5), 0..30), 0i64..90_000), 1..20),
        start in prop::sample::select(vec![-3_000_000_000_123i64, -50_000, 0, 1_400_000_000_000_000]),
    ) {
        let group = KeyId::of("k").group();
        let mut buckets = Buckets::new(1);
        let mut waiting = Vec::new();
        let (mut limit, mut offset) = (start, 0);
        for (rows, advance) in steps {
            for (ahead, partition) in rows {
                offset += 1;
                let time = EventTime::from_micros(limit.div_euclid(1_000) * 1_000 + ahead);
                let partition = PartitionId::of("s", &partition.to_string());
                let number = buckets.partition(partition);
                let (far, key) = (far(offset).0, KeyNumber::new(group, offset));
                buckets.push(time, number.stretch((far >> 32) as u32), key, far as u32, &[offset as f64]);
                waiting.push((time, partition, offset));
            }
            limit += advance;
            let mut released = Vec::new();
            buckets.release(EventTime::from_micros(limit), |run| {
                released.extend(run.chunks(7).flat_map(|part| part.rows().map(move |row| (run, row))).map(checked));
            });
            prop_assert_eq!(release_slow(&mut waiting, EventTime::from_micros(limit)), released);
            prop_assert_eq!(waiting.len(), buckets.len());
            let earliest = waiting.iter().map(|(time, ..)| *time).min();
            prop_assert!(earliest.is_none_or(|time| buckets.earliest() <= time));
            prop_assert_eq!(waiting.is_empty(), buckets.earliest() == EventTime::MAX);
        }
        let mut released = Vec::new();
        buckets.release(EventTime::MAX, |run| released.extend(run.rows().map(|row| checked((run, row)))));
        prop_assert_eq!(release_slow(&mut waiting, EventTime::MAX), released);
    }
}

#[test]
fn the_room_of_a_burst_is_given_back() {
    let mut buckets = Buckets::new(1);
    let stretch = buckets.partition(PartitionId::of("s", "p")).stretch(0);
    let key = KeyNumber::new(KeyId::of("k").group(), 0);
    // A second waits, in buckets of one row; now and then there are ten thousand, each time in another slot.
    for bucket in 0..2_000i64 {
        let time = |bucket: i64| EventTime::from_micros(bucket * BUCKET_MICROS + bucket / 50 % SLOTS * 1_000);
        for _ in 0..if bucket % 50 == 0 { 10_000 } else { 1 } {
            buckets.push(time(bucket + 31), stretch, key, 0, &[0.0]);
        }
        buckets.release(time(bucket), |_| ());
    }
    let all = buckets.near.iter().chain(&buckets.slots).chain(&buckets.spare).chain(buckets.far.values());
    let room = all.map(Rows::room).sum::<usize>();
    assert!(room < 200_000, "{room} words of room, where a burst has 30,000");
}
