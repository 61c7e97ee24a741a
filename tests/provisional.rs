//! What is said before it is final: at once, and adding up to what is final.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use differential_dataflow::AsCollection;
use tidewatch::cluster::{self, Cluster};
use tidewatch_connectors::egress::{Announce, Egress, Output};
use tidewatch_connectors::generator::Profile;
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::memory::{Memory, MemoryRecord, MemorySink};
use tidewatch_connectors::{Control, Input, Schema};
use tidewatch_dataflows::detectors::{self, DetectorInfo, EwmaZ};
use tidewatch_dataflows::logic::{above, DynLogic, Selection, Threshold, Verdict};
use tidewatch_dataflows::operators::{Accumulate, CountOpen, Eager, Keyed, KeyedStreams, Limits};
use tidewatch_dataflows::params::{Given, Kind, Params};
use tidewatch_dataflows::{EventTime, Key, Logic, Record, Span};
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::Inspect;

use crate::harness::{added_up, generated, Partitions};

/// Updates as they came, from all workers.
type Updates<D> = Arc<Mutex<Vec<(D, EventTime, isize)>>>;

fn disordered() -> Partitions {
    generated(Profile {
        keys: 9,
        partitions: 3,
        records: 1_500,
        disorder: Span::from_millis(80),
        anomalies: 0.05,
        ..Profile::default()
    })
}

/// Runs an eager dataflow over the records, with `build` behind it.
fn run(
    partitions: &Partitions,
    workers: u16,
    eager: Eager,
    logic: impl Fn() -> DynLogic<Record, Verdict> + Send + Sync + 'static,
    build: impl for<'s> Fn(KeyedStreams<'s, Verdict>) + Send + Sync + 'static,
) {
    let limits = Limits::default();
    let pace = Pace { batch: 17, shuffle: Some(u64::from(workers)), dictionary: 4 };
    let input = Input::of_rows(Memory::new(partitions.clone()), Schema::new(["key"], ["value"]))
        .lateness(Span::from_millis(80))
        .pace(pace);
    cluster::run(Cluster::threads(workers), &Control::default(), move |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            build(input.ingest(scope).records.keyed_eagerly(limits, eager, logic()));
        });
        Ok(())
    })
    .expect("it runs");
}

fn collect<D: Clone + 'static>(updates: &Updates<D>) -> impl Fn(&(D, EventTime, isize)) + 'static {
    let updates = updates.clone();
    move |update| updates.lock().expect("no worker panics").push(update.clone())
}

fn budgets() -> [Eager; 3] {
    [256, 2, 0].map(|records| Eager { records, ..Eager::default() })
}

type Construct = Arc<dyn Fn() -> DynLogic<Record, Verdict> + Send + Sync>;

/// Every detector of the catalogue that scores records, with parameters that make it speak early.
fn detectors() -> Vec<(&'static str, Construct)> {
    let make = |info: &DetectorInfo| {
        let info = info.clone();
        let given = info.parameters.iter().filter_map(|parameter| {
            let value = match (parameter.is_required(), &parameter.kind) {
                _ if parameter.name == "warmup" => Given::Integer(5),
                (true, Kind::Span) => Given::Text("3ms".to_owned()),
                (true, _) => Given::Number(3.0),
                _ if info.name == "static" => Given::Number(30.0),
                _ => return None,
            };
            Some((parameter.name.to_owned(), value))
        });
        let params = Params::check(&info.parameters, given).expect("they are right");
        let name = info.name;
        let construct = move || {
            let selection = Selection { name: name.into(), values: vec![(0, "value".into())] };
            (info.construct)(&params, selection, &detectors::built_in()).expect("they are right")
        };
        (name, Arc::new(construct) as Construct)
    };
    detectors::built_in().iter().map(make).collect()
}

