//! The program, in a folder of a test's own, and what it says.

use std::fs;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewatch");

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program to its end, in the folder of the tests.
pub(crate) fn tidewatch<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Said {
    tidewatch_in(Path::new("."), arguments)
}

/// Runs the program to its end in a folder.
pub(crate) fn tidewatch_in<S: AsRef<std::ffi::OsStr>>(
    folder: impl AsRef<Path>,
    arguments: impl IntoIterator<Item = S>,
) -> Said {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).timeout(Duration::from_secs(30));
    let output = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A folder with a pipeline file `p.toml`; `{}` in its text is the folder.
pub(crate) fn pipeline(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("there is room for it");
    let path = folder.path().join("p.toml");
    fs::write(&path, text.replace("{}", &folder.path().display().to_string())).expect("it can be written");
    let path = path.display().to_string();
    (folder, path)
}

pub(crate) fn read(folder: &TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap_or_default()
}

/// Starts the program with pipes.
pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut process = Process::new(PROGRAM);
    process.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.spawn().expect("it runs")
}

/// Waits for the end of a process, but not longer than `limit`; returns its exit code.
pub(crate) fn end(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    loop {
        match child.try_wait().expect("it is ours") {
            Some(status) => return status.code(),
            None if start.elapsed() > limit => {
                child.kill().expect("it is ours");
                panic!("it still runs after {limit:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

pub(crate) fn interrupt(child: &Child) {
    let status =
        Process::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is kill");
    assert!(status.success());
}
