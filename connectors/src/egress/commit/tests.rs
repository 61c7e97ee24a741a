use std::time::Duration;

use proptest::prelude::*;
use tidewatch_dataflows::{Describe, Fields};

use super::cycle::Cycle;
use super::*;
use crate::format::JsonEncoder;
use crate::memory::MemoryShards;
use crate::source::testing::waker;
use crate::store::Epoch;
use crate::task::{Next, Task};
use crate::Schema;

const INTERVAL: Duration = Duration::from_millis(50);
const SHARD: Shard = Shard(0);

struct Number(i64);

impl Describe for Number {
    fn describe(&self, fields: &mut dyn Fields) {
        fields.integer("number", Some(self.0.unsigned_abs()));
    }
}

fn at(micros: i64) -> EventTime {
    EventTime::from_micros(micros)
}

fn below(micros: i64) -> Progress {
    Progress::Below(at(micros))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A shard of a sink, for so many streams.
struct Bench {
    sink: MemoryShards,
    committer: Committer,
    cycle: Cycle,
}

impl Bench {
    fn new(sink: &MemoryShards, epoch: u64, streams: usize) -> Self {
        let shards =
            Shards::open(sink, Epoch(epoch), 0..1, 1, &Control::default()).expect("it is not fenced");
        let (committer, mut cycles) = Committer::stepped(&shards, streams, 0, 1, INTERVAL);
        (0..streams).for_each(|stream| assert_eq!(stream, committer.join(&waker())));
        let (_, cycle) = cycles.pop().expect("there is one shard");
        Self { sink: sink.clone(), committer, cycle }
    }

    /// Has a stream give messages of these times, which are all those below `frontier`.
    fn give(&self, stream: usize, times: &[i64], frontier: Progress) {
        let mut batch = Batch::default();
        let mut encoder = JsonEncoder::new(Schema::default());
        times.iter().for_each(|time| batch.push(at(*time), &Number(*time), &mut encoder));
        let batches = if times.is_empty() { vec![] } else { vec![batch] };
        self.committer.hand_over(SHARD, stream, batches, frontier);
    }

    /// Steps as long as there is something to do at once.
    fn run(&mut self, now: Duration) -> Next {
        loop {
            match self.cycle.step(now, false).expect("nothing fails") {
                Next::Now => {}
                next => return next,
            }
        }
    }

    fn commits(&self) -> Vec<Progress> {
        self.sink.commits(SHARD)
    }

    /// The streams and times of what is committed.
    fn kept(&self) -> Vec<(usize, i64)> {
        self.sink.kept(SHARD).iter().map(|kept| (kept.stream, kept.time.micros())).collect()
    }
}

#[test]
fn nothing_is_committed_that_another_stream_may_still_precede() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 2);
    bench.give(0, &[1, 2, 2, 5], below(6));
    assert_eq!((Next::Idle, 0), (bench.run(ms(0)), bench.commits().len()));
    bench.give(1, &[1], below(2));
    assert_eq!(Next::Idle, bench.run(ms(0)));
    assert_eq!((vec![below(2)], vec![(0, 1), (1, 1)]), (bench.commits(), bench.kept()));
    bench.give(1, &[], Progress::End);
    bench.run(ms(50));
    assert_eq!(vec![(0, 1), (1, 1), (0, 2), (0, 2), (0, 5)], bench.kept());
    assert_eq!(
        (vec![below(2), below(6)], below(6)),
        (bench.commits(), bench.committer.committed(&Control::default()))
    );
}

#[test]
fn messages_are_committed_once_in_an_interval_and_all_that_have_come_together() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 1);
    bench.give(0, &[1], below(2));
    assert_eq!((Next::Idle, vec![below(2)]), (bench.run(ms(7)), bench.commits()));
    for (now, time) in [(10, 2), (30, 3), (56, 4)] {
        bench.give(0, &[time], below(time + 1));
        assert_eq!(Next::At(ms(57)), bench.run(ms(now)));
    }
    bench.give(0, &[], below(9));
    assert_eq!((Next::Idle, vec![below(2), below(9)]), (bench.run(ms(57)), bench.commits()));
    assert_eq!(4, bench.kept().len());
}