#[test]
fn the_provisional_collection_is_the_final_one() {
    let partitions = disordered();
    for (name, detector) in detectors() {
        for (eager, workers) in budgets().into_iter().zip([1, 2, 4]) {
            let (difference, is_final) = (Updates::default(), Updates::default());
            let (of_difference, of_final) = (difference.clone(), is_final.clone());
            let detector = detector.clone();
            let logic =
                move || detector().then(Threshold::new(1.0, 0.5).expect("it is right").and_normal()).erased();
            run(&partitions, workers, eager, logic, move |keyed| {
                let emitted = keyed.emitted.map(|emission| (emission.time, emission));
                let emitted = emitted.map(|(time, emission)| (emission, time, 1)).as_collection();
                emitted.inner.clone().inspect(collect(&of_final));
                keyed
                    .provisional
                    .accumulate()
                    .concat(emitted.negate())
                    .consolidate()
                    .inspect(collect(&of_difference));
            });
            let difference = difference.lock().expect("no worker panics");
            assert!(difference.is_empty(), "{name} at -w{workers} with {eager:?}: {:?}", difference.first());
            let finals = is_final.lock().expect("no worker panics").len();
            assert!(finals > 100 || name == "no-record" && finals > 0, "{name} says {finals} things");
        }
    }
}

/// How many records of each label are open after each time, by going through the verdicts.
fn count_slow(verdicts: &[(EventTime, Key, Verdict)]) -> BTreeMap<EventTime, BTreeMap<String, isize>> {
    let mut verdicts = verdicts.to_vec();
    // Stable: verdicts of one key and time keep their order.
    verdicts.sort_by_key(|(time, ..)| *time);
    let mut open: BTreeMap<Key, bool> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for (time, key, verdict) in verdicts {
        if verdict.score.is_some() {
            open.insert(key, verdict.anomalous);
        }
        let mut now = BTreeMap::new();
        for (key, _) in open.iter().filter(|(_, open)| **open) {
            *now.entry(label(key)).or_default() += 1;
        }
        counts.insert(time, now);
    }
    counts
}

/// One of three, by the key's last digit.
fn label(key: &Key) -> String {
    let digit = key.as_str().bytes().last().unwrap_or_default();
    (digit % 3).to_string()
}

#[test]
fn open_anomalies_are_counted_as_a_walk_through_all_verdicts_counts_them() {
    let partitions = disordered();
    for (eager, workers) in budgets().into_iter().zip([2, 1, 4]) {
        let (counts, as_said, verdicts) = (Updates::default(), Updates::default(), Updates::default());
        let (of_counts, of_said, of_verdicts) = (counts.clone(), as_said.clone(), verdicts.clone());
        let threshold = || Threshold::new(2.0, 1.0).expect("it is right").and_turns().and_normal();
        let logic = move || EwmaZ::new(0.05).expect("it is right").then(threshold()).erased();
        run(&partitions, workers, eager, logic, move |keyed| {
            keyed
                .emitted
                .map(|emission| ((emission.key, emission.value), emission.time, 1))
                .inspect(collect(&of_verdicts));
            keyed.provisional.clone().accumulate().count_open(label).inspect(collect(&of_counts));
            keyed.provisional.accumulate_as_said().count_open(label).inspect(collect(&of_said));
        });
        let verdicts = verdicts.lock().expect("no worker panics");
        let verdicts: Vec<_> =
            verdicts.iter().map(|((key, verdict), time, _)| (*time, key.clone(), *verdict)).collect();
        let expected = count_slow(&verdicts);
        let mut counts = std::mem::take(&mut *counts.lock().expect("no worker panics"));
        counts.sort_by_key(|(_, time, _)| *time);
        let (mut updates, mut now) = (counts.into_iter().peekable(), BTreeMap::new());
        let mut most = 0;
        for (time, expected) in &expected {
            while let Some(((label, count), _, diff)) = updates.next_if(|(_, at, _)| at <= time) {
                *now.entry((label, count)).or_insert(0) += diff;
            }
            now.retain(|_, diff| *diff != 0);
            assert!(now.values().all(|diff| *diff == 1), "{now:?} at {time}");
            let found = now.keys().cloned().collect::<BTreeMap<_, _>>();
            assert_eq!(*expected, found, "at {time}, with {eager:?}");
            most = most.max(found.values().copied().max().unwrap_or(0));
        }
        assert!(most > 1, "never are two open");
        // In the end, what is said is what is final.
        let mut said = BTreeMap::new();
        for ((label, count), _, diff) in as_said.lock().expect("no worker panics").iter() {
            *said.entry((label.clone(), *count)).or_insert(0) += diff;
        }
        said.retain(|_, diff| *diff != 0);
        assert_eq!(now, said);
    }
}

