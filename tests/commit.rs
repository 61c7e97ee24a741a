//! Output that is committed exactly once: from records in memory to transactional sinks, and on after crashes.

use std::thread;
use std::time::{Duration, Instant};

use tidewatch::cluster::{self, Cluster, Outcome};
use tidewatch::Error;
use tidewatch_connectors::egress::{Commit, Committer, Egress, Output, Shards};
use tidewatch_connectors::format::{Csv, JsonEncoder, TimeFormat};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemoryShards, MemorySink};
use tidewatch_connectors::store::Epoch;
use tidewatch_connectors::{Control, Input, Progress, Shard, TransactionalSink};
use tidewatch_dataflows::logic::Threshold;
use tidewatch_dataflows::operators::Keyed;
use tidewatch_dataflows::{detectors::EwmaZ, EventTime, Logic, Span};

mod file;

const WORKERS: [u16; 3] = [1, 2, 4];
const STREAMS: usize = 3;

/// Three partitions with late and malformed records, of which each has its own times.
fn records() -> Memory {
    let partition = |p: i64| {
        let record = |index: i64| match index % 17 {
            5 => MemoryRecord::raw("no record"),
            11 => MemoryRecord::raw(format!("{},k{},1", (index - 60) * 1_000, index % 7)),
            _ => MemoryRecord::raw(format!(
                "{},k{},{}",
                (index * 3 + p) * 1_000,
                index % 7,
                (index * index) % 31
            )),
        };
        (format!("p{p}"), (0..200).map(record).collect())
    };
    Memory::new((0..3).map(partition))
}

fn input(memory: &Memory) -> Input {
    let csv = Csv::columns().time("1").time_format(TimeFormat::EpochMicros).key(["2"]).value("3");
    let pace = Pace { batch: 16, shuffle: Some(3), dictionary: 16 };
    Input::of_payloads(memory.clone(), csv).named("m").lateness(Span::from_secs(0)).pace(pace)
}

/// Every verdict, so that there is much to say.
fn logic() -> impl Logic<In = tidewatch_dataflows::Record, Out = tidewatch_dataflows::logic::Verdict> {
    let threshold = Threshold::new(1.0, 1.0).expect("it is one").and_normal();
    EwmaZ::new(0.1).expect("in range").then(threshold)
}

/// The bytes of verdicts, late records and dead letters as plain sinks have them.
fn plain(input: &Input) -> [Vec<u8>; STREAMS] {
    let sinks = [(); STREAMS].map(|()| MemorySink::default());
    let (input, into) = (input.clone(), sinks.clone());
    let outcome = cluster::run(Cluster::threads(2), &Control::default(), move |worker| {
        let [verdicts, late, malformed] = into.clone().map(|sink| Output::json(sink, input.schema().clone()));
        worker.dataflow(|scope| {
            let ingested = input.ingest(scope);
            ingested.late.egress(late);
            ingested.malformed.egress(malformed);
            ingested.records.keyed(logic()).egress(verdicts);
        });
        Ok(())
    });
    assert_eq!(Outcome::Done, outcome.unwrap());
    sinks.map(|sink| sink.contents())
}

/// Runs the same with all streams in one transactional sink, as run `epoch` of the job.
fn run(
    input: &Input,
    sink: &dyn TransactionalSink,
    epoch: u64,
    workers: u16,
    control: &Control,
) -> Result<Outcome, Error> {
    let peers = usize::from(workers);
    let shards = Shards::open(sink, Epoch(epoch), 0..peers, peers, control)?;
    let input = input.clone();
    cluster::run(Cluster::threads(workers), control, move |worker| {
        let committer = Committer::start(&shards, STREAMS, worker.index(), worker.peers(), Duration::ZERO)?;
        worker.dataflow(|scope| {
            let ingested = input.ingest(scope);
            let json = JsonEncoder::new(input.schema().clone());
            ingested.records.keyed(logic()).commit(&committer, json.clone());
            ingested.late.commit(&committer, json.clone());
            ingested.malformed.commit(&committer, json);
        });
        Ok(())
    })
}

fn contents(sink: &MemoryShards) -> [Vec<u8>; STREAMS] {
    [0, 1, 2].map(|stream| sink.contents(Shard(0), stream))
}

fn lines(text: &[u8]) -> Vec<&str> {
    std::str::from_utf8(text).unwrap().lines().collect()
}

