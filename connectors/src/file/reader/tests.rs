use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use tidewatch_dataflows::record::KeyText;
use tidewatch_dataflows::EventTime;

use super::*;
use crate::format::Framing;
use crate::source::testing::Collected;
use crate::source::Raw;

const FRAMING: Framing = Framing { header: true, multiline: false, delimiter: b',' };

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The same bytes plain, and compressed as two members or frames.
fn write(directory: &TempDir, bytes: &[u8]) -> [PathBuf; 3] {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    [
        ("a.csv", bytes.to_vec()),
        ("a.csv.gz", [gzip(first), gzip(second)].concat()),
        ("a.csv.zst", [zstd(first), zstd(second)].concat()),
    ]
    .map(|(name, bytes)| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    })
}

fn open(path: &Path, from: u64, follow: bool) -> FileReader {
    let source = FileSource::glob("*").framing(FRAMING).follow(follow);
    FileReader::open(&source, path.to_str().unwrap(), Offset(from)).unwrap()
}

fn read(path: &Path, from: u64, every: usize) -> Collected {
    let mut intake = Collected::breaking_every(every);
    let mut reader = open(path, from, false);
    assert_eq!(Status::Ended, intake.drain(&mut reader).unwrap());
    intake
}

/// A header and `count` numbered lines.
fn numbered(count: usize) -> String {
    std::iter::once("head\n".to_owned()).chain((0..count).map(|n| format!("line {n}\n"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn reopening_at_any_offset_gives_the_rest(
        lines in prop::collection::vec("[a-z]{0,20}\r?", 0..8), last in "[a-z]{0,20}", every in 0usize..3,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("head\n{}\n{last}", lines.join("\n"));
        let paths = write(&directory, text.as_bytes());
        let whole = read(&paths[0], 0, 0);
        for path in &paths {
            for from in 0..=text.len() as u64 {
                let rest = read(path, from, every);
                let expected: Vec<_> = whole.raws.iter().filter(|raw| raw.0 >= from).cloned().collect();
                prop_assert_eq!(&expected, &rest.raws, "{} from {}", path.display(), from);
                prop_assert_eq!(vec!["head".to_owned()], rest.headers);
            }
        }
    }
}

#[test]
fn compressed_files_read_as_plain_ones() {
    let directory = tempfile::tempdir().unwrap();
    // More than several blocks, and more than is skipped at once.
    let padding = "x".repeat(1000);
    let text = numbered(40_000).replace("line", &padding);
    let expected: Vec<_> = text.lines().skip(1).map(str::to_owned).collect();
    for path in write(&directory, text.as_bytes()) {
        let got = read(&path, 0, 0);
        assert!(expected == got.payloads(), "{}", path.display());
        let (at, line, _) = got.raws.last().unwrap().clone();
        let last = read(&path, at, 0);
        assert_eq!(
            vec![(at, line, format!("{padding} 39999").into_bytes())],
            last.raws,
            "{}",
            path.display()
        );
    }
}

#[test]
fn zeros_behind_gzip_are_padding_and_anything_else_is_a_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv.gz");
    let member = |text: &str| gzip(text.as_bytes());
    for zeros in [1, 511, 300_000] {
        let padding = vec![0; zeros];
        fs::write(&path, [member("head\n1\n"), padding.clone()].concat()).unwrap();
        let got = read(&path, 0, 0);
        assert_eq!((vec!["1".to_owned()], 0), (got.payloads(), got.damaged.len()), "{zeros}");
        fs::write(&path, [member("head\n1\n"), padding.clone(), member("2\n"), padding.clone()].concat())
            .unwrap();
        assert_eq!(vec!["1", "2"], read(&path, 0, 0).payloads(), "{zeros}");
        fs::write(&path, [member("head\n1\n"), padding, b"x".to_vec()].concat()).unwrap();
        let got = read(&path, 0, 0);
        assert_eq!((vec!["1".to_owned()], 1), (got.payloads(), got.damaged.len()), "{zeros}");
    }
}

#[test]
fn an_extension_in_capitals_is_the_same_one() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a.CSV.GZ", gzip(b"head\n1\n")), ("a.Zst", zstd(b"head\n1\n"))] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(vec!["1"], read(&path, 0, 0).payloads(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_without_waiting_for_a_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let name = path.to_str().unwrap();
    let refused =
        FileReader::open(&FileSource::glob(name), name, Offset(0)).err().map(|error| error.to_string());
    assert_eq!(Some(format!("{name} is not a regular file")), refused);
}

#[test]
fn position_ends_at_the_size_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    for path in write(&directory, numbered(1000).as_bytes()) {
        let mut reader = open(&path, 0, false);
        Collected::default().drain(&mut reader).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), reader.position(), "{}", path.display());
    }
}

