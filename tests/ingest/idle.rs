//! Partitions that fall silent.

use super::*;

const IDLE: Duration = Duration::from_millis(60);

/// A run in a thread of its own.
struct Live {
    streams: Streams,
    control: Control,
    thread: thread::JoinHandle<Result<Outcome, Error>>,
}

impl Live {
    fn start(input: Input, workers: u16) -> Self {
        Self::start_all(vec![input], workers)
    }

    fn start_all(inputs: Vec<Input>, workers: u16) -> Self {
        let (streams, control) = (Streams::default(), Control::default());
        let thread = {
            let (streams, control) = (streams.clone(), control.clone());
            thread::spawn(move || streams.run(&inputs, workers, &control))
        };
        Self { streams, control, thread }
    }

    fn is_scored(&self, value: i64) -> bool {
        let value = format!("\"value0\":{value}.0");
        text(&self.streams.scored).contains(&value)
    }

    fn finish(self) -> ([String; 3], Control) {
        assert_eq!(Outcome::Done, self.thread.join().unwrap().unwrap());
        (self.streams.texts(), self.control)
    }
}

/// Pushes to two memories, of which one is read while it happens and the other one later.
struct Both(Memory, Memory);

impl Both {
    fn new(names: &[&str]) -> Self {
        let empty = || Memory::new(names.iter().map(|name| (*name, Vec::new())));
        Self(empty().live(), empty())
    }

    fn push(&self, partition: &str, record: MemoryRecord) {
        self.0.push(partition, record.clone());
        self.1.push(partition, record);
    }
}

#[test]
fn a_silent_partition_holds_nobody_back_and_a_replay_takes_the_same_decisions() {
    for workers in WORKERS {
        let memory = Both::new(&["p0", "p1", "p2"]);
        let journal = MemoryJournal::default();
        memory.push("p1", record(0, "b", 1_000_000));
        let live = Live::start(input(&memory.0).idle(IDLE).journal(Arc::new(journal.clone())), workers);

        // One goes on while the others say nothing.
        let mut n = 0;
        wait("the first record is final while its partition goes on", || {
            memory.push("p0", record(n * 1000, if n % 7 == 0 { "old" } else { "a" }, n));
            n += 1;
            thread::sleep(Duration::from_millis(8));
            live.is_scored(0) && live.is_scored(1_000_000) && n > 10
        });

        // All are silent.
        wait("the tail is final", || live.is_scored(n - 1));
        let silent = ["p0", "p1", "p2"].map(|name| PartitionId::of("m", name));
        let decided = || journal.all().iter().map(|decision| decision.partition).collect::<Vec<_>>();
        wait("all three are decided about", || silent.iter().all(|id| decided().contains(id)));
        let end = EventTime::from_micros((n - 1) * 1_000_000).next_ms();
        wait("all are at the end", || {
            silent.iter().all(|id| {
                journal
                    .all()
                    .iter()
                    .rev()
                    .find(|one| one.partition == *id)
                    .is_some_and(|one| one.watermark == end)
            })
        });

        // Behind what was decided; then as far as that, and beyond.
        memory.push("p1", record((n - 1) * 1000, "b", 2_000_000));
        memory.push("p2", MemoryRecord::raw("?"));
        memory.push("p1", record((n - 1) * 1000 + 1, "b", 3_000_000));
        memory.push("p1", record((n + 3) * 1000, "b", 4_000_000));
        wait("what came later is final", || live.is_scored(4_000_000));
        memory.0.end();
        let (texts_, control) = live.finish();
        assert_eq!(1, control.counts().late.get(), "{workers} workers: {}", texts_[1]);
        assert_eq!(format!("{},b,2000000", (n - 1) * 1_000_000), field(&texts_[1], "raw"));
        assert_eq!(end.to_string(), field(&texts_[1], "time"));
        assert_eq!(end.to_string(), field(&texts_[2], "time"));

        for replay in WORKERS {
            let input = input(&memory.1).journal(Arc::new(journal.clone()));
            for pace in [Pace::default(), Pace { batch: 1, shuffle: Some(5), dictionary: 1 }] {
                assert_eq!(texts_, texts(&input, replay, pace), "{workers} workers, replayed by {replay}");
            }
        }
    }
}

#[test]
fn what_an_ended_partition_gave_becomes_final_when_the_others_are_silent() {
    for (workers, patience) in
        WORKERS.into_iter().flat_map(|workers| [(workers, None), (workers, Some(IDLE))])
    {
        let goes_on = Memory::new([("p0", vec![record(0, "a", 1)])]).live();
        // So many that one is silent while the other one is read.
        let records = (0..15_000).map(|n| record(60_000 + n, "b", 7 + n)).collect();
        let ends = Memory::new([("p1", records)]);
        let source = OneEnds { goes_on: goes_on.clone(), ends, patience };
        let input = Input::new(Arc::new(source), Some(Arc::new(csv())), csv_schema()).named("m");
        let pace = Pace { batch: 10, ..Pace::default() };
        let live = Live::start(input.lateness(Span::from_secs(5)).idle(IDLE).pace(pace), workers);
        wait("the last record of the ended partition is final", || live.is_scored(7 + 14_999));
        goes_on.end();
        live.finish();
    }
}

