//! Real processes, and what they say.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take that takes no time on a machine without other work.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A process under observation; killed, with those that it supervises, when nobody looks any more.
pub(crate) struct Observed {
    pub(crate) child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

fn collect(mut from: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut block) {
            shared.lock().expect("nobody panics").push_str(&String::from_utf8_lossy(&block[..read]));
        }
    });
    (text, reader)
}

pub(crate) fn start(command: &mut Command) -> Observed {
    command.env_remove("TIDEWATCH_SECRET").env("RUST_BACKTRACE", "0");
    start_as_it_is(command)
}

pub(crate) fn start_as_it_is(command: &mut Command) -> Observed {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let (out, first) = collect(child.stdout.take().expect("it is piped"));
    let (err, second) = collect(child.stderr.take().expect("it is piped"));
    Observed { child, out, err, readers: vec![first, second] }
}

impl Observed {
    /// Waits until it ends, but not longer than `limit`.
    pub(crate) fn end(&mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is ours") {
                Some(status) => break status,
                None if start.elapsed() > limit => {
                    let said = self.err();
                    self.kill();
                    panic!("it still runs after {limit:?}, and said: {said}");
                }
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        // Its pipes stay open as long as any process that it has started: none may be left.
        while self.readers.iter().any(|reader| !reader.is_finished()) {
            if start.elapsed() > limit + Duration::from_secs(1) {
                self.kill();
                panic!("it left processes that still run after {limit:?}, and said: {}", self.err());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let out = self.out.lock().expect("nobody panics").clone();
        Ended { code: status.code(), out, err: self.err() }
    }

    pub(crate) fn err(&self) -> String {
        self.err.lock().expect("nobody panics").clone()
    }

    pub(crate) fn await_err(&self, text: &str) {
        until(&format!("it says {text:?}"), || self.err().contains(text));
    }

    pub(crate) fn await_out(&self, text: &str) {
        until(&format!("it writes {text:?}"), || self.out.lock().expect("nobody panics").contains(text));
    }

    /// The processes that it supervises, once there are `count`, by their numbers.
    pub(crate) fn members(&self, count: usize) -> Vec<Supervised> {
        let mut members = Vec::new();
        until("all processes run", || {
            members = supervised_by(self.child.id());
            members.len() == count
        });
        members
    }

    /// Ends it and what it supervises, at once.
    pub(crate) fn kill(&mut self) {
        for member in supervised_by(self.child.id()) {
            // It may be gone by now.
            let _ = Command::new("kill").args(["-KILL", &member.pid.to_string()]).status();
        }
        self.child.kill().expect("it is ours");
        let _ = self.child.wait();
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill();
        }
    }
}

/// A process with a supervisor.
#[derive(Debug)]
pub(crate) struct Supervised {
    pub(crate) index: usize,
    pub(crate) address: String,
    pub(crate) pid: u32,
}

impl Supervised {
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    pub(crate) fn runs(&self) -> bool {
        // One that has ended and has not been waited for is a zombie.
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.expect("there is kill").success());
}

/// The processes whose environment says that `supervisor` has started them.
pub(crate) fn supervised_by(supervisor: u32) -> Vec<Supervised> {
    let place = |entry: std::io::Result<fs::DirEntry>| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let place = environment.split('\0').find_map(|variable| variable.strip_prefix("TIDEWATCH_PLACE="))?;
        let words: Vec<&str> = place.split(' ').collect();
        let index: usize = words[0].parse().ok()?;
        let address = words[4].split(',').nth(index)?.to_owned();
        (words[2] == supervisor.to_string()).then_some(Supervised { index, address, pid })
    };
    let mut found: Vec<_> = fs::read_dir("/proc").expect("this is Linux").filter_map(place).collect();
    found.sort_by_key(|member| member.index);
    found
}

/// Waits for something that happens soon.
pub(crate) fn until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < SOON, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A hostfile of this machine, with ports that nobody takes by chance.
pub(crate) fn hostfile(processes: usize) -> (TempDir, String, Vec<String>) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut addresses = Vec::new();
    while addresses.len() < processes {
        // Below the ports that the kernel gives to connections.
        let port =
            20_000 + (std::process::id() as u16 % 120) * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        let address = format!("127.0.0.1:{port}");
        if TcpListener::bind(&address).is_ok() {
            addresses.push(address);
        }
    }
    let folder = tempfile::tempdir().expect("there is room for it");
    let path = folder.path().join("hosts");
    fs::write(&path, addresses.join("\n")).expect("it can be written");
    let path = path.display().to_string();
    (folder, path, addresses)
}