#[test]
fn a_compressed_file_that_is_cut_off_gives_what_comes_before_and_one_damage() {
    let directory = tempfile::tempdir().unwrap();
    let text = numbered(100_000);
    let whole = read(&write(&directory, text.as_bytes())[0], 0, 0);
    for path in &write(&directory, text.as_bytes())[1..] {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() * 3 / 4]).unwrap();
        let got = read(path, 0, 0);
        // Both members count half, so the first one is whole.
        assert!(got.raws.len() > 50_000, "{}: {} records", path.display(), got.raws.len());
        assert_eq!(whole.raws[..got.raws.len()], got.raws, "{}", path.display());
        let [(offset, line, payload, reason)] = &got.damaged[..] else { panic!("{:?}", got.damaged) };
        let (at, of, bytes) = &whole.raws[got.raws.len()];
        assert_eq!((at, of), (offset, line), "{}", path.display());
        assert!(bytes.starts_with(payload), "{}", path.display());
        assert!(reason.starts_with("compressed data is damaged from byte "), "{reason}");

        let broken = read(path, 0, 1);
        assert_eq!((&got.raws, &got.damaged), (&broken.raws, &broken.damaged), "however the intake breaks");
        assert_eq!(1, read(path, *offset, 0).damaged.len(), "the damage is the next record");
        assert_eq!(0, read(path, *offset + 1, 0).damaged.len(), "and comes once");
    }
}

#[test]
fn what_comes_before_a_damage_in_gzip_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv.gz");
    let text = numbered(60_000);
    let lines: Vec<_> = text.lines().skip(1).collect();
    // Stored blocks, so that the damage has a known place: the length of the block after the first half.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
    encoder.flush().unwrap();
    let before = encoder.get_ref().len();
    encoder.write_all(&text.as_bytes()[text.len() / 2..]).unwrap();
    let mut bytes = encoder.finish().unwrap();
    bytes[before] = 0x06;
    fs::write(&path, bytes).unwrap();
    let got = read(&path, 0, 0);
    let whole = text[..text.len() / 2].lines().count() - 2;
    assert_eq!(lines[..whole], got.payloads());
    let [(_, _, payload, reason)] = &got.damaged[..] else { panic!("{:?}", got.damaged) };
    assert!(text.as_bytes()[..text.len() / 2].ends_with(payload), "{payload:?}");
    let expected = format!(
        "compressed data is damaged from byte {} of the text on: corrupt deflate stream",
        text.len() / 2
    );
    assert_eq!(expected, *reason);
}

#[test]
fn only_the_damaged_block_of_a_zstd_frame_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv.zst");
    let text = numbered(60_000);
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&text.as_bytes()[..text.len() / 2]).unwrap();
    encoder.flush().unwrap();
    let before = encoder.get_ref().len();
    encoder.write_all(&text.as_bytes()[text.len() / 2..]).unwrap();
    let mut bytes = encoder.finish().unwrap();
    // A block of a type that there is not.
    bytes[before] |= 0x06;
    fs::write(&path, bytes).unwrap();
    let got = read(&path, 0, 0);
    let whole = text[..text.len() / 2].lines().count() - 2;
    assert_eq!(whole, got.raws.len());
    let reason = format!("compressed data is damaged from byte {} of the text on: ", text.len() / 2);
    assert!(got.damaged[0].3.starts_with(&reason), "{:?}", got.damaged);
}

