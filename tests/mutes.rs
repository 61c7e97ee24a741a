//! A list of mutes that changes while a job runs: what is told depends on when, in event time, each edition of it was in force.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use tempfile::TempDir;

use crate::cluster::processes::{signal, start, until, Observed, SOON};
use crate::harness::program::{tidewatch_in, PROGRAM};

const STREAMS: [&str; 4] = ["alerts", "muted", "incidents", "verdicts"];

/// A folder with a pipeline that follows a file, and mutes by a list that mutes nobody yet.
struct Course {
    folder: TempDir,
    job: Option<Observed>,
}

impl Course {
    fn new(tables: &str) -> Self {
        let folder = TempDir::new().expect("there is room for it");
        let mut pipeline = format!(
            r#"
name = "muted"
{tables}
[[source]]
name = "hosts"
connector = "file"
options = {{ path = "hosts.csv", follow = true }}
format = "csv"
time = {{ field = "t", unit = "s" }}
key = ["host"]
value = "v"
idle = "1h"
[[detect]]
name = "high"
detector = "static"
params = {{ max = 5 }}
close_after = 3
[mutes]
path = "mutes.csv"
every = "20ms"
[alerts]
group_by = ["host"]
gap = "1s"
"#
        );
        for stream in STREAMS {
            pipeline += &format!(
                "[[sink]]\nstream = \"{stream}\"\nconnector = \"file\"\noptions = {{ path = \"own-{stream}.jsonl\" }}\n"
            );
        }
        for (name, text) in [("p.toml", pipeline.as_str()), ("hosts.csv", "t,host,v\n"), ("mutes.csv", "")] {
            fs::write(folder.path().join(name), text).expect("it can be written");
        }
        Self { folder, job: None }
    }

    fn run(&mut self, arguments: &[&str]) {
        let mut command = Command::new(PROGRAM);
        command.current_dir(&self.folder).args(["run", "p.toml", "-v"]).args(arguments);
        self.job = Some(start(&mut command));
    }

    fn job(&mut self) -> &mut Observed {
        self.job.as_mut().expect("it runs")
    }

    /// The value of each host, a second after the one before it.
    fn come(&self, from: i64, values: &[(&str, i64)]) {
        let path = self.folder.path().join("hosts.csv");
        let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
        for (at, (host, value)) in (from..).zip(values) {
            writeln!(file, "{at},{host},{value}").expect("there is room for it");
        }
    }

    /// Waits until a stream has said something.
    fn await_said(&self, stream: &str, what: &[&str]) {
        let has = |line: &str| what.iter().all(|what| line.contains(what));
        until(&format!("{stream} has {what:?}"), || self.said(stream).lines().any(has));
    }

    fn said(&self, stream: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("own-{stream}.jsonl"))).unwrap_or_default()
    }

    /// Changes the list, and waits until the job has taken it up.
    fn mute(&mut self, list: &str) {
        let job = self.job.as_ref().expect("it runs");
        let taken = || job.err().matches("reference data has a new edition").count();
        // The first one is taken up at once.
        let before = if list.is_empty() { 0 } else { taken() };
        fs::write(self.folder.path().join("mutes.csv"), list).expect("it can be written");
        until("it is taken up", || taken() > before);
    }

    /// Waits until the job stands at a time, to which nothing but a record has come.
    fn await_at(&self, time: i64) {
        self.come(time, &[("c", 1)]);
        let before = format!("\"time\":\"1970-01-01T00:00:{:02}Z\"", time - 1);
        self.await_said("verdicts", &[&before]);
    }

    /// What happens: an alert of each of two hosts; one of them is muted, and the other one from the 30th second on; then nobody
    /// is muted any more. `restart` comes between any two things.
    fn unfold(&mut self, restart: &mut dyn FnMut(&mut Self)) {
        // Taken up before the first record: from ever.
        self.mute("");
        self.come(
            0,
            &[("a", 9), ("b", 9), ("a", 1), ("b", 1), ("a", 1), ("b", 1), ("a", 1), ("b", 1), ("c", 1)],
        );
        restart(self);
        self.await_at(9);
        self.mute("host,from,reason\nb,,broken\na,1970-01-01T00:00:30Z,later\n");
        restart(self);
        self.come(20, &[("b", 9), ("a", 9), ("b", 8), ("a", 1), ("a", 1), ("a", 1), ("c", 1)]);
        self.await_said("alerts", &["\"a\"", "closed", "00:00:25"]);
        self.come(31, &[("a", 7), ("c", 1)]);
        restart(self);
        self.await_at(33);
        // What is open and was muted is told.
        self.mute("# nobody\n");
        restart(self);
        self.come(50, &[("a", 1), ("a", 1), ("a", 1), ("c", 1)]);
        self.await_said("alerts", &["\"a\"", "closed", "00:00:52"]);
        self.await_said("verdicts", &["00:00:52"]);
    }

    fn all(&self) -> Vec<String> {
        STREAMS.map(|stream| self.said(stream)).into()
    }
}

