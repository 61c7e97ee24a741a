//! What was recorded comes back; what is damaged is read up to the damage.

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
    fn open(&self, name: &str, _: Offset, _: SyncActivator) -> Result<Box<dyn Reader>, Error> {
        let steps = self.0.iter().find(|(known, _)| known == name).unwrap().1.clone();
        Ok(Box::new(ScriptReader(steps, self.1, 0)))
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
                    intake.raw(Raw { offset, line: *line, appended, payload })
                }
                Step::Row(time, key, value) => {
                    intake.row(offset, EventTime::from_micros(*time), &Key::new(key).into(), &[*value])
                }
                Step::Damaged(payload, reason) => {
                    let raw = Raw { offset, line: None, appended: None, payload };
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
    let mut reader = input.source().open(partition, Offset(from), waker()).unwrap();
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
    let recorder = Recorder::holding(&path, most).unwrap();
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

fn any_row() -> impl Strategy<Value = Step> {
    (any::<i64>(), "[a-c]{0,3}", any::<f64>()).prop_map(|(time, key, value)| Step::Row(time, key, value))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn payloads_come_back_from_any_offset(
        steps in prop::collection::vec(any_payload(), 0..60),
        most in prop_oneof![Just(0_usize), 100..5_000_usize],
        fingerprint in 0_u64..3,
        every in 0_usize..4,
        from in 0_u64..200,
    ) {
        let input = payloads(&steps);
        let (_folder, path) = record(&input, most);
        let replayed = replay(&path, &input, fingerprint);
        prop_assert_eq!(input.source().partitions().unwrap(), replayed.source().partitions().unwrap());
        prop_assert_eq!(collect(&input, "a/1", 0, 0), collect(&replayed, "a/1", 0, every));
        let (all, _) = collect(&input, "a/1", 0, 0);
        let (part, _) = collect(&replayed, "a/1", from, every);
        let expected: Vec<_> = all.raws.iter().filter(|raw| raw.0 >= from).cloned().collect();
        prop_assert_eq!((&all.headers, expected), (&part.headers, part.raws));
        prop_assert_eq!(Some(steps.len() as u64), replayed.source().size());
    }

    #[test]
    fn rows_come_back(steps in prop::collection::vec(any_row(), 0..60), most in 0..5_000_usize) {
        let input = rows(&steps);
        let (_folder, path) = record(&input, most);
        let bits = |(collected, labels): (Collected, Vec<String>)| {
            let row = |row: &(u64, EventTime, String, Vec<f64>)| (row.0, row.1, row.2.clone(), row.3[0].to_bits());
            (collected.rows.iter().map(row).collect::<Vec<_>>(), labels)
        };
        prop_assert_eq!(bits(collect(&input, "a/1", 0, 0)), bits(collect(&replay(&path, &input, 0), "a/1", 0, 3)));
    }

    #[test]
    fn a_truncated_file_gives_what_came_before_and_says_so(
        steps in prop::collection::vec(any_payload(), 1..40),
        most in prop_oneof![Just(0_usize), 100..2_000_usize],
        cut in 0.0..1.0_f64,
    ) {
        let input = payloads(&steps);
        let (_folder, path) = record(&input, most);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..(cut * bytes.len() as f64) as usize]).unwrap();
        check_prefix(&path, &input)?;
    }

    #[test]
    fn flipped_bits_never_panic_and_change_nothing_silently(
        steps in prop::collection::vec(any_payload(), 1..40),
        most in prop_oneof![Just(0_usize), 100..2_000_usize],
        flips in prop::collection::vec((0.0..1.0_f64, 0..8_u8), 1..4),
    ) {
        let input = payloads(&steps);
        let (_folder, path) = record(&input, most);
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.clone();
        for (at, bit) in flips {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] ^= 1 << bit;
        }
        std::fs::write(&path, &bytes).unwrap();
        prop_assume!(bytes != whole);
        check_prefix(&path, &input)?;
    }

    #[test]
    fn checked_nonsense_never_panics(
        body in prop::collection::vec(any::<u8>(), 0..200),
        count in 0..40_u32,
        width in 0..3_usize,
    ) {
        let head = Head { count, ..Head::new(Kind::Records, 0, &body).unwrap() };
        if let Ok(block) = codec::Block::decode(&head, body.clone(), width) {
            let _ = block.payloads();
        }
        let _ = codec::Described::decode(&body);
        let _ = codec::decode_decisions(&body, count, PartitionId::of("s", "p"));
        let _ = frame::read_index(&body, 1000);
    }
}

