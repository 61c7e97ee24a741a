//! Memory has a bound whatever is slow, and waiting costs nothing; measured in real processes.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::cluster::processes::{supervised_by, until};
use crate::examples::example;
use crate::harness::program::PROGRAM;

/// The greatest memory that a process has had, in MiB.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number") / 1024
}

/// How long a process has computed, in hundredths of a second.
fn computed(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("its name ends").split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("it is a number")).sum()
}

/// A run and the processes that it supervises.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        command
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self(command.spawn().expect("it starts"))
    }

    fn pids(&self) -> Vec<u32> {
        let supervised = supervised_by(self.0.id()).into_iter().map(|member| member.pid);
        supervised.chain([self.0.id()]).collect()
    }

    fn peak(&self) -> u64 {
        self.pids().into_iter().map(peak).max().unwrap_or(0)
    }

    fn computed(&self) -> u64 {
        self.pids().into_iter().map(computed).sum()
    }

    /// Waits until it computes no more, and says how much memory it has taken.
    fn settle(&self) -> u64 {
        until("it has begun", || self.computed() > 0);
        let mut before = 0;
        until("it waits", || {
            let last = std::mem::replace(&mut before, self.computed());
            thread::sleep(Duration::from_millis(300));
            self.computed() - last < 3
        });
        self.peak()
    }

    fn error(mut self) -> (Option<i32>, String) {
        drop(self.0.stdin.take());
        let mut error = String::new();
        self.0.stderr.take().expect("it is piped").read_to_string(&mut error).expect("it is text");
        (self.0.wait().expect("it is ours").code(), error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in self.pids() {
            // It may have ended.
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.0.wait();
    }
}

const GENERATED: &str = r#"
[[source]]
name = "generated"
connector = "generator"

[source.options]
records = 2_000_000
anomalies = 0
partitions = 4
"#;

/// A run of a pipeline with these tables, whose verdicts go to `stream`'s sink.
fn run(tables: &str, stream: &str, sink: &str, arguments: &[&str]) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().expect("there is room");
    let path = folder.path().join("p.toml");
    let text = format!(
        "name = \"p\"\n{tables}\n[[detect]]\nname = \"far\"\ndetector = \"ewma-z\"\nparams = {{ alpha = 0.1 }}\n\
         threshold = 1000\n[[sink]]\nstream = \"{stream}\"\nconnector = \"{sink}\"\n"
    );
    fs::write(&path, text).expect("it can be written");
    let path = path.display().to_string();
    let running = Running::start(Command::new(PROGRAM).args(["run", &path, "-q"]).args(arguments));
    (folder, running)
}

const CLUSTERS: [&[&str]; 3] = [&["-w", "1"], &["-w", "2"], &["-n", "2"]];

#[test]
fn a_sink_that_does_not_take_what_it_is_given_stops_the_sources() {
    // What is held is verdicts: at each worker as many as may be under way (`flow/pressure.rs`) and those of the activation that
    // came to it, some 200 thousand, of 200 bytes where they wait for the frontier: 40 MiB. With the program, and what is
    // encoded, 70 if one worker emits everything, as it does of one key; with many keys two workers share the work.
    for (cluster, keys) in CLUSTERS.iter().flat_map(|cluster| [(cluster, 1), (cluster, 1000)]) {
        let tables = format!("[limits]\nahead = \"8MiB\"\n{GENERATED}keys = {keys}\nrate = 1e5\n");
        let (_folder, running) = run(&tables, "verdicts", "stdout", cluster);
        let peak = running.settle();
        assert!(peak < 100, "{peak} MiB with {keys} keys on {cluster:?}: the verdicts would take 240");
    }
}

#[test]
fn a_partition_that_stands_still_stops_the_others() {
    let stdin = "[[source]]\nname = \"standing\"\nconnector = \"stdio\"\nformat = \"json\"\n\
                 time = { field = \"time\", unit = \"s\" }\nkey = \"key\"\nvalues = \"value\"\n";
    for cluster in CLUSTERS {
        let tables = format!("[limits]\nahead = \"8MiB\"\n{stdin}{GENERATED}keys = 10\nrate = 1e5\n");
        let (_folder, running) = run(&tables, "anomalies", "blackhole", cluster);
        let peak = running.settle();
        assert!(peak < 46, "{peak} MiB on {cluster:?}: the records would take 48");
        assert_eq!((Some(0), ""), (running.error().0, ""), "it goes on when the partition ends");
    }
}