/// When what is said of an alert is said, by host, and what.
fn lines(stream: &str) -> Vec<String> {
    let line = |line: &str| {
        let said: serde_json::Value = serde_json::from_str(line).expect("it is JSON");
        let [time, host, event] = [&said["time"], &said["key"]["host"], &said["event"]];
        let text = |value: &serde_json::Value| value.as_str().expect("it is a text").to_owned();
        format!("{} {} {}", &text(time)[17..], text(host), text(event))
    };
    stream.lines().map(line).collect()
}

#[test]
fn a_list_that_changes_is_taken_up_recorded_and_replayed() {
    let mut course = Course::new("");
    course.run(&["--record", "r.tide"]);
    course.unfold(&mut |_| ());
    let pid = course.job().child.id();
    signal(pid, "INT");
    let ended = course.job().end(SOON);
    assert_eq!(Some(130), ended.code, "{}", ended.err);
    let own = course.all();
    let [alerts, muted, ..] = &own[..] else { panic!("{own:?}") };
    let alerts = lines(alerts);
    let expected = [
        "00Z a opened",
        "01Z b opened",
        "06Z a closed",
        "07Z b closed",
        "21Z a opened",
        "25Z a closed",
        // Where the job stood when the list changed.
        "33Z a opened",
        "33Z b opened",
        "52Z a closed",
    ];
    assert_eq!(expected.map(str::to_owned).to_vec(), alerts);
    assert_eq!(["20Z b opened", "31Z a opened"].map(str::to_owned).to_vec(), lines(muted));
    // What was recorded does not hang on what the list says now.
    fs::write(course.folder.path().join("mutes.csv"), "host\nc\n").expect("it can be written");
    for cluster in [&["-w", "1"][..], &["-w", "2"], &["-n", "2", "-w", "2"]] {
        let replay = ["replay", "r.tide", "p.toml", "-q", "--out", "again"];
        let said = tidewatch_in(&course.folder, [&replay, cluster].concat());
        assert_eq!((Some(0), ""), (said.code, &*said.out), "{}", said.err);
        for (stream, own) in STREAMS.iter().zip(&own) {
            let again = fs::read_to_string(course.folder.path().join(format!("again/{stream}.jsonl")));
            let again = again.expect("it is written");
            // A replay goes to the end.
            assert!(again.starts_with(own.as_str()), "{stream} at {cluster:?}:\n{own}\n{again}");
        }
        fs::remove_dir_all(course.folder.path().join("again")).expect("it is there");
    }
}

#[test]
fn a_job_that_is_killed_goes_on_with_the_editions_that_it_has_taken_up() {
    let expected = {
        let mut course = Course::new("");
        course.run(&[]);
        course.unfold(&mut |_| ());
        course.all()
    };
    let mut course = Course::new("checkpoint = { store = \"state\", every = \"50ms\", commit = \"10ms\" }");
    course.run(&["-w", "2"]);
    let mut clusters = [&["-w", "1"][..], &["-n", "2"], &["-w", "3"], &["-w", "1"]].into_iter();
    course.unfold(&mut |course| {
        course.job().kill();
        course.run(clusters.next().expect("there are as many"));
    });
    for (stream, (expected, found)) in STREAMS.iter().zip(expected.iter().zip(course.all())) {
        // How far either was when it was looked at hangs on the clock.
        let (short, long) =
            if expected.len() < found.len() { (expected, &found) } else { (&found, expected) };
        assert!(long.starts_with(short.as_str()), "{stream}:\n{expected}\n{found}");
    }
}
