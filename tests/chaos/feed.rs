//! Files that grow while jobs follow them.
//!
//! No clock decides what is in their output, though partitions fall silent all the time: of the files only one grows at a
//! time, and what it gets is later than all that any has. So a watermark that is forced because a file is silent never makes a
//! record late, and an undisturbed run may take other decisions at other offsets.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use super::folder;
use crate::recovery::Random;

/// How many files there are.
const PARTITIONS: u64 = 4;
/// How many records a file gets at a time.
const CHUNK: u64 = 12;
/// How much event time they take, in milliseconds.
const SPAN: u64 = 100;
/// What the key of the last records is, from which on there is nothing to come.
pub(super) const LAST: &str = "the last";

/// Files that grow until nobody needs more.
pub(super) struct Feed {
    folder: TempDir,
    is_over: Arc<AtomicBool>,
    feeding: Option<JoinHandle<u64>>,
}

fn path(folder: &Path, partition: u64) -> PathBuf {
    folder.join(format!("p{partition}.csv"))
}

fn append(folder: &Path, partition: u64, lines: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path(folder, partition));
    file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("it can be written");
}

/// What a file gets: records out of order, some of them late, and lines that are none.
fn chunk(number: u64, random: &mut Random) -> String {
    let mut lines = String::new();
    for record in 0..CHUNK {
        // The first one brings the watermark beyond whatever may have been forced.
        let offset = if record == 0 { SPAN / 2 } else { random.below(SPAN - 5) };
        let far = if random.below(150) == 0 { 500 } else { 0 };
        let (key, value) = (random.below(9), 100 + random.below(20) + far);
        lines += &format!("{},key-{key},{value}\n", number * SPAN + offset);
    }
    if random.below(8) == 0 {
        lines += &format!("chunk {number} has a line that is no record\n");
    }
    lines
}

impl Feed {
    /// Begins to feed.
    pub(super) fn start(seed: u64) -> Self {
        let folder = folder();
        (0..PARTITIONS).for_each(|partition| append(folder.path(), partition, "t,k,v\n"));
        let is_over = Arc::new(AtomicBool::new(false));
        let (at, ends) = (folder.path().to_owned(), is_over.clone());
        let feeding = thread::spawn(move || {
            let mut random = Random(seed);
            let mut number = 0;
            while !ends.load(Ordering::Relaxed) {
                append(&at, number % PARTITIONS, &chunk(number, &mut random));
                number += 1;
                thread::sleep(Duration::from_millis(10));
            }
            number
        });
        Self { folder, is_over, feeding: Some(feeding) }
    }

    /// Ends with records so far ahead that all before them becomes final, and windows of theirs, too.
    pub(super) fn end(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let chunks = self.feeding.take().expect("it ends once").join().expect("it can be fed");
        for hours in [1, 2] {
            let line = format!("{},{LAST},1\n", chunks * SPAN + hours * 3_600_000);
            append(self.folder.path(), 0, &line);
        }
    }

    /// A pipeline over the files, all of whose streams go to `sinks`.
    pub(super) fn pipeline(&self, to: &Path, name: &str, further: &str) -> String {
        let files = self.folder.path().join("*.csv").display().to_string();
        let mutes = self.folder.path().join("mutes").display().to_string();
        fs::write(&mutes, "k,reason\nkey-3,noisy\n").expect("it can be written");
        let text = format!(
            r#"
name = "{name}"
[[source]]
name = "feed"
connector = "file"
options = {{ path = {files:?}, follow = true }}
format = {{ kind = "csv", header = true }}
time = {{ field = "t", unit = "ms" }}
key = ["k"]
value = "v"
lateness = "20ms"
idle = "20ms"
[[step]]
operator = "window"
params = {{ every = "1s", aggregate = "mean" }}
[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.1 }}
threshold = 3
[mutes]
path = {mutes:?}
{further}"#
        );
        let path = to.join(format!("{name}.toml"));
        fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    }
}