#[test]
fn flipped_bytes_never_stop_the_run_and_end_the_partition_at_a_damage() {
    let directory = tempfile::tempdir().unwrap();
    let text = numbered(2_000);
    for path in &write(&directory, text.as_bytes())[1..] {
        let bytes = fs::read(path).unwrap();
        for at in (0..bytes.len()).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0xff;
            fs::write(path, flipped).unwrap();
            let got = read(path, 0, 0);
            assert!(got.damaged.len() <= 1, "{} at {at}: {:?}", path.display(), got.damaged);
        }
    }
}

#[test]
fn a_followed_file_gives_a_line_when_its_newline_has_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let mut file = File::create(&path).unwrap();
    let mut reader = open(&path, 0, true);
    let mut intake = Collected::default();
    for (appended, count) in
        [("he", 0), ("ad\n1", 0), ("2", 0), ("\n3\n", 2), ("", 2), ("\r\n4\r", 2), ("\n5", 3)]
    {
        file.write_all(appended.as_bytes()).unwrap();
        assert_eq!(Status::Pending, intake.drain(&mut reader).unwrap());
        assert_eq!(count, intake.raws.len(), "after {appended:?}");
    }
    let expected = [(5, Some(2), b"12".to_vec()), (8, Some(3), b"3".to_vec()), (12, Some(5), b"4".to_vec())];
    assert_eq!(expected.to_vec(), intake.raws);
}

#[test]
fn a_followed_file_that_shrinks_or_is_replaced_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let follow = |change: &dyn Fn()| {
        fs::write(&path, "head\n1\n2\n").unwrap();
        let mut reader = open(&path, 0, true);
        let mut intake = Collected::default();
        intake.drain(&mut reader).unwrap();
        change();
        intake.drain(&mut reader).unwrap_err().to_string()
    };
    let shrunk = follow(&|| OpenOptions::new().write(true).open(&path).unwrap().set_len(5).unwrap());
    assert_eq!(format!("{}: shrank while it was followed", path.display()), shrunk);
    if cfg!(unix) {
        let replaced = follow(&|| {
            let other = directory.path().join("other");
            fs::write(&other, "head\n1\n2\n3\n4\n").unwrap();
            fs::rename(&other, &path).unwrap();
        });
        assert_eq!(format!("{}: was replaced while it was followed", path.display()), replaced);
    }
}

#[test]
fn a_file_that_ends_before_the_stored_offset_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    for path in write(&directory, b"head\n1\n2\n") {
        let mut reader = open(&path, 20, false);
        let error = Collected::default().drain(&mut reader).unwrap_err().to_string();
        assert_eq!(format!("{}: ends before offset 20, from which to read", path.display()), error);
    }
}

#[test]
fn what_is_not_a_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let error = FileReader::open(&FileSource::glob(path), path, Offset(0)).err().unwrap().to_string();
    assert_eq!(format!("{path} is not a regular file"), error);
    let error = FileReader::open(&FileSource::glob(path), "/nowhere", Offset(0)).err().unwrap().to_string();
    assert!(error.starts_with("/nowhere: "), "{error}");
}

#[test]
#[ignore = "a measurement: run in release mode, one at a time"]
fn cost_of_reading_and_of_resuming() {
    let directory = tempfile::tempdir().unwrap();
    let text = "2024-01-01T00:00:00Z,key-000000,109.9573801274\n".repeat(5_000_000);
    for path in write(&directory, text.as_bytes()) {
        for (what, from) in [("read from the start", 0), ("resume at the end", text.len() as u64)] {
            let mut reader = open(&path, from, false);
            let mut count = Count(0);
            let start = std::time::Instant::now();
            while reader.read(&mut count).unwrap() == Status::More {}
            let seconds = start.elapsed().as_secs_f64();
            let speed = text.len() as f64 / 1e6 / seconds;
            eprintln!("{what} of {}: {speed:.0} MB/s, {} records", path.display(), count.0);
        }
    }
}

/// Counts records.
struct Count(u64);

impl Intake for Count {
    fn header(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
    fn raw(&mut self, _: Raw<'_>) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
    fn row(&mut self, _: Offset, _: EventTime, _: &KeyText, _: &[f64]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
    fn damaged(&mut self, _: Raw<'_>, _: String) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
