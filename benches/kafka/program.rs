//! Programs under measure.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::broker::{Broker, PATIENCE};
use super::ewma::{ALPHA, THRESHOLD, WARMUP};
use super::processes::{signal, start, Observed};

/// A program that runs, until it is dropped.
pub(crate) struct Program {
    pub(crate) observed: Observed,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self { observed: start(command) }
    }

    /// Waits until it has said something on standard error; returns all that it has said.
    pub(crate) fn await_said(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            // In this order: what it says last is heard.
            let has_ended = self.observed.child.try_wait().expect("it is ours").is_some();
            let said = self.observed.err();
            if said.contains(text) {
                return said;
            }
            let is_late = start.elapsed() > PATIENCE;
            assert!(!has_ended && !is_late, "it does not say {text:?}, but: {said}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The processor time that it has taken so far, in seconds, in all threads; also when it has ended.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.observed.child.id())).expect("this is Linux");
        // The name, in parentheses, may hold anything; user and system time are the 14th and 15th field (proc(5)), in units
        // that are hundredths of a second on all platforms.
        let fields = stat.rsplit(") ").next().expect("there are fields").split(' ').skip(11).take(2);
        fields.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
    }

    /// Has it end by itself, and waits until it has.
    pub(crate) fn stop(mut self) {
        if self.observed.child.try_wait().expect("it is ours").is_none() {
            signal(self.observed.child.id(), "TERM");
        }
        self.observed.end(PATIENCE);
    }
}

/// A job of tidewatch.
pub(crate) struct Pipeline<'a> {
    pub(crate) name: &'a str,
    pub(crate) input: &'a str,
    pub(crate) output: &'a str,
    /// How often it commits.
    pub(crate) commit: &'a str,
    /// How often it saves its state.
    pub(crate) every: &'a str,
    pub(crate) shards: u32,
    /// Whether it ends where the topic ends.
    pub(crate) ends: bool,
}

impl Pipeline<'_> {
    /// Writes the file, and a command that runs it in a release build, exactly once.
    pub(crate) fn command(&self, broker: &Broker, folder: &Path, arguments: &[&str]) -> Command {
        let Self { name, input, output, commit, every, shards, ends } = self;
        let (address, store) = (&broker.address, folder.join(format!("{name}.state")));
        let stop_at = if *ends { "end" } else { "never" };
        let text = format!(
            r#"
name = "{name}"

[checkpoint]
store = {store:?}
every = "{every}"
commit = "{commit}"

[limits]
keys = 2_000_000

[[source]]
name = "input"
connector = "kafka"
options = {{ brokers = "{address}", topics = "{input}", stop_at = "{stop_at}" }}
format = "json"
time = {{ field = "ts", unit = "us" }}
key = ["key"]
value = "value"
lateness = "0s"

[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = {ALPHA}, warmup = {WARMUP} }}
threshold = {THRESHOLD}

[[sink]]
stream = "anomalies"
connector = "kafka"
options = {{ brokers = "{address}", topic = "{output}", shards = {shards} }}
"#
        );
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, text).expect("it can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
        command.args(["run", "-v"]).arg(file).args(arguments);
        command
    }
}
