//! A recording of several files is one.

use super::*;
use crate::source::testing::waker;
use crate::Control;

const FIRST: Part = Part { index: 0, of: 3 };

/// Records one partition of a source into a part of the recording at `path`, in some run.
fn record_part(path: &str, part: Part, run: u64, partition: &str, payloads: &[&str]) {
    let control = Control::default();
    control.begin(run);
    control.install();
    let steps = payloads.iter().map(|text| Step::Raw(text.as_bytes().to_vec(), None, None)).collect();
    let input = Input::of_payloads(Script(vec![(partition.into(), steps)], Some(HEADER)), csv()).named("s");
    let recorder = Recorder::create_part(path, part).unwrap();
    let tapped = recorder.record(input, 1);
    collect(&tapped, partition, 0, 0);
    // In the part of the partition that it concerns.
    let (offset, watermark) = (offset(0), EventTime::from_micros(i64::from(part.index)));
    let decision = Decision { partition: PartitionId::of("s", partition), offset, watermark };
    tapped.keeper().append(decision).unwrap();
    recorder.finish().unwrap();
}

/// A folder with a recording of three partitions in as many parts.
fn three() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.tide").display().to_string();
    for (index, payloads) in (0..).zip([["30,k,1"], ["20,k,2"], ["40,k,3"]]) {
        record_part(&path, Part { index, ..FIRST }, 7, &format!("p{index}"), &payloads);
    }
    (folder, path)
}

fn refusal(path: &str) -> String {
    Recording::open(path).err().expect("it is refused").to_string()
}

#[test]
fn each_partition_is_found_in_its_part_with_its_decisions() {
    let (_folder, path) = three();
    let recording = Recording::open(&path).unwrap();
    assert_eq!(Vec::<Damage>::new(), recording.damages());
    let replayed = recording.replay(payloads(&[]), &Play::all(), 1).unwrap();
    let source = replayed.source();
    assert_eq!(
        (vec!["p0".into(), "p1".into(), "p2".into()], Some(3)),
        (source.partitions().unwrap(), source.size())
    );
    for (index, payload) in (0..).zip(["30,k,1", "20,k,2", "40,k,3"]) {
        let name = format!("p{index}");
        assert_eq!(vec![payload], collect(&replayed, &name, 0, 0).0.payloads());
        let decisions = source.decisions(&name).unwrap();
        assert_eq!(
            vec![index],
            decisions.iter().map(|decision| decision.watermark.micros()).collect::<Vec<_>>()
        );
    }
    // As a source of its own, too.
    let source = RecordingSource::new(path.as_str(), None);
    assert_eq!(3, source.partitions().unwrap().len());
}

#[test]
fn a_paced_replay_begins_with_the_earliest_record_of_all_parts_whoever_reads_it() {
    let (_folder, path) = three();
    for fingerprint in [1, 2] {
        let recording = Recording::open(&path).unwrap();
        let (play, input) = (Play::all().speed(1e-6), payloads(&[]));
        let replayed = recording.replay(input, &play, fingerprint).unwrap();
        // One second of event time takes for ever: only what comes first is given.
        for (partition, given) in [("p2", 0), ("p0", 0), ("p1", 1)] {
            let mut reader = replayed.source().open(partition, None, waker()).unwrap();
            let mut intake = Collected::default();
            let _ = intake.drain(&mut *reader).unwrap();
            assert_eq!(given, intake.raws.len(), "{partition}, fingerprint {fingerprint}");
        }
    }
}

#[test]
fn parts_that_are_missing_or_do_not_belong_together_are_named() {
    let (folder, path) = three();
    let file = |name: &str| folder.path().join(name);
    assert!(refusal(&format!("{path}.1")).ends_with(&format!("name them all as {path}")));

    std::fs::rename(file("r.tide.0"), file("kept")).unwrap();
    assert_eq!(format!("{path} has 3 parts, of which {path}.0 is missing"), refusal(&path));
    std::fs::remove_file(file("r.tide.2")).unwrap();
    assert_eq!(format!("{path} has 3 parts, of which {path}.0, {path}.2 are missing"), refusal(&path));
    std::fs::rename(file("kept"), file("r.tide.0")).unwrap();

    // Of another run; of another number.
    record_part(&path, Part { index: 2, ..FIRST }, 8, "p2", &["1,k,1"]);
    assert_eq!(format!("{path}.2 is not the part of its number that belongs to {path}.0"), refusal(&path));
    std::fs::copy(file("r.tide.1"), file("r.tide.2")).unwrap();
    assert_eq!(format!("{path}.2 is not the part of its number that belongs to {path}.0"), refusal(&path));

    std::fs::remove_file(file("r.tide.2")).unwrap();
    record_part(&path, Part { index: 2, ..FIRST }, 7, "p1", &["1,k,1"]);
    let twice = format!("{path}.1 and {path}.2 both have partition \"p1\" of source \"s\"");
    assert_eq!(twice, refusal(&path));

    for name in ["r.tide.0", "r.tide.1", "r.tide.2"] {
        std::fs::remove_file(file(name)).unwrap();
    }
    assert!(refusal(&path).starts_with(&format!("{path}: ")));
}

#[test]
fn a_recording_and_its_parts_never_overwrite_anything() {
    let (folder, path) = three();
    let part = Part { index: 1, ..FIRST };
    assert!(Recorder::create_part(&path, part)
        .err()
        .unwrap()
        .to_string()
        .starts_with(&format!("{path}.1 exists")));
    assert!(Part::check_new(&path, 3).is_err() && Part::check_new(&path, 1).is_err());
    for name in ["r.tide.0", "r.tide.1", "r.tide.2"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(Part::check_new(&path, 3).is_ok());
    // A file of the recording's own name would hide the parts.
    std::fs::write(&path, "").unwrap();
    assert!(Recorder::create_part(&path, part)
        .err()
        .unwrap()
        .to_string()
        .starts_with(&format!("{path} exists")));
    assert!(Part::check_new(&path, 3).is_err());
}

#[test]
fn a_damaged_part_costs_its_own_partitions_alone() {
    let (_folder, path) = three();
    let file = format!("{path}.1");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let recording = Recording::open(&path).unwrap();
    let damages: Vec<_> = recording.damages().iter().map(ToString::to_string).collect();
    assert!(damages.len() == 1 && damages[0].starts_with(&file), "{damages:?}");
    let replayed = recording.replay(payloads(&[]), &Play::all(), 1).unwrap();
    assert_eq!(vec!["30,k,1"], collect(&replayed, "p0", 0, 0).0.payloads());
    assert_eq!(vec!["40,k,3"], collect(&replayed, "p2", 0, 0).0.payloads());
}
