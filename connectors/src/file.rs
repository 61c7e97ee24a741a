//! Reads the lines of files, compressed or followed, and writes lines to one.
//!
//! A partition is a file, named by its path as the pattern gives it. An offset is that of a record's first byte in
//! the decompressed file.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewatch_dataflows::Offset;
use timely::scheduling::SyncActivator;
use tracing::info;

use crate::format::lines::MAX_RECORD;
use crate::format::{Format, Framing};
use crate::source::{Reader, Source};
use crate::{Error, Input};

pub mod pattern;
mod reader;
mod sink;
mod stream;
mod transactional;

pub use sink::FileSink;
pub use transactional::TransactionalFile;

/// How often a followed file is asked for more.
const PATIENCE: Duration = Duration::from_millis(100);

/// Reads the files that match patterns, one record a line; `.gz` and `.zst` are decompressed.
///
/// A followed file does not end: what is appended is read, an incomplete last line once its newline has come, and a
/// file that shrinks or is replaced is an error. Compressed files are never followed: they are read to their end.
/// A compressed file that is damaged is read up to the damage, which is reported to the intake and ends the partition.
///
/// Reading from an offset above zero reads the file from its start: so the header is known, and a record's line is
/// the same wherever reading started.
#[derive(Clone, Debug)]
pub struct FileSource {
    patterns: Vec<String>,
    framing: Framing,
    max_record: usize,
    follow: bool,
}

impl FileSource {
    /// Reads the files that match any of `patterns`, in which `*`, `?`, `[…]` and `**` are wildcards; a pattern
    /// that is the path of a file means that file.
    pub fn new(patterns: Vec<String>) -> Self {
        Self { patterns, framing: Framing::lines(), max_record: MAX_RECORD, follow: false }
    }

    /// Reads the files that match `pattern`.
    pub fn glob(pattern: &str) -> Self {
        Self::new(vec![pattern.to_owned()])
    }

    /// An input of these files, whose records `format` decodes.
    pub fn format(self, format: impl Format + 'static) -> Input {
        Input::of_payloads(self.framing(format.framing()), format)
    }

    /// Whether to wait for what is appended instead of ending.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// How the files fall into records; by default lines without a header.
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The longest record in bytes, by default a mebibyte; a longer one is a dead letter.
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }
}

impl Source for FileSource {
    fn kind(&self) -> &'static str {
        "file"
    }

    /// The paths as the patterns give them, with slashes, sorted. A pattern that matches no file is an error.
    fn partitions(&self) -> Result<Vec<String>, Error> {
        let mut names = BTreeSet::new();
        for pattern in &self.patterns {
            names.append(&mut pattern::matches(pattern)?);
        }
        Ok(names.into_iter().collect())
    }

    fn open(
        &self,
        partition: &str,
        from: Option<Offset>,
        _waker: SyncActivator,
    ) -> Result<Box<dyn Reader>, Error> {
        let from = from.unwrap_or_default();
        let reader = reader::FileReader::open(self, partition, from)?;
        info!(partition, offset = from.0, follow = self.follow, "opened partition");
        Ok(Box::new(reader))
    }

    fn patience(&self) -> Option<Duration> {
        self.follow.then_some(PATIENCE)
    }

    /// Bytes on disk, compressed ones as they are; unknown of files that are followed, as they grow.
    fn size(&self) -> Option<u64> {
        if self.follow {
            return None;
        }
        let names = self.partitions().ok()?;
        names.iter().map(|name| std::fs::metadata(name).ok().map(|file| file.len())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_sorted_paths_without_duplicates_and_directories() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        for file in ["b.csv", "a.csv", ".hidden.csv", "[1].csv", "c.txt"] {
            std::fs::write(directory.path().join(file), "x\ny\n").unwrap();
        }
        std::fs::create_dir(directory.path().join("d.csv")).unwrap();
        let source = FileSource::new(vec![
            format!("{root}/*.csv"),
            format!("{root}/./a.csv"),
            format!("{root}/[1].csv"),
            format!("{root}/?.txt"),
        ]);
        let expected: Vec<_> =
            ["[1].csv", "a.csv", "b.csv", "c.txt"].map(|file| format!("{root}/{file}")).into();
        assert_eq!(expected, source.partitions().unwrap());
        assert_eq!(Some(16), source.size());
        assert_eq!(None, source.follow(true).size());
    }

    #[test]
    fn patterns_go_through_directories_but_not_into_hidden_ones() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        for file in ["a/1.csv", "a/b/2.csv", ".c/3.csv", "4.csv", "a/.5.csv"] {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n").unwrap();
        }
        for (pattern, expected) in [
            ("**/*.csv", vec!["4.csv", "a/1.csv", "a/b/2.csv"]),
            ("*/*.csv", vec!["a/1.csv"]),
            ("a/**/[0-9].csv", vec!["a/1.csv", "a/b/2.csv"]),
            (".c/*.csv", vec![".c/3.csv"]),
            ("a/.?.csv", vec!["a/.5.csv"]),
            ("a/../4.csv", vec!["a/../4.csv"]),
        ] {
            let source = FileSource::glob(&format!("{root}/{pattern}"));
            let expected: Vec<_> = expected.iter().map(|file| format!("{root}/{file}")).collect();
            assert_eq!(expected, source.partitions().unwrap(), "{pattern}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_whose_name_is_not_utf_8_is_named_lossily_if_it_matches_and_else_skipped() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("a.csv"), "x\n").unwrap();
        std::fs::write(directory.path().join(OsStr::from_bytes(b"b\xff.txt")), "x\n").unwrap();
        let partitions = |pattern: &str| FileSource::glob(&format!("{root}/{pattern}")).partitions();
        assert_eq!(vec![format!("{root}/a.csv")], partitions("*.csv").unwrap());
        assert_eq!(vec![format!("{root}/a.csv")], partitions("**/a*").unwrap());
        for pattern in ["*", "b?.txt", "**/*.txt"] {
            let message = format!("the path \"{root}/b\u{fffd}.txt\" is not UTF-8");
            assert_eq!(message, partitions(pattern).unwrap_err().to_string());
        }
        let nested = directory.path().join(OsStr::from_bytes(b"d\xfe"));
        std::fs::create_dir(&nested).unwrap();
        assert_eq!(vec![format!("{root}/a.csv")], partitions("**/*.csv").unwrap());
        std::fs::write(nested.join("c.csv"), "x\n").unwrap();
        let message = format!("the path \"{root}/d\u{fffd}/c.csv\" is not UTF-8");
        assert_eq!(message, partitions("**/*.csv").unwrap_err().to_string());
    }

    #[test]
    fn relative_paths_stay_relative() {
        let source = FileSource::new(vec!["./Cargo.toml".into(), "src/li?.rs".into(), "./src/f*e.rs".into()]);
        assert_eq!(vec!["Cargo.toml", "src/file.rs", "src/lib.rs"], source.partitions().unwrap());
    }

    #[test]
    fn a_pattern_without_a_file_is_an_error_that_names_it() {
        for (pattern, message) in [
            ("/nowhere/*.csv", "no file matches \"/nowhere/*.csv\""),
            ("sr[c", "\"sr[c\" is not a pattern of paths: Pattern syntax error near position 2: invalid range pattern"),
        ] {
            let source = FileSource::new(vec!["Cargo.toml".into(), pattern.into()]);
            assert_eq!(message, source.partitions().unwrap_err().to_string());
            assert_eq!(None, source.size());
        }
    }
}
