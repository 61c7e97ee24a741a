//! Clusters of several processes: they give what one gives, keep out who does not belong to them, and end together.

mod joining;
mod poison;
pub(crate) mod processes;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewatch::cluster::{self, Outcome};
use tidewatch::connectors::memory::Memory;
use tidewatch::connectors::store::Epoch;
use tidewatch::connectors::{Control, Error as ConnectorError};
use tidewatch::prelude::*;

use crate::cli::{GENERATED, STDIN};
use crate::examples::example;
use crate::harness::on_cluster;
use crate::harness::program::{pipeline, read, PROGRAM};
use processes::{hostfile, signal, start, start_as_it_is, until, Ended, Observed, SOON};

/// The law: any death ends all within this time.
const LIMIT: Duration = Duration::from_secs(5);

fn tidewatch(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Ended {
    start(&mut tidewatch(arguments)).end(SOON)
}

/// What a summary in JSON counts, without what depends on the clock.
fn counts(ended: &Ended) -> Value {
    assert_eq!(Some(0), ended.code, "{ended:?}");
    assert_eq!(1, ended.out.lines().count(), "one summary: {ended:?}");
    let mut summary: Value = serde_json::from_str(&ended.out).expect("it is JSON");
    for name in ["elapsed_seconds", "records_per_second"] {
        summary[name].take();
    }
    summary
}

#[test]
fn files_and_summary_are_the_same_on_any_cluster() {
    let (folder, generated) = pipeline(&GENERATED.replace("{}/out.jsonl", "${OUT}"));
    let examples = ["windows", "several_values", "late_and_malformed", "local_times", "json_nested"];
    let examples = examples.map(|name| format!("examples/{name}.toml"));
    for path in examples.iter().chain([&generated]) {
        let result = |arguments: &[&str]| {
            let out = folder.path().join("out");
            let arguments = [&["run", path.as_str(), "--json"], arguments].concat();
            let ended = start(tidewatch(&arguments).env("OUT", &out)).end(SOON);
            (counts(&ended), fs::read(&out).expect("it has written"))
        };
        let expected = result(&["-w", "1"]);
        assert!(!expected.1.is_empty(), "{path}");
        for cluster in [&["-w", "4"][..], &["-n", "2"], &["-n", "2", "-w", "2"], &["-n", "3"]] {
            assert_eq!(expected, result(cluster), "{path} {cluster:?}");
        }
    }
}

#[test]
fn a_program_of_ones_own_runs_on_any_cluster() {
    let result = |arguments: &[&str]| start(example("custom_operator").args(arguments)).end(SOON);
    let expected = result(&[]);
    assert!(expected.code == Some(0) && !expected.out.is_empty(), "{expected:?}");
    for cluster in [&["-n", "2"][..], &["-n", "2", "-w", "2"]] {
        let ended = result(cluster);
        assert_eq!((Some(0), &expected.out, ""), (ended.code, &ended.out, ended.err.as_str()), "{cluster:?}");
    }
}

#[test]
fn standard_input_is_that_of_the_first_process() {
    let (_folder, path) = pipeline(STDIN);
    let result = |arguments: &[&str]| {
        let mut observed = start(&mut tidewatch(&[&["run", &path, "-q"], arguments].concat()));
        let mut input = observed.child.stdin.take().expect("it is piped");
        let lines: String = (0..3_000).map(|at| format!("{at},k{},1\n", at % 7)).collect();
        input.write_all(lines.as_bytes()).expect("it reads");
        drop(input);
        let ended = observed.end(SOON);
        assert_eq!((Some(0), 3_000), (ended.code, ended.out.lines().count()), "{}", ended.err);
        ended.out
    };
    let expected = result(&[]);
    for cluster in [&["-n", "2"][..], &["-n", "2", "-w", "2"], &["-n", "3"]] {
        assert!(expected == result(cluster), "{cluster:?}");
    }
}

/// A cluster whose input never ends, with its sink's file, once it has written 99 lines.
fn endless(arguments: &[&str]) -> (tempfile::TempDir, Observed) {
    let sink =
        "[[sink]]\nstream = \"anomalies\"\nconnector = \"file\"\noptions = { path = \"{}/out.jsonl\" }\n";
    let (folder, path) = pipeline(&[STDIN, sink].concat());
    let mut observed = start(&mut tidewatch(&[&["run", &path, "--json"], arguments].concat()));
    let input = observed.child.stdin.as_mut().expect("it is piped");
    for at in 0..100 {
        writeln!(input, "{at},k{},1", at % 7).expect("it reads");
    }
    input.flush().expect("it reads");
    // The last record is at the watermark, so it is not final.
    until("99 are final", || read(&folder, "out.jsonl").lines().count() == 99);
    (folder, observed)
}

#[test]
fn an_interruption_anywhere_interrupts_all_and_finalises_nothing() {
    for (name, of_member, processes) in
        [("INT", None, 2), ("TERM", None, 2), ("INT", Some(1), 3), ("TERM", Some(0), 2)]
    {
        let (folder, mut observed) = endless(&["-n", &processes.to_string()]);
        match of_member {
            None => signal(observed.child.id(), name),
            Some(index) => observed.members(processes)[index].signal(name),
        }
        let ended = observed.end(Duration::from_secs(3));
        assert_eq!((Some(130), ""), (ended.code, ended.err.as_str()), "{name} {of_member:?}");
        assert_eq!(99, read(&folder, "out.jsonl").lines().count());
        let summary: Value = serde_json::from_str(&ended.out).expect("it is one JSON object");
        assert_eq!((Some(100), Some(99)), (summary["records"].as_u64(), summary["scored"].as_u64()));
        assert_eq!(Value::Bool(true), summary["interrupted"]);
    }
}

#[test]
fn ctrl_c_of_a_terminal_reaches_all_and_interrupts_once() {
    let (folder, mut observed) = endless(&["-n", "2"]);
    for member in observed.members(2) {
        member.signal("INT");
    }
    signal(observed.child.id(), "INT");
    let ended = observed.end(Duration::from_secs(3));
    assert_eq!((Some(130), ""), (ended.code, ended.err.as_str()));
    assert_eq!(99, read(&folder, "out.jsonl").lines().count());
}

#[test]
fn a_second_interrupt_ends_a_cluster_that_cannot_end() {
    let (_folder, mut observed) = endless(&["-n", "2"]);
    // It can end nothing as long as it is stopped.
    let members = observed.members(2);
    members[1].signal("STOP");
    signal(observed.child.id(), "INT");
    thread::sleep(Duration::from_millis(300));
    assert!(members.iter().all(|member| member.runs()));
    signal(observed.child.id(), "INT");
    assert_eq!(Some(130), observed.end(Duration::from_secs(1)).code);
}

#[test]
fn the_death_of_a_supervised_process_ends_all_and_is_named() {
    for (processes, dead, name) in
        [(2, 1, "KILL"), (2, 0, "KILL"), (3, 1, "USR1"), (2, 1, "STOP"), (3, 0, "STOP")]
    {
        let (_folder, mut observed) = endless(&["-n", &processes.to_string()]);
        let members = observed.members(processes);
        members[dead].signal(name);
        let ended = observed.end(LIMIT);
        assert!(members.iter().all(|member| !member.runs()));
        let who = format!("process {dead} ({})", members[dead].address);
        let said = match name {
            "KILL" => format!("{who} was ended by signal 9 (SIGKILL)\n"),
            // Not HUP, which whoever is started by nohup ignores.
            "USR1" => format!("{who} was ended by signal 10 (SIGUSR1)\n"),
            _ => format!("{who} is lost: it has been silent for 3.5 s\n"),
        };
        assert_eq!((Some(1), said.as_str(), ""), (ended.code, ended.err.as_str(), ended.out.as_str()));
    }
}

#[test]
fn the_death_of_the_supervisor_ends_all() {
    let (_folder, mut observed) = endless(&["-n", "2"]);
    let members = observed.members(2);
    signal(observed.child.id(), "KILL");
    let ended = observed.end(LIMIT);
    assert_eq!("the process that supervises this one is gone\n", ended.err);
    assert!(members.iter().all(|member| !member.runs()));
}

/// Two processes of the test's own program, started by hand.
fn by_hand(addresses: &str, variables: &[(&str, &str)], workers: &str) -> [Observed; 2] {
    ["0", "1"].map(|process| {
        let mut command = example("cluster_member");
        command.args(["-n", "2", "-w", workers, "-p", process, "-h", addresses]);
        start(command.envs(variables.iter().copied()))
    })
}

#[test]
fn death_and_silence_of_a_process_end_the_others_and_name_it() {
    for (dead, name) in [(1, "KILL"), (0, "KILL"), (1, "STOP")] {
        let (_folder, hosts, addresses) = hostfile(2);
        let mut processes = by_hand(&hosts, &[], "1");
        processes[0].await_out("ewma-z");
        signal(processes[dead].child.id(), name);
        let ended = processes[1 - dead].end(LIMIT);
        let how = match name {
            "KILL" => "it closed its connection before the end of the run",
            _ => "it has been silent for 3.5 s",
        };
        let said = format!("process {dead} ({}) is lost: {how}\n", addresses[dead]);
        assert_eq!((Some(1), said), (ended.code, ended.err), "{name}");
    }
}

#[test]
fn a_panic_ends_all_and_is_named() {
    let mut observed = start(example("cluster_member").args(["-n", "2", "-w", "2"]).env("PANIC", "3"));
    let address = observed.members(2)[1].address.clone();
    let ended = observed.end(LIMIT);
    assert!(ended.err.contains("asked to panic"), "{}", ended.err);
    let said = format!("process 1 ({address}) was ended by signal 6 (SIGABRT)\n");
    assert!(ended.code == Some(1) && ended.err.ends_with(&said), "{}", ended.err);
    assert!(!ended.err.contains("timely communication error"), "{}", ended.err);

    let (_folder, hosts, addresses) = hostfile(2);
    let [mut first, mut second] = by_hand(&hosts, &[("PANIC", "1")], "1");
    let (first, second) = (first.end(SOON), second.end(SOON));
    let name = format!("process 1 ({})", addresses[1]);
    assert_eq!(format!("{name} is lost: it closed its connection before the end of the run\n"), first.err);
    assert!(
        second.err.ends_with(&format!("{name} has panicked, which ends the cluster\n")),
        "{}",
        second.err
    );
    assert!(first.code == Some(1) && second.code != Some(0));
    // A program with several workers in one process would otherwise wait for ever.
    let alone = start(example("cluster_member").args(["-w", "2"]).env("PANIC", "1")).end(LIMIT);
    assert!(alone.code != Some(0) && alone.err.contains("asked to panic"), "{alone:?}");
}

#[test]
fn an_error_in_one_process_ends_all_and_is_said_once() {
    // A link that leads nowhere: a file that is there but cannot be opened, even by root. Its last number has worker 1 read it.
    let input = "\"file\"\noptions = { path = \"{}/*.csv\" }";
    let (folder, path) = pipeline(&STDIN.replace("\"stdio\"", input));
    let link = folder.path().join("link1.csv");
    for number in 0..4 {
        let link = folder.path().join(format!("link{number}.csv"));
        match number {
            1 => std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).expect("it can be made"),
            _ => fs::write(link, "1,k,1\n").expect("it can be written"),
        }
    }
    for cluster in [&["-n", "2"][..], &["-n", "2", "-w", "2"], &["-n", "4"]] {
        let ended = run(&[&["run", &path], cluster].concat());
        assert_eq!((Some(1), 1), (ended.code, ended.err.lines().count()), "{ended:?}");
        assert!(ended.err.starts_with(&link.display().to_string()), "{ended:?}");
    }

    // Every process has this one.
    fs::remove_file(&link).expect("it is there");
    for number in [0, 2, 3] {
        fs::remove_file(folder.path().join(format!("link{number}.csv"))).expect("it is there");
    }
    let ended = run(&["run", &path, "-n", "3"]);
    assert_eq!((Some(2), 1), (ended.code, ended.err.lines().count()), "{ended:?}");

    let failing = start(example("cluster_member").args(["-n", "2"]).env("FAIL", "1")).end(SOON);
    assert_eq!((Some(1), "Error: Usage(\"asked to fail\")\n"), (failing.code, failing.err.as_str()));
    let (_folder, hosts, addresses) = hostfile(2);
    let [mut first, mut second] = by_hand(&hosts, &[("FAIL", "1")], "1");
    let (first, second) = (first.end(SOON), second.end(SOON));
    assert_eq!("Error: Usage(\"asked to fail\")\n", second.err);
    assert!(first.err.contains("asked to fail") && first.err.contains(&addresses[1]), "{}", first.err);
    assert_eq!((Some(1), Some(1)), (first.code, second.code));
}

