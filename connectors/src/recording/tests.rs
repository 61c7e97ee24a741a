//! A source that gives what it is told, to be recorded and replayed.

mod damage;
mod parts;
mod return_trip;

use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;
use tidewatch_dataflows::{EventTime, Key, Offset, PartitionId};
use timely::scheduling::SyncActivator;

use super::frame::{preamble, Head, Kind, HEAD};
use super::*;
use crate::format::{Csv, TimeFormat};
use crate::source::testing::{waker, Collected};
use crate::source::{Intake, Raw, Reader, Source, Status};
use crate::{Decision, Schema};

/// What a script has a reader give.
#[derive(Clone, Debug)]
enum Step {
    Raw(Vec<u8>, Option<u64>, Option<i64>),
    Row(i64, String, f64),
    Damaged(Vec<u8>, String),
}

/// A source that gives what it is told, with gaps between the offsets and a label for each third record.
#[derive(Clone)]
struct Script(Vec<(String, Vec<Step>)>, Option<&'static str>);

struct ScriptReader(Vec<Step>, Option<&'static str>, usize);

impl Source for Script {
    fn kind(&self) -> &'static str {
        "script"
    }
    fn partitions(&self) -> Result<Vec<String>, Error> {
        Ok(self.0.iter().map(|(name, _)| name.clone()).collect())
    }
    fn open(&self, name: &str, _: Option<Offset>, _: SyncActivator) -> Result<Box<dyn Reader>, Error> {
        let steps = self.0.iter().find(|(known, _)| known == name).unwrap().1.clone();
        Ok(Box::new(ScriptReader(steps, self.1, 0)))
    }
    fn first(&self, _: &str) -> Result<Offset, Error> {
        Ok(offset(0))
    }
    fn joins(&self, _: &str) -> Result<Offset, Error> {
        Ok(offset(1))
    }
}

fn offset(index: usize) -> Offset {
    Offset(7 + 3 * index as u64)
}

impl Reader for ScriptReader {
    fn read(&mut self, intake: &mut dyn Intake) -> Result<Status, Error> {
        if let Some(header) = self.1.take() {
            intake.header(header.as_bytes())?;
        }
        while let Some(step) = self.0.get(self.2) {
            let offset = offset(self.2);
            self.2 += 1;
            let flow = match step {
                Step::Raw(payload, line, appended) => {
                    let appended = appended.map(EventTime::from_micros);
                    intake.raw(Raw { line: *line, appended, ..Raw::new(offset, payload) })
                }
                Step::Row(time, key, value) => {
                    intake.row(offset, EventTime::from_micros(*time), &Key::new(key).into(), &[*value])
                }
                Step::Damaged(payload, reason) => {
                    let raw = Raw::new(offset, payload);
                    intake.damaged(raw, reason.clone())
                }
            };
            if flow == ControlFlow::Break(()) {
                return Ok(Status::More);
            }
        }
        Ok(Status::Ended)
    }
    fn label(&self, offset: Offset) -> Option<String> {
        offset.0.is_multiple_of(9).then(|| format!("label {offset}"))
    }
}

fn csv() -> Csv {
    Csv::header().time("t").time_format(TimeFormat::EpochMicros).key(["k"]).value("v")
}

const HEADER: &str = "t,k,v";

fn payloads(steps: &[Step]) -> Input {
    let script = Script(vec![("a/1".into(), steps.to_vec()), ("empty".into(), vec![])], Some(HEADER));
    Input::of_payloads(script, csv()).named("s")
}

fn rows(steps: &[Step]) -> Input {
    let script = Script(vec![("a/1".into(), steps.to_vec())], None);
    Input::of_rows(script, Schema::new(["k"], ["v"])).named("s")
}

/// All that a partition gives, with the labels.
fn collect(input: &Input, partition: &str, from: u64, every: usize) -> (Collected, Vec<String>) {
    let mut reader = input.source().open(partition, Some(Offset(from)), waker()).unwrap();
    let mut intake = Collected::breaking_every(every);
    let mut labels = Vec::new();
    let mut seen = 0;
    loop {
        let status = reader.read(&mut intake).unwrap();
        let mut offsets: Vec<_> = intake.raws.iter().map(|raw| raw.0).collect();
        offsets.extend(intake.rows.iter().map(|row| row.0));
        offsets.extend(intake.damaged.iter().map(|raw| raw.0));
        offsets.sort_unstable();
        labels.extend(offsets[seen..].iter().filter_map(|offset| reader.label(Offset(*offset))));
        seen = offsets.len();
        if status != Status::More {
            assert_eq!(Status::Ended, status);
            return (intake.at_rest(), labels);
        }
    }
}

/// A recording of an input, whose partitions write whenever they hold `most` bytes.
fn record(input: &Input, most: usize) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide").display().to_string();
    let recorder = Recorder::holding(&path, Part::WHOLE, most).unwrap();
    let tapped = recorder.record(input.clone(), 1);
    for partition in tapped.source().partitions().unwrap() {
        assert_eq!(collect(input, &partition, 0, 0), collect(&tapped, &partition, 0, 50));
    }
    recorder.finish().unwrap();
    (folder, path)
}

fn replay(path: &str, input: &Input, fingerprint: u64) -> Input {
    Recording::open(path).unwrap().replay(input.clone(), &Play::all(), fingerprint).unwrap()
}

fn any_payload() -> impl Strategy<Value = Step> {
    let well_formed =
        (any::<i64>(), "[a-c]{0,2}", prop_oneof![any::<f64>(), (0..500).prop_map(|n| f64::from(n) / 8.0)]);
    let payload = prop_oneof![
        4 => well_formed.prop_map(|(time, key, value)| format!("{time},{key},{value}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let raw = (payload.clone(), prop::option::of(any::<u64>()), prop::option::of(any::<i64>()));
    prop_oneof![
        9 => raw.prop_map(|(payload, line, appended)| Step::Raw(payload, line, appended)),
        1 => (payload, ".{0,9}").prop_map(|(payload, reason)| Step::Damaged(payload, reason)),
    ]
}