fn csv_schema() -> tidewatch_connectors::Schema {
    use tidewatch_connectors::format::Format;
    csv().schema()
}

/// A partition that goes on beside one that ends.
struct OneEnds {
    goes_on: Memory,
    ends: Memory,
    patience: Option<Duration>,
}

impl tidewatch_connectors::Source for OneEnds {
    fn kind(&self) -> &'static str {
        "one-ends"
    }
    fn partitions(&self) -> Result<Vec<String>, tidewatch_connectors::Error> {
        Ok(vec!["p0".into(), "p1".into()])
    }
    fn open(
        &self,
        partition: &str,
        from: Option<tidewatch_dataflows::Offset>,
        waker: timely::scheduling::SyncActivator,
    ) -> Result<Box<dyn tidewatch_connectors::Reader>, tidewatch_connectors::Error> {
        match partition {
            "p0" => self.goes_on.open(partition, from, waker),
            _ => self.ends.open(partition, from, waker),
        }
    }
    fn patience(&self) -> Option<Duration> {
        self.patience
    }
}

#[test]
fn a_source_that_falls_silent_holds_back_no_other_and_one_that_cannot_is_waited_for() {
    for workers in WORKERS {
        for first in [vec![], vec![record(100, "b", 1_000_000)]] {
            let silent = Memory::new([("p0", first.clone())]).live();
            // So many partitions that every worker has one.
            let names: Vec<String> = (0..4).map(|number| format!("p{number}")).collect();
            let busy = Memory::new(names.iter().map(|name| (name.as_str(), vec![]))).live();
            let inputs = vec![input(&silent).named("silent").idle(IDLE), input(&busy).named("busy")];
            let live = Live::start_all(inputs, workers);
            let push = |n: i64| names.iter().for_each(|name| busy.push(name, record(n * 1000, "a", n)));
            let mut n = 0;
            wait("what is behind the busy source is final", || {
                n += 1;
                push(n);
                thread::sleep(Duration::from_millis(8));
                live.is_scored(1) && (first.is_empty() || live.is_scored(1_000_000))
            });
            // Nobody may decide that the busy one is silent: what it has within its lateness stays open.
            thread::sleep(2 * IDLE);
            assert!(!live.is_scored(n), "{workers} workers");
            busy.end();
            wait("the last record is final when the busy source has ended", || live.is_scored(n));
            silent.end();
            live.finish();
        }
    }
}

#[test]
fn without_idle_a_silent_partition_holds_time_back() {
    let memory = Memory::new([("p0", vec![]), ("p1", vec![])]).live();
    let live = Live::start(input(&memory), 2);
    (0..20).for_each(|n| memory.push("p0", record(n * 1000, "a", n)));
    wait("all are read", || live.control.counts().records.get() == 20);
    thread::sleep(2 * IDLE);
    assert!(!live.is_scored(0));
    memory.end();
    let ([scored, ..], _) = live.finish();
    assert_eq!(20, scored.lines().filter(|line| field(line, "value0") != -1.0).count());
}

/// A memory beside many partitions that have nothing, and count how often they were asked.
struct Crowd(Memory, Arc<std::sync::atomic::AtomicUsize>);

struct Nothing(Arc<std::sync::atomic::AtomicUsize>);

impl tidewatch_connectors::Reader for Nothing {
    fn read(
        &mut self,
        _: &mut dyn tidewatch_connectors::Intake,
    ) -> Result<tidewatch_connectors::Status, tidewatch_connectors::Error> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(tidewatch_connectors::Status::Pending)
    }
}

impl tidewatch_connectors::Source for Crowd {
    fn kind(&self) -> &'static str {
        "crowd"
    }
    fn partitions(&self) -> Result<Vec<String>, tidewatch_connectors::Error> {
        Ok(["busy".to_owned()].into_iter().chain((0..100).map(|n| format!("silent{n}"))).collect())
    }
    fn open(
        &self,
        partition: &str,
        from: Option<tidewatch_dataflows::Offset>,
        waker: timely::scheduling::SyncActivator,
    ) -> Result<Box<dyn tidewatch_connectors::Reader>, tidewatch_connectors::Error> {
        match partition {
            "busy" => self.0.open(partition, from, waker),
            _ => Ok(Box::new(Nothing(self.1.clone()))),
        }
    }
    fn patience(&self) -> Option<Duration> {
        Some(Duration::from_secs(3600))
    }
}

#[test]
fn silent_partitions_are_not_asked_whenever_a_busy_one_is_read() {
    for workers in WORKERS {
        let asked = Arc::default();
        let records = (0..20_000).map(|n| record(n, "a", n)).collect::<Vec<_>>();
        let crowd = Crowd(Memory::new([("busy", records)]), Arc::clone(&asked));
        let input = Input::new(Arc::new(crowd), Some(Arc::new(csv())), csv_schema()).named("m");
        let live = Live::start(input.pace(Pace { batch: 10, ..Pace::default() }), workers);
        wait("all are read", || live.control.counts().records.get() == 20_000);
        live.control.interrupt();
        assert_eq!(Outcome::Interrupted, live.thread.join().unwrap().unwrap());
        assert_eq!(100, asked.load(std::sync::atomic::Ordering::Relaxed), "{workers} workers");
    }
}