#[test]
fn a_reader_that_goes_early_is_no_error_for_any_process() {
    let (_folder, path) = pipeline(STDIN);
    let mut child = tidewatch(&["run", &path, "-q", "-n", "2"]);
    child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    drop(child.stdout.take());
    let mut input = child.stdin.take().expect("it is piped");
    let lines: String = (0..20_000).map(|at| format!("{at},k,1\n")).collect();
    // It may end before it has read all.
    let _ = input.write_all(lines.as_bytes());
    drop(input);
    let output = child.wait_with_output().expect("it is ours");
    assert_eq!((Some(0), ""), (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()));
}

#[test]
fn a_source_that_cannot_be_opened_anywhere_leaves_every_sink_as_it_was() {
    let file = STDIN.replace("\"stdio\"", "\"file\"\noptions = { path = \"{}/in/*\" }");
    let sink =
        "[[sink]]\nstream = \"anomalies\"\nconnector = \"file\"\noptions = { path = \"{}/out.jsonl\" }\n";
    let (folder, path) = pipeline(&[&file, sink].concat());
    let input = folder.path().join("in");
    fs::create_dir(&input).expect("it is new");
    fs::write(input.join("0"), "1,k,1\n").expect("it can be written");
    // The second partition is read by the second process. It is no file.
    let made = Command::new("mkfifo").arg(input.join("1")).status().expect("there is mkfifo");
    assert!(made.success());
    fs::write(folder.path().join("out.jsonl"), "earlier results").expect("it can be written");
    // Which process comes first differs from time to time.
    for cluster in [&[][..], &["-n", "2"], &["-n", "2", "-w", "2"]].repeat(10) {
        let ended = run(&[&["run", &path, "-q"], cluster].concat());
        assert_eq!(Some(2), ended.code, "{cluster:?}: {ended:?}");
        assert!(ended.err.contains("is not a regular file"), "{cluster:?}: {ended:?}");
        assert_eq!("earlier results", read(&folder, "out.jsonl"), "{cluster:?}");
    }
}

