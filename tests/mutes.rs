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

    /// Writes a file at once.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(path.with_extension("new"), text).expect("it can be written");
        fs::rename(path.with_extension("new"), path).expect("it can be moved");
    }

    /// Changes the pipeline.
    fn change(&self, change: impl Fn(&str) -> String) {
        let text = fs::read_to_string(self.folder.path().join("p.toml")).expect("it is there");
        self.write("p.toml", &change(&text));
    }

    /// Stops the job where another pipeline can go on.
    fn stop(&mut self) {
        let said = tidewatch_in(&self.folder, ["savepoint", "p.toml", "--stop"]);
        assert_eq!(Some(0), said.code, "{}", said.err);
        self.job().end(SOON);
    }

    /// Changes the list, and waits until the job has taken it up.
    fn mute(&mut self, list: &str) {
        let job = self.job.as_ref().expect("it runs");
        let taken = || job.err().matches("reference data has a new edition").count();
        // The first one is taken up at once.
        let before = if list.is_empty() { 0 } else { taken() };
        self.write("mutes.csv", list);
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
        self.await_said("muted", &["00:00:31"]);
        self.await_said("incidents", &["\"a\"", "opened", "00:00:33"]);
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

const CHECKPOINT: &str = "checkpoint = { store = \"state\", every = \"50ms\", commit = \"10ms\" }";

#[test]
fn a_list_that_changes_is_taken_up_recorded_and_replayed() {
    ["", CHECKPOINT].into_iter().for_each(is_recorded);
}

fn is_recorded(tables: &str) {
    let mut course = Course::new(tables);
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
    course.write("mutes.csv", "host\nc\n");
    for cluster in [&["-w", "1"][..], &["-w", "2"], &["-n", "2", "-w", "2"]] {
        let replay = ["replay", "r.tide", "p.toml", "-q", "--out", "again"];
        let said = tidewatch_in(&course.folder, [&replay, cluster].concat());
        assert_eq!((Some(0), ""), (said.code, &*said.out), "{}", said.err);
        for (stream, own) in STREAMS.iter().zip(&own) {
            assert!(!own.is_empty(), "{stream} says something");
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
    let mut course = Course::new(CHECKPOINT);
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
    assert_eq!(2, course.said("muted").lines().count());
}

#[test]
fn what_a_damaged_recording_lacks_is_not_taken_from_the_list() {
    let mut course = Course::new("");
    course.write("mutes.csv", "host\na\n");
    course.run(&["--record", "r.tide"]);
    course.come(0, &[("a", 9), ("a", 1), ("c", 1)]);
    course.await_said("muted", &["opened"]);
    signal(course.job().child.id(), "INT");
    course.job().end(SOON);
    let path = course.folder.path().join("r.tide");
    let mut bytes = fs::read(&path).expect("it is there");
    let at = bytes.windows(6).position(|bytes| bytes == b"host\na").expect("it has the list");
    bytes[at + 5] = b'b';
    fs::write(path, bytes).expect("it can be written");
    let replay = ["replay", "r.tide", "p.toml", "-q", "--stream", "muted"];
    let said = tidewatch_in(&course.folder, replay);
    assert_eq!((Some(1), ""), (said.code, &*said.out), "{}", said.err);
    assert!(
        said.err.contains("r.tide: damaged at byte") && said.err.contains("@reference/mutes"),
        "{}",
        said.err
    );
}

#[test]
fn a_replay_takes_a_list_as_it_is_at_its_start_if_none_was_recorded() {
    let course = Course::new("");
    course.come(0, &[("a", 9), ("a", 1), ("b", 9), ("c", 1)]);
    course.change(|text| text.replace(", follow = true", "").replace("idle = \"1h\"", ""));
    let said = tidewatch_in(&course.folder, ["record", "p.toml", "--out", "r.tide"]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    assert!(said.err.contains("4 records of 1 partition recorded"), "{}", said.err);
    course.write("mutes.csv", "host\na\n");
    let mut command = Command::new(PROGRAM);
    let replay = ["replay", "r.tide", "p.toml", "-v", "--speed", "3", "--out", "again"];
    let mut replay = start(command.current_dir(&course.folder).args(replay));
    let again = course.folder.path().join("again");
    until("it writes", || again.exists());
    course.write("mutes.csv", "host\nb\n");
    assert_eq!(Some(0), replay.end(SOON).code);
    let again = fs::read_to_string(course.folder.path().join("again/muted.jsonl")).expect("it is written");
    assert_eq!(["00Z a opened", "03Z a closed"].map(str::to_owned).to_vec(), lines(&again));
}

#[test]
fn a_pipeline_that_has_no_list_any_more_tells_what_was_muted() {
    let mut course = Course::new(CHECKPOINT);
    course.write("mutes.csv", "host\na\n");
    course.run(&[]);
    course.come(0, &[("a", 9), ("a", 1), ("c", 1), ("c", 1)]);
    course.await_said("muted", &["opened"]);
    course.stop();
    course.change(|text| {
        let text = text.replace("[mutes]\npath = \"mutes.csv\"\nevery = \"20ms\"\n", "");
        let (before, after) = text.split_once("[[sink]]\nstream = \"muted\"").expect("it has one");
        format!("{before}{}", after.split_once("jsonl\" }\n").expect("it ends").1)
    });
    course.run(&["-w", "2"]);
    course.come(10, &[("c", 1), ("a", 1), ("a", 1), ("c", 1)]);
    course.await_said("alerts", &["\"a\"", "closed"]);
    // At the savepoint.
    assert_eq!(["03Z a opened", "12Z a closed"].map(str::to_owned).to_vec(), lines(&course.said("alerts")));
}

#[test]
fn a_list_and_what_it_keeps_back_can_be_added_at_a_savepoint() {
    let mut course = Course::new(CHECKPOINT);
    let with_mutes = fs::read_to_string(course.folder.path().join("p.toml")).expect("it is there");
    let table = "[mutes]\npath = \"mutes.csv\"\nevery = \"20ms\"\n";
    let (before, after) = with_mutes.split_once("[[sink]]\nstream = \"muted\"").expect("it has one");
    let (sink, after) = after.split_once("jsonl\" }\n").expect("it ends");
    let without = format!("{before}{after}").replace(table, "");
    let with = format!("{without}[[sink]]\nstream = \"muted\"{sink}jsonl\" }}\n{table}");
    course.write("p.toml", &without);
    course.run(&[]);
    course.come(0, &[("a", 9), ("a", 1), ("a", 1), ("a", 1), ("c", 1)]);
    course.await_said("alerts", &["\"a\"", "closed"]);
    course.stop();
    course.write("p.toml", &with);
    course.write("mutes.csv", "host\na\n");
    course.run(&["-n", "2"]);
    course.job().await_err("reference data has a new edition");
    course.job().kill();
    // What was new has begun.
    course.run(&["-w", "3"]);
    course.come(10, &[("a", 9), ("b", 9), ("c", 1)]);
    course.await_said("muted", &["\"a\"", "opened", "00:00:10"]);
    course.await_said("alerts", &["\"b\"", "opened"]);
    assert_eq!(2, course.said("alerts").matches("\"a\"").count(), "{}", course.said("alerts"));
}

#[test]
fn editions_that_make_no_sense_any_more_do_not_end_those_that_do() {
    let mut course = Course::new(CHECKPOINT);
    course.run(&[]);
    course.mute("");
    course.come(0, &[("a", 1), ("b", 1), ("c", 1)]);
    course.await_said("verdicts", &["00:00:01"]);
    for host in ["x", "y", "z"] {
        course.mute(&format!("host,detector\n{host},high\n"));
    }
    course.stop();
    course.change(|text| text.replace("name = \"high\"", "name = \"tall\""));
    course.write("mutes.csv", "host,detector\nb,tall\n");
    course.run(&["-w", "2"]);
    course.job().await_err("reference data has a new edition");
    course.come(10, &[("a", 9), ("b", 9), ("c", 1)]);
    course.await_said("muted", &["\"b\"", "opened"]);
    course.job().kill();
    course.run(&["-w", "3"]);
    course.come(20, &[("c", 1), ("b", 8), ("b", 1), ("b", 1), ("b", 1), ("c", 1)]);
    course.await_said("muted", &["\"b\"", "closed"]);
    assert!(!course.job().err().contains("a new edition"), "{}", course.job().err());
    assert!(!course.said("alerts").contains("\"b\""), "{}", course.said("alerts"));
}

#[test]
fn a_list_that_is_wrong_is_refused_with_its_place() {
    let course = Course::new("");
    course.write("mutes.csv", "host,from\na,soon\n");
    let wrong = "mutes.csv:2:2: \"from\" is not a time in RFC 3339: \"soon\"";
    for arguments in [&["check", "p.toml"][..], &["run", "p.toml", "-q"], &["run", "p.toml", "-q", "-n", "2"]]
    {
        let said = tidewatch_in(&course.folder, arguments);
        assert!(said.code == Some(2) && said.err.contains(wrong), "{arguments:?}: {said:?}");
    }
    fs::remove_file(course.folder.path().join("mutes.csv")).expect("it is there");
    for arguments in [&["check", "p.toml"][..], &["run", "p.toml", "-q"]] {
        let said = tidewatch_in(&course.folder, arguments);
        let is_missing = said.err.contains("the list of mutes mutes.csv: No such file");
        assert!(said.code == Some(2) && is_missing, "{arguments:?}: {said:?}");
    }
    // Nobody hears of alerts there.
    let labels = course.folder.path().join("labels.csv");
    fs::write(labels, "key,start,end\na,1970-01-01T00:00:00Z,1970-01-01T00:00:01Z\n")
        .expect("it can be written");
    course.change(|text| text.replace(", follow = true", "").replace("idle = \"1h\"", ""));
    course.come(0, &[("a", 9), ("a", 1), ("c", 1)]);
    let said = tidewatch_in(&course.folder, ["evaluate", "p.toml", "--labels", "labels.csv"]);
    assert_eq!(Some(0), said.code, "{}", said.err);
}
