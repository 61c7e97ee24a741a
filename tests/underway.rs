//! At every moment it can be told which record user code is at: what a panic's message rests on.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use tidewatch::cluster::{self, Cluster, Outcome};
use tidewatch_connectors::format::{Decoder, Format, Framing, Row};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::source::Raw;
use tidewatch_connectors::{Control, Error, Input, Intake, Reader, Schema, Source, Status};
use tidewatch_dataflows::operators::Keyed;
use tidewatch_dataflows::state::StateError;
use tidewatch_dataflows::underway::{underway, Underway};
use tidewatch_dataflows::{EventTime, Key, Logic, Offset, PartitionId, Record, Span};
use timely::scheduling::SyncActivator;

const RECORDS: u64 = 300;
const PARTITIONS: u64 = 3;

/// How often user code was called for each thing, and what was told wrongly.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<(Vec<&'static str>, Vec<String>)>>);

impl Calls {
    fn check(&self, what: &'static str, expected: impl Debug, told: impl Debug) {
        let (expected, told) = (format!("{expected:?}"), format!("{told:?}"));
        let mut calls = self.0.lock().expect("nobody panics");
        calls.0.push(what);
        if expected != told {
            calls.1.push(format!("{what}: {told} instead of {expected}"));
        }
    }
}

fn partition(number: u64) -> PartitionId {
    PartitionId::of("witnessed", &format!("p{number}"))
}

/// The offset of a record: now and then there is a gap that is longer than a batch can describe, and it needs 63 bits.
fn offset(partition: u64, record: u64) -> u64 {
    let gaps = record / 20 * ((1 << 32) + 77);
    (partition << 61) + gaps + record
}

/// What all user code of the test shares.
#[derive(Clone, Default)]
struct Witness(Calls);

impl Source for Witness {
    fn kind(&self) -> &'static str {
        "witness"
    }
    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok((0..PARTITIONS).map(|number| format!("p{number}")).collect())
    }
    fn open(&self, name: &str, _: Option<Offset>, _: SyncActivator) -> Result<Box<dyn Reader>, Error> {
        let partition = name[1..].parse().expect("it is listed");
        Ok(Box::new(Reads { calls: self.0.clone(), partition, next: 0, least: Offset(0) }))
    }
}

struct Reads {
    calls: Calls,
    partition: u64,
    next: u64,
    least: Offset,
}

impl Reader for Reads {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        while self.next < RECORDS {
            let expected = Underway::Read { partition: partition(self.partition), next: self.least };
            self.calls.check("read", Some(expected), underway());
            let (record, offset) = (self.next, offset(self.partition, self.next));
            let millis = record * 7 + [0, 40, 3][(record % 3) as usize];
            let payload = format!("{millis} k{} {} {offset}", record % 5, self.partition);
            let raw = Raw::new(Offset(offset), payload.as_bytes());
            (self.next, self.least) = (record + 1, Offset(offset + 1));
            if let ControlFlow::Break(()) = intake.raw(raw) {
                return Ok(Status::More);
            }
        }
        Ok(Status::Ended)
    }
}

impl Format for Witness {
    fn framing(&self) -> Framing {
        Framing::lines()
    }
    fn decoder(&self, _: &str) -> Box<dyn Decoder> {
        Box::new(Decodes(self.0.clone()))
    }
    fn schema(&self) -> Schema {
        Schema::new(["key"], ["partition", "upper", "lower"])
    }
}

struct Decodes(Calls);

impl Decoder for Decodes {
    fn header(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
    fn decode(&mut self, payload: &[u8], row: &mut Row) -> Result<(), String> {
        let text = std::str::from_utf8(payload).expect("it is text");
        let words: Vec<&str> = text.split(' ').collect();
        let [millis, number, offset] = [0, 2, 3].map(|at| words[at].parse::<u64>().expect("it is a number"));
        let expected = Underway::Payload { partition: partition(number), offset: Offset(offset) };
        self.0.check("decode", Some(expected), underway());
        row.time = EventTime::from_micros(millis as i64 * 1000);
        row.key = words[1].to_owned();
        row.values = [number, offset >> 32, offset & 0xffff_ffff].map(|part| part as f64).to_vec();
        Ok(())
    }
}

impl Logic for Witness {
    type In = Record;
    type Out = Record;
    /// The key and its deadline.
    type State = (Key, Option<EventTime>);

    fn start(&self, key: &Key) -> Self::State {
        let told = match underway() {
            Some(Underway::Record { key, .. }) => Some(key),
            _ => None,
        };
        self.0.check("start", Some(key), told);
        (key.clone(), None)
    }
    fn on_record(
        &self,
        state: &mut Self::State,
        time: EventTime,
        record: &Record,
        out: &mut impl FnMut(EventTime, Record),
    ) {
        let [number, upper, lower] = [0, 1, 2].map(|at| record.values[at] as u64);
        let (partition, offset) = (partition(number), Offset(upper << 32 | lower));
        let expected = Underway::Record { partition, offset, key: state.0.clone(), time };
        self.0.check("record", Some(&expected), underway());
        state.1 = Some(time.saturating_add(Span::from_millis(30)));
        out(time, record.clone());
        self.0.check("emitted", Some(expected), underway());
    }
    fn deadline(&self, state: &Self::State) -> Option<EventTime> {
        state.1
    }
    fn on_time(&self, state: &mut Self::State, time: EventTime, _: &mut impl FnMut(EventTime, Record)) {
        self.0.check("time", Some(Underway::Deadline { key: state.0.clone(), time }), underway());
        state.1 = None;
    }
    fn on_end(&self, state: &mut Self::State, _: EventTime, _: &mut impl FnMut(EventTime, Record)) {
        self.0.check("end", Some(Underway::End { key: state.0.clone() }), underway());
    }
    fn save(&self, _: &Self::State, _: &mut Vec<u8>) {}
    fn restore(&self, _: &mut &[u8]) -> Result<Self::State, StateError> {
        unreachable!("it is not saved")
    }
}

#[test]
fn whatever_user_code_is_called_for_can_be_told_at_any_number_of_workers() {
    for (workers, batch) in [(1, 1024), (1, 1), (2, 1024), (2, 7), (4, 100)] {
        let witness = Witness::default();
        let input = Input::of_payloads(witness.clone(), witness.clone()).named("witnessed");
        let pace = Pace { batch, shuffle: Some(9), dictionary: 3 };
        let input = input.lateness(Span::from_millis(50)).pace(pace);
        let calls = witness.0.clone();
        let outcome = cluster::run(Cluster::threads(workers), &Control::default(), move |worker| {
            let (input, witness) = (input.clone(), witness.clone());
            worker.dataflow(|scope| drop(input.ingest(scope).records.keyed(witness)));
            assert_eq!(None, underway());
            Ok(())
        });
        assert_eq!(Outcome::Done, outcome.expect("it runs"));
        let (calls, wrong) = &*calls.0.lock().expect("nobody panics");
        assert_eq!(
            Vec::<String>::new(),
            wrong[..wrong.len().min(5)],
            "{workers} workers, batches of {batch}"
        );
        let count = |what| calls.iter().filter(|call| **call == what).count() as u64;
        let all = PARTITIONS * RECORDS;
        let counts = ["read", "decode", "record", "emitted", "start", "end"].map(count);
        assert_eq!([all, all, all, all, 5, 5], counts, "{workers} workers, batches of {batch}");
        assert!(count("time") > 5);
    }
}
