//! A disk that can be full: a small one in memory where the test may mount it, else a store that says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::folder;

/// How large it is, in MiB: the state of the tests is a fraction of that.
const SIZE: &str = "size=48m";

pub(super) struct Disk {
    folder: TempDir,
    is_mounted: bool,
}

impl Disk {
    pub(super) fn new() -> Self {
        let folder = folder();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("no disk can be mounted here: the store only says that it is full");
        }
        Self { folder, is_mounted }
    }

    /// Where it is mounted.
    pub(super) fn folder(&self) -> &TempDir {
        &self.folder
    }

    /// Where a store on it is.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// The file that takes all room.
    pub(super) fn ballast(&self) -> PathBuf {
        self.folder.path().join("full")
    }

    /// Leaves no room on it.
    pub(super) fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("it can be made");
        let block = [0; 4096];
        // Blocks first and single bytes then: nothing is left.
        while self.is_mounted && file.write_all(&block).is_ok() {}
        while self.is_mounted && file.write_all(&block[..1]).is_ok() {}
    }

    /// Gives it room again.
    pub(super) fn clear(&self) {
        fs::remove_file(self.ballast()).expect("it was full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Processes that were killed may be on their way.
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}