#[test]
fn a_shard_without_output_commits_its_progress_once_a_second_but_the_end_and_in_haste_at_once() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 1);
    for millis in 0..2_500 {
        bench.give(0, &[], below(millis));
        bench.run(ms(millis as u64));
    }
    assert_eq!(vec![below(0), below(1_000), below(2_000)], bench.commits());
    assert_eq!(Next::Now, bench.cycle.step(ms(2_500), true).unwrap());
    assert_eq!(Some(&below(2_499)), bench.commits().last());
    bench.give(0, &[2_600], Progress::End);
    assert_eq!((Next::Done, Some(&Progress::End)), (bench.run(ms(2_500)), bench.commits().last()));
    assert_eq!(vec![(0, 2_600)], bench.kept());
}

#[test]
fn what_is_not_final_when_the_dataflow_goes_is_not_committed() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 2);
    bench.give(0, &[1], Progress::End);
    bench.give(1, &[1], below(2));
    bench.run(ms(0));
    bench.give(1, &[2], below(3));
    let Bench { sink, committer, mut cycle } = bench;
    drop(committer);
    assert_eq!(Next::Done, cycle.step(ms(60_000), true).unwrap());
    assert_eq!(vec![below(2)], sink.commits(SHARD));
}

#[test]
fn what_waits_to_be_committed_keeps_sources_waiting() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 2);
    let times = vec![1; 1 << 21];
    bench.give(0, &times, below(2));
    assert!(!bench.committer.is_behind(), "nobody but the other stream can end this");
    bench.give(1, &[], below(2));
    assert!(bench.committer.is_behind());
    bench.run(ms(0));
    assert!(!bench.committer.is_behind());
}

#[test]
fn an_error_of_the_sink_is_the_error_of_the_step() {
    let mut bench = Bench::new(&MemoryShards::new(1), 1, 1);
    let newer = Bench::new(&bench.sink, 2, 1);
    bench.give(0, &[1], below(2));
    let error = bench.cycle.step(ms(0), false).unwrap_err().to_string();
    assert!(error.starts_with("another run of this job has started"), "{error}");
    assert_eq!(0, newer.commits().len());
}

proptest! {
    /// Whatever comes in which order: a commit says that all messages below its progress are there, and no others.
    #[test]
    fn oracle_each_commit_is_a_prefix_of_time(
        moves in prop::collection::vec((0..3_usize, 0..4_i64, 0..60_u64, any::<bool>()), 1..60)
    ) {
        let mut bench = Bench::new(&MemoryShards::new(1), 1, 3);
        let (mut frontiers, mut now) = ([0; 3], ms(0));
        let mut given = Vec::new();
        for (stream, advance, wait, haste) in moves {
            let from = frontiers[stream];
            frontiers[stream] += advance;
            let times: Vec<i64> = (from..frontiers[stream]).flat_map(|time| [time, time]).collect();
            given.extend(times.iter().map(|time| (stream, *time)));
            bench.give(stream, &times, below(frontiers[stream]));
            now += ms(wait);
            bench.cycle.step(now, haste).unwrap();
            if let Some(Progress::Below(limit)) = bench.commits().last() {
                let mut expected: Vec<_> =
                    given.iter().filter(|(_, time)| at(*time) < *limit).copied().collect();
                let mut kept = bench.kept();
                expected.sort();
                kept.sort();
                prop_assert_eq!(expected, kept, "up to {}", limit);
            }
        }
        (0..3).for_each(|stream| bench.give(stream, &[], Progress::End));
        prop_assert_eq!(Next::Done, bench.run(now));
        for stream in 0..3 {
            let of_stream = |all: &[(usize, i64)]| all.iter().filter(|(of, _)| *of == stream).copied().collect::<Vec<_>>();
            prop_assert_eq!(of_stream(&given), of_stream(&bench.kept()), "in order");
        }
    }
}