/// A damaged file is refused with its name, or gives a beginning of what was recorded; what is missing is told.
fn check_prefix(path: &str, input: &Input) -> Result<(), TestCaseError> {
    let recording = match Recording::open(path) {
        Ok(recording) => recording,
        Err(error) => {
            prop_assert!(error.to_string().starts_with(path), "{}", error);
            return Ok(());
        }
    };
    let (all, _) = collect(input, "a/1", 0, 0);
    let Ok(replayed) = recording.replay(input.clone(), &Play::all(), 1) else {
        prop_assert!(!recording.damages().is_empty());
        return Ok(());
    };
    if replayed.source().partitions().unwrap().contains(&"a/1".to_owned()) {
        let (mut part, _) = collect(&replayed, "a/1", 0, 0);
        let is_told = part.damaged.last().is_some_and(|damaged| damaged.3.starts_with(path));
        if is_told {
            part.damaged.pop();
        }
        prop_assert!(all.raws.starts_with(&part.raws) && all.damaged.starts_with(&part.damaged));
        prop_assert!(all.appended.starts_with(&part.appended));
        let is_whole = all.raws == part.raws && all.damaged == part.damaged;
        prop_assert!(is_whole || !recording.damages().is_empty());
    } else {
        prop_assert!(!recording.damages().is_empty());
    }
    Ok(())
}

#[test]
fn a_damaged_block_ends_its_partition_and_no_other() {
    let steps: Vec<_> =
        (0..9).map(|n| Step::Raw(format!("{n},k,1").into_bytes(), Some(n + 2), None)).collect();
    let script = Script(vec![("p".into(), steps.clone()), ("q".into(), steps)], Some(HEADER));
    let input = Input::of_payloads(script, csv()).named("s");
    let (_folder, path) = record(&input, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    // Blocks: p, its records one by one, q.
    let recording = Recording::open(&path).unwrap();
    let block = recording.0.track("s", "p").unwrap().blocks[4];
    bytes[block.position as usize + HEAD] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let replayed = replay(&path, &input, 1);
    assert_eq!(collect(&input, "q", 0, 0), collect(&replayed, "q", 0, 0));
    let (part, _) = collect(&replayed, "p", 0, 0);
    assert_eq!(4, part.raws.len());
    let expected = format!(
        "{path}: damaged at byte {}, in block {}: the block does not have its checksum; \
         5 records of s/p from offset 19 on are lost",
        block.position, block.number
    );
    assert_eq!(vec![(19, None, vec![], expected)], part.damaged);
}

#[test]
fn a_file_that_was_not_closed_is_read_to_its_last_whole_block() {
    let steps: Vec<_> = (0..9).map(|n| Step::Raw(format!("{n},k,1").into_bytes(), None, None)).collect();
    let input = payloads(&steps);
    let (_folder, path) = record(&input, 0);
    let bytes = std::fs::read(&path).unwrap();
    let recording = Recording::open(&path).unwrap();
    let block = recording.0.track("s", "a/1").unwrap().blocks[6];
    let at = block.position as usize;
    for (length, records, message) in [
        (at, 6, "in block 8: the recording was not closed, so it is not known whether more should follow"),
        (at + 10, 6, "in block 8: the file ends inside the block; the 10 bytes from there on are lost"),
        (at + HEAD + 1, 6, "in block 8: the file ends inside the block; the 73 bytes from there on are lost"),
        (bytes.len() - 1, 9, "in block 12: the recording was not closed; all records before it can be read"),
    ] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let recording = Recording::open(&path).unwrap();
        let damages: Vec<_> = recording.damages().iter().map(ToString::to_string).collect();
        assert!(damages.len() == 1 && damages[0].contains(message), "{length}: {damages:?}");
        let replayed = recording.replay(input.clone(), &Play::all(), 1).unwrap();
        assert_eq!(records, collect(&replayed, "a/1", 0, 0).0.raws.len(), "{length}");
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide").display().to_string();
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Recording::open(&path).err().unwrap().to_string()
    };
    assert_eq!(format!("{path} is not a recording"), open(b""));
    assert_eq!(format!("{path} is not a recording"), open(b"time,value\n1,2\n1,2\n1,2\n"));
    let mut later = preamble();
    later[8] = 2;
    assert!(open(&later).contains("do not have their checksum"));
    let checksum = xxhash_rust::xxh3::xxh3_64(&later[..16]).to_le_bytes();
    later[16..].copy_from_slice(&checksum);
    assert_eq!(format!("{path} is a recording of version 2; this program reads version 1"), open(&later));
    assert!(Recorder::create(&path).err().unwrap().to_string().contains("never overwrites"));
    assert!(Recording::open("/nowhere/r.tide").err().unwrap().to_string().starts_with("/nowhere/r.tide: "));
}