/// Waits until a sink has `lines` lines, and gives them.
fn lines(sink: &MemorySink, lines: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let payloads = sink.payloads();
        if payloads.len() >= lines {
            let text = |payload| String::from_utf8(payload).expect("JSON is UTF-8");
            return payloads.into_iter().map(text).collect();
        }
        assert!(Instant::now() < deadline, "{} of {lines} lines", payloads.len());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_verdict_is_written_at_arrival_and_revised_and_confirmed() {
    let memory = Memory::new([("p", vec![])]).live();
    let (said, is_final) = (MemorySink::default(), MemorySink::default());
    let (to_said, to_final) = (said.clone(), is_final.clone());
    let input = Input::of_rows(memory.clone(), Schema::new(["key"], ["value"])).lateness(Span::from_secs(60));
    let running = thread::spawn(move || {
        cluster::run(Cluster::threads(2), &Control::default(), move |worker| {
            worker.dataflow::<EventTime, _, _>(|scope| {
                let detector = tidewatch_dataflows::detectors::RateOfChange::new("1s").expect("it is right");
                let (limits, eager) = (Limits::default(), Eager::default());
                let keyed =
                    input.ingest(scope).records.keyed_eagerly(limits, eager, detector.then(above(5.0)));
                keyed.provisional.announce(Output::json(to_said.clone(), Schema::new(["key"], ["value"])));
                keyed.emitted.egress(Output::json(to_final.clone(), Schema::new(["key"], ["value"])));
            });
            Ok(())
        })
    });
    let push = |secs, value| {
        let time = EventTime::from_secs(secs).expect("a few seconds");
        memory.push("p", MemoryRecord::row(time, "k", [value]));
    };
    let what = |line: &String, event: &str, revision: u32, time: &str, score: &str| {
        let line = line.as_str();
        assert!(
            line.contains(&format!("\"event\":\"{event}\",\"revision\":{revision},"))
                && line.starts_with(&format!(
                    "{{\"time\":\"1970-01-01T00:00:{time}Z\",\"key\":{{\"key\":\"k\"}},\"id\":\""
                ))
                && line.contains(&format!("\"score\":{score},")),
            "no {event} {revision} at {time} with {score}: {line}"
        );
    };
    // The frontier is a minute behind.
    push(10, 0.0);
    push(20, 100.0);
    what(&lines(&said, 1)[0], "provisional", 0, "20", "10.0");
    // A record in between makes the change slower, and another one makes it none.
    push(15, 40.0);
    let revised = lines(&said, 3);
    what(&revised[1], "provisional", 0, "15", "8.0");
    what(&revised[2], "revised", 1, "20", "12.0");
    push(19, 99.0);
    let revised = lines(&said, 5);
    what(&revised[3], "provisional", 0, "19", "14.75");
    what(&revised[4], "retracted", 2, "20", "12.0");
    assert_eq!(0, is_final.payloads().len());
    memory.end();
    running.join().expect("it does not panic").expect("it runs");
    let payloads = said.payloads();
    assert_eq!(7, payloads.len());
    assert_eq!(Ok(is_final.payloads()), added_up(&payloads));
    assert_eq!(2, is_final.payloads().len());
}

#[test]
fn revisions_that_contradict_each_other_do_not_add_up() {
    let line = |id: &str, event: &str, revision: u32| {
        format!("{{\"time\":1,\"id\":\"{id}\",\"event\":\"{event}\",\"revision\":{revision},\"value\":1}}")
            .into_bytes()
    };
    let said = line("a", "provisional", 0);
    let added = |lines: &[Vec<u8>]| added_up(&[std::slice::from_ref(&said), lines].concat());
    assert_eq!(Ok(vec![b"{\"time\":1,\"value\":1}".to_vec()]), added(&[line("a", "confirmed", 1)]));
    assert_eq!(Ok(vec![]), added(&[line("a", "retracted", 1)]));
    for wrong in [
        vec![],
        vec![line("a", "confirmed", 0)],
        vec![line("b", "confirmed", 0)],
        vec![line("a", "provisional", 1)],
        vec![line("a", "confirmed", 1), line("a", "retracted", 2)],
        vec![line("a", "retracted", 1), line("a", "confirmed", 2)],
    ] {
        assert!(added(&wrong).is_err(), "{wrong:?}");
    }
}