/// Whether a supervisor starts them again depends on it, and what a user is told of an interruption.
#[test]
fn all_end_with_the_exit_code_of_the_one_that_cannot_begin() {
    let errors: [(fn() -> Error, i32); 4] = [
        (|| Error::Interrupted, 130),
        (|| Error::Usage("asked to fail".to_owned()), 2),
        (|| Error::Connector(ConnectorError::Fenced { epoch: Epoch(7) }), 4),
        (|| Error::Io { what: "it".to_owned(), source: ErrorKind::StorageFull.into() }, 1),
    ];
    for (error, code) in errors {
        let codes = Mutex::new(BTreeMap::new());
        let ended = on_cluster(2, 1, |cluster| {
            let index = cluster.index();
            let endless = Memory::new([("p", Vec::new())]).live();
            let ended = cluster::run(cluster, &Control::default(), move |worker| {
                if worker.index() == 1 {
                    return Err(error());
                }
                worker.dataflow::<EventTime, _, _>(|scope| {
                    drop(Input::of_rows(endless.clone(), Schema::new(["key"], ["value"])).ingest(scope));
                    Ok(())
                })
            });
            let ended = ended.expect_err("one of them cannot begin");
            codes.lock().expect("nobody panics").insert(index, ended.exit_code());
            Ok(Outcome::Done)
        });
        ended.expect("they can connect");
        assert_eq!(BTreeMap::from([(0, code), (1, code)]), codes.into_inner().expect("nobody panics"));
    }
}