#[test]
fn decisions_come_back_in_their_order() {
    let input = payloads(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide").display().to_string();
    let recorder = Recorder::create(&path).unwrap();
    let tapped = recorder.record(input.clone(), 1);
    let journal = tapped.keeper().clone();
    let partition = PartitionId::of("s", "a/1");
    let decision = |offset, watermark| Decision {
        partition,
        offset: Offset(offset),
        watermark: EventTime::from_micros(watermark),
    };
    drop(tapped.source().open("a/1", Offset(0), waker()).unwrap());
    for (offset, watermark) in [(0, 5), (0, 6), (3, 9)] {
        journal.append(decision(offset, watermark)).unwrap();
    }
    let recorded = recorder.finish().unwrap();
    assert_eq!((1, 0, 2), (recorded.partitions, recorded.records, recorded.decisions));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), recorded.bytes);
    let replayed = replay(&path, &input, 1);
    assert_eq!(vec![decision(0, 6), decision(3, 9)], replayed.source().decisions("a/1").unwrap());
}

#[test]
fn what_was_recorded_must_be_what_the_input_takes() {
    let (_folder, path) = record(&rows(&[Step::Row(1, "k".into(), 2.0)]), 0);
    let recording = Recording::open(&path).unwrap();
    let refused = |input: Input| recording.replay(input, &Play::all(), 1).err().unwrap().to_string();
    assert!(refused(payloads(&[]))
        .ends_with("source \"s\" has rows, and the pipeline wants payloads for a format to decode"));
    assert!(refused(rows(&[]).named("other")).ends_with("has no source \"other\"; it has \"s\""));
    let other = Input::of_rows(Script(vec![], None), Schema::new(["k"], ["w"])).named("s");
    assert!(refused(other).ends_with("source \"s\" has the key parts and values k, v, and no others"));
}

#[test]
fn a_range_plays_what_is_within_and_what_has_no_time_with_its_neighbour() {
    let raw = |text: &str| Step::Raw(text.as_bytes().to_vec(), None, None);
    let steps = ["?", "10,k,1", "?", "20,k,1", "?", "30,k,1", "?", "15,k,1", "x"].map(raw);
    let input = payloads(&steps);
    for most in [0, 10_000] {
        let (_folder, path) = record(&input, most);
        let at = |micros| Some(EventTime::from_micros(micros));
        let indices = |from: Option<EventTime>, to, fingerprint| {
            let recording = Recording::open(&path).unwrap();
            let play = Play::all().between(from, to);
            let replayed = recording.replay(input.clone(), &play, fingerprint).unwrap();
            let raws = collect(&replayed, "a/1", 0, 0).0.raws;
            (0..steps.len()).filter(|n| raws.iter().any(|raw| raw.0 == offset(*n).0)).collect::<Vec<_>>()
        };
        for fingerprint in [1, 2] {
            assert_eq!((0..9).collect::<Vec<_>>(), indices(None, None, fingerprint));
            assert_eq!(vec![3, 4, 5, 6], indices(at(20), None, fingerprint));
            assert_eq!(vec![0, 1, 2, 7, 8], indices(None, at(20), fingerprint));
            assert_eq!(vec![3, 4, 7, 8], indices(at(11), at(30), fingerprint));
        }
    }
}