/// Waits until it is so; the run under test must get there by itself.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_is_committed_is_what_plain_sinks_have_at_any_number_of_workers_and_shards() {
    let input = input(&records());
    let expected = plain(&input);
    assert!(expected.iter().all(|stream| lines(stream).len() > 20));
    for workers in WORKERS {
        let sink = MemoryShards::new(1);
        assert_eq!(Outcome::Done, run(&input, &sink, 1, workers, &Control::default()).unwrap());
        assert!(expected == contents(&sink), "{workers} workers");
        assert_eq!(Some(&Progress::End), sink.commits(Shard(0)).last());
    }
    let mut first = None;
    for workers in WORKERS {
        let sink = MemoryShards::new(3);
        let control = Control::default();
        assert_eq!(Outcome::Done, run(&input, &sink, 1, workers, &control).unwrap());
        let shards = [0, 1, 2].map(|shard| {
            let mut kept = sink.kept(Shard(shard));
            // Streams come as they come; in each of them, the order is fixed.
            kept.sort_by_key(|kept| kept.stream);
            kept
        });
        let mut all: Vec<_> =
            shards.iter().flatten().map(|kept| (kept.stream, kept.payload.clone())).collect();
        let of = |(stream, text): (usize, &Vec<u8>)| -> Vec<_> {
            lines(text).into_iter().map(|line| (stream, line.as_bytes().to_vec())).collect()
        };
        let mut plain: Vec<_> = expected.iter().enumerate().flat_map(of).collect();
        all.sort();
        plain.sort();
        assert!(plain == all, "{workers} workers");
        assert!(shards.iter().all(|kept| !kept.is_empty()));
        assert!(first.get_or_insert_with(|| shards.clone()) == &shards, "{workers} workers");
        assert_eq!(Some((3, Progress::End)), control.committed().map(|all| (all.shards, all.lowest)));
    }
}

#[test]
fn keys_and_headers_go_with_the_messages() {
    let sink = MemoryShards::new(1);
    run(&input(&records()), &sink, 1, 2, &Control::default()).unwrap();
    for kept in sink.kept(Shard(0)) {
        let names: Vec<_> = kept.headers.iter().map(|(name, _)| *name).collect();
        let first = kept.key.map(|key| key[0]);
        match kept.stream {
            0 => assert_eq!((Some(b'k'), 0), (first, names.len())),
            _ => assert_eq!((Some(b'p'), vec!["source", "partition", "offset", "reason"]), (first, names)),
        }
    }
}

#[test]
fn a_run_that_goes_on_after_any_commit_failed_adds_what_is_missing() {
    let input = input(&records());
    let expected = plain(&input);
    for workers in WORKERS {
        for (after, landed) in [(0, false), (0, true), (1, true), (3, false), (7, true)] {
            let sink = MemoryShards::new(1);
            sink.fail(Shard(0), after, landed);
            let died = run(&input, &sink, 1, workers, &Control::default());
            // At the end there may have been fewer commits.
            if let Err(error) = died {
                assert_eq!("memory: the connection is gone", error.to_string());
                let done = usize::from(landed) + after;
                assert_eq!(done, sink.commits(Shard(0)).len(), "nothing is committed after it");
            }
            run(&input, &sink, 2, workers, &Control::default()).unwrap();
            assert!(expected == contents(&sink), "{workers} workers, after {after}, landed: {landed}");
            // There is nothing left to do.
            let commits = sink.commits(Shard(0)).len();
            run(&input, &sink, 3, workers, &Control::default()).unwrap();
            assert_eq!((&expected, commits), (&contents(&sink), sink.commits(Shard(0)).len()));
        }
    }
}

#[test]
fn an_interrupted_run_commits_what_is_final_but_no_end() {
    let expected = plain(&input(&records()));
    for workers in WORKERS {
        let (memory, sink, control) = (records().live(), MemoryShards::new(2), Control::default());
        let interrupter = control.clone();
        let counts = control.clone();
        let thread = thread::spawn(move || {
            wait("everything is read", || counts.counts().records.get() == 600);
            interrupter.interrupt();
        });
        assert_eq!(Outcome::Interrupted, run(&input(&memory), &sink, 1, workers, &control).unwrap());
        thread.join().unwrap();
        // The last record of each partition is at its watermark.
        let last = [0, 1].map(|shard| *sink.commits(Shard(shard)).last().unwrap());
        assert_eq!([Progress::Below(EventTime::from_micros(597_000)); 2], last, "{workers} workers");
        memory.end();
        run(&input(&memory), &sink, 2, workers, &Control::default()).unwrap();
        let kept: usize = [0, 1].map(|shard| sink.kept(Shard(shard)).len()).iter().sum();
        assert_eq!(expected.iter().map(|stream| lines(stream).len()).sum::<usize>(), kept);
    }
}

#[test]
fn a_run_that_is_fenced_says_that_another_one_has_started() {
    let (memory, sink, control) = (records().live(), MemoryShards::new(1), Control::default());
    let (input_, sink_, control_) = (input(&memory), sink.clone(), control.clone());
    let older = thread::spawn(move || run(&input_, &sink_, 1, 2, &control_));
    wait("something is committed", || !sink.commits(Shard(0)).is_empty());
    let ended = memory.clone();
    let newer = Shards::open(&sink, Epoch(2), 0..1, 1, &Control::default()).unwrap();
    ended.end();
    let error = older.join().unwrap().unwrap_err().to_string();
    assert!(error.starts_with("another run of this job has started (epoch 2)"), "{error}");
    assert_eq!(newer.progress()[&Shard(0)], *sink.commits(Shard(0)).last().unwrap());
}