#[test]
fn malformed_records_of_one_watermark_are_held_or_end_the_run() {
    let stdin =
        "[[source]]\nname = \"lines\"\nconnector = \"stdio\"\nformat = { kind = \"csv\", header = false }\n\
                 time = { field = \"1\", unit = \"s\" }\nkey = \"2\"\nvalues = \"3\"\n";
    let tables = format!("[limits]\nahead = \"16MiB\"\n{stdin}");
    for cluster in CLUSTERS {
        let (_folder, mut running) = run(&tables, "dead_letters", "blackhole", cluster);
        let mut input = running.0.stdin.take().expect("it is piped");
        let line = ["no record ".repeat(20), "\n".to_owned()].concat();
        // It stops reading when it ends.
        while std::io::Write::write_all(&mut input, line.as_bytes()).is_ok() {}
        let (code, error) = running.error();
        assert_eq!(Some(1), code, "{error}");
        assert!(error.contains("source \"lines\": partition \"stdin\" holds event time back at"), "{error}");
    }
}

#[test]
fn a_worker_that_is_slow_stops_the_sources() {
    for cluster in [&["-w", "2"][..], &["-n", "2"]] {
        let running = Running::start(example("slow_worker").args(cluster));
        // It goes on, but not ahead: what it needs grows no more.
        let mut before = 0;
        until("its memory has a bound", || {
            let last = std::mem::replace(&mut before, running.peak());
            thread::sleep(Duration::from_secs(2));
            last > 0 && running.peak() <= last + 1
        });
        assert!(running.peak() < 60, "{} MiB on {cluster:?}", running.peak());
    }
}

#[test]
fn records_of_one_time_are_held_or_end_the_run_with_the_partition_and_the_setting() {
    let tables = |ahead| format!("[limits]\nahead = \"{ahead}\"\n{GENERATED}keys = 1000\nrate = 1e15\n");
    let (_folder, mut running) = run(&tables("128MiB"), "anomalies", "blackhole", &["-w", "2"]);
    let mut peak = 0;
    while running.0.try_wait().expect("it is ours").is_none() {
        peak = peak.max(running.peak());
        thread::sleep(Duration::from_millis(20));
    }
    assert!((50..150).contains(&peak), "{peak} MiB: 2 million records of 24 bytes take 46, and room to grow");
    assert_eq!(Some(0), running.error().0);
    for cluster in CLUSTERS {
        let (_folder, running) = run(&tables("16MiB"), "anomalies", "blackhole", cluster);
        let (code, error) = running.error();
        assert_eq!(Some(1), code, "{error}");
        assert!(error.contains("source \"generated\": partition \""), "{error}");
        assert!(error.contains("holds event time back at 2024-01-01T00:00:00Z"), "{error}");
        assert!(error.contains("raise `ahead` in [limits]"), "{error}");
    }
}

#[test]
fn an_idle_cluster_computes_next_to_nothing() {
    let stdin =
        "[[source]]\nname = \"silent\"\nconnector = \"stdio\"\nformat = { kind = \"csv\", header = false }\n\
                 time = { field = \"1\", unit = \"s\" }\nkey = \"2\"\nvalues = \"3\"\nidle = \"1s\"\n";
    for cluster in [&["-w", "2"][..], &["-n", "2", "-w", "2"]] {
        let (_folder, running) = run(stdin, "anomalies", "stdout", cluster);
        thread::sleep(Duration::from_secs(2));
        let before = running.computed();
        thread::sleep(Duration::from_secs(5));
        let computed = running.computed() - before;
        assert!(running.pids().into_iter().all(|pid| peak(pid) > 0), "it runs on {cluster:?}");
        assert!(
            computed <= 5,
            "{computed} hundredths of a second within 5 s on {cluster:?}, all processes together"
        );
    }
}