/// A file as the description of the format says, without help of the code that writes them.
#[test]
fn a_file_made_by_hand_is_read() {
    let checksum = |bytes: &[u8]| xxhash_rust::xxh3::xxh3_64(bytes).to_le_bytes();
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let mut file = b"tidewrec\x01\0\0\0\0\0\0\0".to_vec();
    file.extend(checksum(&file));
    let block = |kind: u32, first: u64, last: u64, count: u32, body: &[u8]| {
        let mut head = b"tblk".to_vec();
        head.extend(kind.to_le_bytes());
        head.extend((body.len() as u32).to_le_bytes());
        head.extend(0_u32.to_le_bytes());
        head.extend(first.to_le_bytes());
        head.extend(last.to_le_bytes());
        head.extend(i64::MAX.to_le_bytes());
        head.extend(i64::MIN.to_le_bytes());
        head.extend(count.to_le_bytes());
        head.extend([0; 4]);
        head.extend(checksum(body));
        head.extend(checksum(&head));
        [&head, body].concat()
    };
    // Source, partition, connector; no fingerprint; a header; its text; no names.
    let described = [text("s"), text("a/1"), text("logger"), vec![0; 8], vec![2], text(HEADER), vec![0, 0]];
    file.extend(block(1, 0, 0, 0, &described.concat()));
    let decision = [5_u64.to_le_bytes(), 70_u64.to_le_bytes()].concat();
    file.extend(block(2, 5, 5, 1, &decision));
    let section = |name: u8, bytes: &[u8]| {
        let length = (bytes.len() as u32).to_le_bytes();
        [&[name][..], &length, &length, bytes].concat()
    };
    let records = [
        // Two payloads, the second with a line.
        section(1, &[0, 4]),
        // At offsets 2 and 5; line 3; their lengths and bytes.
        section(2, &[0, 3]),
        section(3, &[6]),
        section(9, &[7, 1]),
        section(10, b"100,k,1?"),
    ];
    file.extend(block(3, 2, 5, 2, &records.concat()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide");
    std::fs::write(&path, file).unwrap();

    let recording = Recording::open(&path.display().to_string()).unwrap();
    assert!(recording.damages()[0].to_string().contains("was not closed"));
    let replayed = recording.replay(payloads(&[]), &Play::all(), 1).unwrap();
    let (collected, _) = collect(&replayed, "a/1", 0, 0);
    assert_eq!(vec![HEADER], collected.headers);
    assert_eq!(vec![(2, None, b"100,k,1".to_vec()), (5, Some(3), b"?".to_vec())], collected.raws);
    let decisions = replayed.source().decisions("a/1").unwrap();
    assert_eq!(
        vec![(5, 70)],
        decisions.iter().map(|one| (one.offset.0, one.watermark.micros())).collect::<Vec<_>>()
    );
}

#[test]
fn what_waits_is_written_in_time() {
    let steps = vec![Step::Raw(b"1,k,1".to_vec(), None, None)];
    let input = payloads(&steps);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide").display().to_string();
    let recorder = Recorder::create(&path).unwrap();
    let tapped = recorder.record(input.clone(), 1);
    let _ = collect(&tapped, "a/1", 0, 0);
    let start = std::time::Instant::now();
    while !Path::new(&path).metadata().is_ok_and(|file| file.len() > 200) {
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "it is not written");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // As if the program had been killed.
    assert_eq!(1, collect(&replay(&path, &input, 1), "a/1", 0, 0).0.raws.len());
    recorder.finish().unwrap();
}
