//! What was recorded comes back.

use super::*;

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
}

#[test]
fn who_records_a_source_changes_nothing_of_where_it_starts() {
    let input = payloads(&[]);
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("r.tide").display().to_string()).unwrap();
    let tapped = recorder.record(input.clone(), 1);
    let source = tapped.source();
    assert_eq!([offset(0), offset(1)], [source.first("a/1").unwrap(), source.joins("a/1").unwrap()]);
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
    drop(tapped.source().open("a/1", None, waker()).unwrap());
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
