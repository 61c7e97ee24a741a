//! What is damaged is read up to the damage, and what is no recording is refused.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
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
    let block = recording.0.track("s", "p").unwrap().1.blocks[4];
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
    let block = recording.0.track("s", "a/1").unwrap().1.blocks[6];
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
    let mut damaged = preamble(Part::WHOLE, 0);
    damaged[25] = 2;
    assert!(open(&damaged).contains("its first 40 bytes do not have their checksum"));
    let mut later = preamble(Part::WHOLE, 0);
    later[8] = 3;
    assert_eq!(format!("{path} is a recording of version 3; this program reads version 2"), open(&later));
    let nonsense = preamble(Part { index: 2, of: 2 }, 0);
    assert!(open(&nonsense).ends_with("is a recording, but calls itself part 2 of 2"));
    assert!(Recorder::create(&path).err().unwrap().to_string().contains("never overwrites"));
    assert!(Recording::open("/nowhere/r.tide").err().unwrap().to_string().starts_with("/nowhere/r.tide: "));
}

/// A file as the description of the format says, without help of the code that writes them.
#[test]
fn a_file_made_by_hand_is_read() {
    let checksum = |bytes: &[u8]| xxhash_rust::xxh3::xxh3_64(bytes).to_le_bytes();
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    // Version 2, part 0 of 1, nothing, of no run.
    let mut file = b"tidewrec\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    file.extend([0; 8]);
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
fn rows_that_the_pipeline_does_not_take_are_a_damage() {
    let steps = [Step::Raw(b"1,k,1".to_vec(), None, None), Step::Row(2, "k".into(), 2.0)];
    let (_folder, path) = record(&payloads(&steps), 0);
    let recorded = Recording::open(&path).unwrap().0.track("s", "a/1").unwrap().1.blocks[1];
    let refused = format!(
        "{path}: damaged at byte {}, in block {}: it has rows of 1 values, which the pipeline does not take; \
         1 records of s/a/1 from offset 10 on are lost",
        recorded.position, recorded.number
    );
    let two = csv().value("w");
    let script = Script(vec![("a/1".into(), vec![])], Some("t,k,v,w"));
    let of_two = Input::of_payloads(script, two).named("s");
    // Whatever the file says of the format.
    for fingerprint in [0, 1] {
        let (part, _) = collect(&replay(&path, &of_two, fingerprint), "a/1", 0, 0);
        assert_eq!(
            (0, 1),
            (part.rows.len(), part.raws.len()),
            "what was decoded to one value is decoded anew"
        );
        assert_eq!(vec![refused.clone()], part.damaged.into_iter().map(|one| one.3).collect::<Vec<_>>());
    }
    let source = RecordingSource::new(&path, None);
    let any = Input::of_payloads(source, csv().value("w")).named("s");
    let (part, _) = collect(&any, "a/1", 0, 0);
    assert_eq!((0, 1), (part.rows.len(), part.damaged.len()));
    // As many values as the pipeline has are what it takes.
    let (part, _) = collect(&replay(&path, &payloads(&steps), 1), "a/1", 0, 0);
    assert_eq!((1, 0), (part.rows.len(), part.damaged.len()));
}
