//! Recordings of clusters, and replays on clusters, through the program.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tidewatch_connectors::format::Csv;
use tidewatch_connectors::memory::Memory;
use tidewatch_connectors::recording::{Play, Recording};
use tidewatch_connectors::Input;

use crate::cluster::processes::{hostfile, signal, start, until, Ended, Observed, SOON};
use crate::harness::program::{read, tidewatch_in, PROGRAM};

use super::files::{files, recorded_on, streams, STREAMS};
use super::LIVE;

const CLUSTERS: [[&str; 2]; 4] = [["-n1", "-w1"], ["-n1", "-w2"], ["-n2", "-w1"], ["-n2", "-w2"]];

/// Starts the program in a folder.
fn start_in(folder: impl AsRef<Path>, arguments: &[&str]) -> Observed {
    start(Command::new(PROGRAM).args(arguments).current_dir(folder))
}

/// The two processes of a cluster, each started by hand in a folder of its own.
fn by_hand(folders: [&Path; 2], arguments: [&[&str]; 2]) -> [Ended; 2] {
    let (_hosts, hosts, _) = hostfile(2);
    let member = |index: usize| {
        let place = ["-n", "2", "-p", ["0", "1"][index], "-h", &hosts];
        start_in(folders[index], &[arguments[index], &place].concat())
    };
    let mut members = [member(0), member(1)];
    members.each_mut().map(|member| member.end(SOON))
}

#[test]
fn a_live_run_of_two_processes_is_replayed_to_the_same_bytes_on_any_cluster() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let source = "connector = \"file\"\noptions = { path = \"p*.csv\", follow = true }";
    let text = LIVE.replace("connector = \"memory\"", source).replace("max_future = \"1h\"\n", "");
    let sink = |stream: &str| {
        format!("[[sink]]\nstream = \"{stream}\"\nconnector = \"file\"\noptions = {{ path = \"own-{stream}.jsonl\" }}\n")
    };
    fs::write(folder.path().join("p.toml"), text + &STREAMS.map(sink).concat()).expect("it can be written");
    let mut partitions = ["p0.csv", "p1.csv", "p2.csv"].map(|name| {
        let mut file = fs::File::create(folder.path().join(name)).expect("it can be made");
        file.write_all(b"ts,host,load\n").expect("it can be written");
        file
    });
    let mut live = start_in(&folder, &["run", "p.toml", "--record", "live.tide", "-n", "2", "-w", "2"]);
    for n in 0..300_usize {
        let time = n as i64 * 10 - [0, 30, 0, 45, 200, 0, 7][n % 7];
        let line = match n % 41 {
            40 => "not a record\n".to_owned(),
            _ => format!("{time},{},{}\n", ["a", "b", "c"][n % 5 % 3], n * 37 % 83),
        };
        // One partition says nothing from a hundred on to two hundred.
        if n % 3 != 1 || !(100..200).contains(&n) {
            partitions[n % 3].write_all(line.as_bytes()).expect("it can be written");
        }
        if n % 50 == 49 {
            thread::sleep(Duration::from_millis(300));
        }
    }
    // When all are silent, all that was read becomes final but what is in progress.
    until("the end of what is final", || read(&folder, "own-verdicts.jsonl").contains("00:00:02.9"));
    signal(live.child.id(), "INT");
    let ended = live.end(SOON);
    assert_eq!(Some(130), ended.code, "{ended:?}");
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own.iter().all(|text| text.lines().count() > 3), "{own:?}");

    // Each part has records, and the decisions on its partitions.
    let path = folder.path().join("live.tide").display().to_string();
    for part in ["live.tide.0", "live.tide.1"] {
        assert!(fs::metadata(folder.path().join(part)).expect("it is there").len() > 1_000, "{part}");
    }
    let recording = Recording::open(&path).expect("it is whole");
    assert!(recording.damages().is_empty());
    let input = Input::of_payloads(Memory::default(), Csv::header().time("ts").value("load"));
    let replayed = recording.replay(input.named("requests"), &Play::all(), 0).expect("it has the source");
    for partition in ["p0.csv", "p1.csv", "p2.csv"] {
        assert!(!replayed.source().decisions(partition).expect("they can be read").is_empty(), "{partition}");
    }

    let mut all = Vec::new();
    for cluster in CLUSTERS {
        let replay = ["replay", "live.tide", "p.toml", "-q", "--out", "again"];
        let said = tidewatch_in(&folder, [&replay, &cluster[..]].concat());
        assert_eq!((Some(0), "", ""), (said.code, &*said.out, &*said.err), "{cluster:?}");
        let again = streams(&folder.path().join("again"), |stream| format!("{stream}.jsonl"));
        for ((stream, own), again) in STREAMS.iter().zip(&own).zip(&again) {
            // A replay also finalises what the interruption has not.
            assert!(again.starts_with(own), "{stream} at {cluster:?}");
            assert!(again.len() - own.len() < again.len() / 10, "{stream} at {cluster:?}");
        }
        all.push(again);
    }
    assert!(all.iter().all(|again| *again == all[0]));
}

#[test]
fn a_process_that_is_interrupted_before_the_others_come_leaves_no_recording() {
    let folder = files();
    let (_hosts, hosts, _) = hostfile(2);
    for arguments in [&["run", "p.toml", "--record", "r.tide"][..], &["record", "p.toml", "--out", "r.tide"]]
    {
        let mut member = start_in(&folder, &[arguments, &["-n", "2", "-p", "0", "-h", &hosts]].concat());
        let recording = folder.path().join("r.tide.0");
        until("its file is there", || recording.exists());
        signal(member.child.id(), "INT");
        let ended = member.end(SOON);
        assert_eq!(Some(130), ended.code, "{ended:?}");
        assert!(!ended.err.contains("recorded") && !recording.exists(), "{ended:?}");
    }
}

#[test]
fn record_alone_says_what_each_process_has_recorded() {
    let folder = files();
    let said =
        tidewatch_in(&folder, ["record", "p.toml", "--out", "alone.tide", "--json", "-n", "2", "-w", "2"]);
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    let mut lines: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    lines.sort_by_key(|line| line["file"].to_string());
    assert_eq!(
        vec!["alone.tide.0", "alone.tide.1"],
        lines.iter().map(|line| &line["file"]).collect::<Vec<_>>()
    );
    let total = |name: &str| lines.iter().filter_map(|line| line[name].as_u64()).sum::<u64>();
    assert_eq!((5, 7_501), (total("partitions"), total("records")));
    assert!(lines.iter().all(|line| line["records"].as_u64() > Some(1_000)), "{lines:?}");
    assert!(!folder.path().join("own-anomalies.jsonl").exists());
    assert_eq!(Some(0), tidewatch_in(&folder, ["run", "p.toml", "-q"]).code);
    assert_eq!(Some(0), tidewatch_in(&folder, ["replay", "alone.tide", "p.toml", "--out", "again"]).code);
    let own = streams(folder.path(), |stream| format!("own-{stream}.jsonl"));
    assert!(own == streams(&folder.path().join("again"), |stream| format!("{stream}.jsonl")));
}

#[test]
fn what_would_be_overwritten_is_named_once_before_anything_is_made() {
    let folder = files();
    for name in ["r.tide", "r.tide.1"] {
        fs::write(folder.path().join(name), "precious").expect("it can be written");
        for command in
            [&["run", "p.toml", "--record", "r.tide"][..], &["record", "p.toml", "--out", "r.tide"]]
        {
            let said = tidewatch_in(&folder, [command, &["-n", "2"]].concat());
            let expected = format!("{name} exists, and a recording never overwrites a file\n");
            assert_eq!((Some(2), "", expected), (said.code, &*said.out, said.err));
            assert_eq!("precious", read(&folder, name));
            assert!(!folder.path().join("r.tide.0").exists());
        }
        fs::remove_file(folder.path().join(name)).expect("it is there");
    }
}

#[test]
fn what_is_missing_is_named_once() {
    let (folder, _) = recorded_on(&["-n", "2"]);
    fs::remove_file(folder.path().join("r.tide.0")).expect("it is there");
    for cluster in CLUSTERS {
        let said =
            tidewatch_in(&folder, [&["replay", "r.tide", "p.toml", "--out", "again"], &cluster[..]].concat());
        let expected = "r.tide has 2 parts, of which r.tide.0 is missing\n";
        assert_eq!((Some(2), "", expected), (said.code, &*said.out, &*said.err), "{cluster:?}");
    }
    assert!(!folder.path().join("again").exists());
}

#[test]
fn a_part_of_another_run_is_refused() {
    let (one, _) = recorded_on(&["-n", "2"]);
    let (two, _) = recorded_on(&["-n", "2"]);
    fs::copy(two.path().join("r.tide.1"), one.path().join("r.tide.1")).expect("they are there");
    let said = tidewatch_in(&one, ["replay", "r.tide", "p.toml"]);
    let expected = "r.tide.1 is not the part of its number that belongs to r.tide.0\n";
    assert_eq!((Some(2), "", expected), (said.code, &*said.out, &*said.err));
}

#[test]
fn a_damage_is_told_once_and_the_exit_code_says_so_whoever_meets_it() {
    let (folder, _) = recorded_on(&["-n", "2", "-w", "2"]);
    for part in ["r.tide.0", "r.tide.1"] {
        let path = folder.path().join(part);
        let whole = fs::read(&path).expect("it is there");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        // One that each process finds when it opens the file; one that only the process finds that reads the block.
        for bytes in [&whole[..whole.len() * 4 / 5], &flipped] {
            fs::write(&path, bytes).expect("it can be written");
            let mut all = Vec::new();
            for cluster in CLUSTERS {
                let said = tidewatch_in(
                    &folder,
                    [&["replay", "r.tide", "p.toml", "-q", "--stream", "verdicts"], &cluster[..]].concat(),
                );
                assert_eq!((Some(1), 1), (said.code, said.err.lines().count()), "{cluster:?}: {}", said.err);
                assert!(
                    said.err.starts_with(&format!("{part}: damaged at byte ")),
                    "{cluster:?}: {}",
                    said.err
                );
                all.push(said.out);
            }
            assert!(!all[0].is_empty() && all.iter().all(|out| *out == all[0]), "{part}");
        }
        fs::write(&path, whole).expect("it can be written");
    }
}

#[test]
fn an_interruption_of_a_recording_cluster_closes_all_parts() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let text = LIVE.replace("\"memory\"", "\"stdio\"").replace("max_future = \"1h\"\n", "");
    fs::write(folder.path().join("p.toml"), text).expect("it can be written");
    let mut observed = start_in(&folder, &["record", "p.toml", "--out", "r.tide", "-n", "2", "-q"]);
    let input = observed.child.stdin.as_mut().expect("it is piped");
    write!(input, "ts,host,load\n0,a,1\n1,a,2\n").expect("it reads");
    input.flush().expect("it reads");
    // Standard input is read by the first worker of all, whose part alone has something in it.
    until("it is written", || {
        fs::metadata(folder.path().join("r.tide.0")).is_ok_and(|file| file.len() > 200)
    });
    signal(observed.child.id(), "INT");
    let ended = observed.end(SOON);
    assert_eq!((Some(130), "", ""), (ended.code, &*ended.out, &*ended.err));
    for cluster in CLUSTERS {
        let replay = ["replay", "r.tide", "p.toml", "--json", "--stream", "evictions"];
        let said = tidewatch_in(&folder, [&replay, &cluster[..]].concat());
        let summary: Value = serde_json::from_str(&said.out).expect("it is one JSON object");
        assert_eq!(
            (Some(0), Some(2), ""),
            (said.code, summary["records"].as_u64(), &*said.err),
            "{cluster:?}"
        );
    }
}

#[test]
fn an_interruption_of_a_replaying_cluster_finalises_nothing() {
    let (folder, own) = recorded_on(&["-n", "2"]);
    let arguments = ["replay", "r.tide", "p.toml", "--speed", "10x", "-n", "2", "--out", "again", "--json"];
    let arguments = [&arguments[..], &["--stream", "verdicts"]].concat();
    let mut observed = start_in(&folder, &arguments);
    until("it writes", || !read(&folder, "again/verdicts.jsonl").is_empty());
    signal(observed.child.id(), "INT");
    let ended = observed.end(SOON);
    let summary: Value = serde_json::from_str(&ended.out).expect("it is one JSON object");
    assert_eq!((Some(130), &Value::Bool(true), ""), (ended.code, &summary["interrupted"], &*ended.err));
    let again = read(&folder, "again/verdicts.jsonl");
    assert!(again.len() < own[1].len() && own[1].starts_with(&again));
}

#[test]
fn processes_start_to_pace_at_one_event_time() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let text =
        LIVE.replace("connector = \"memory\"", "connector = \"file\"\noptions = { path = \"p*.csv\" }");
    let text = text.replace("max_future = \"1h\"\n", "").replace("idle = \"60ms\"\n", "");
    fs::write(folder.path().join("p.toml"), text).expect("it can be written");
    // Of two processes, one has records of the first second alone, the other one of the hundredth alone.
    for (name, at) in [("p0.csv", 0), ("p1.csv", 100_000)] {
        let lines: String = (0..10).map(|n| format!("{},a,{n}\n", at + n * 100)).collect();
        fs::write(folder.path().join(name), "ts,host,load\n".to_owned() + &lines).expect("it can be written");
    }
    assert_eq!(Some(0), tidewatch_in(&folder, ["record", "p.toml", "--out", "r.tide", "-q", "-n", "2"]).code);
    // Decoded anew, as what it begins with is then not in the recording.
    for replaced in ["lateness", "missing = \"keep\"\nlateness"] {
        let text = read(&folder, "p.toml").replacen("lateness", replaced, 1);
        fs::write(folder.path().join("p.toml"), text).expect("it can be written");
        let arguments =
            ["replay", "r.tide", "p.toml", "--speed", "50x", "-n", "2", "--json", "--stream", "late"];
        let said = tidewatch_in(&folder, arguments);
        let summary: Value = serde_json::from_str(&said.out).expect("it is one JSON object");
        let elapsed = summary["elapsed_seconds"].as_f64().expect("a number");
        assert!(elapsed > 1.9, "it took {elapsed} s for 100 s at 50x");
        assert_eq!(Some(20), summary["records"].as_u64());
    }
}

#[test]
fn machines_record_each_its_part_and_replay_each_its_copy() {
    // Two machines have the same source files.
    let [one, two] = [files(), files()];
    let both = [one.path(), two.path()];
    let record: &[&str] = &["run", "p.toml", "--record", "r.tide"];
    let ended = by_hand(both, [record; 2]);
    for (index, ended) in ended.iter().enumerate() {
        assert_eq!((Some(0), ""), (ended.code, &*ended.out), "{ended:?}");
        assert!(ended.err.contains(&format!("r.tide.{index}: ")), "{ended:?}");
    }
    let own = streams(one.path(), |stream| format!("own-{stream}.jsonl"));
    for stream in STREAMS {
        assert!(!two.path().join(format!("own-{stream}.jsonl")).exists());
    }
    let replay: &[&str] = &["replay", "r.tide", "p.toml", "-q", "--out", "again"];
    let missing = by_hand(both, [replay; 2]);
    assert_eq!("r.tide has 2 parts, of which r.tide.1 is missing\n", missing[0].err);
    assert_eq!("r.tide has 2 parts, of which r.tide.0 is missing\n", missing[1].err);

    fs::copy(one.path().join("r.tide.0"), two.path().join("r.tide.0")).expect("they are there");
    fs::copy(two.path().join("r.tide.1"), one.path().join("r.tide.1")).expect("they are there");
    for ended in by_hand(both, [replay; 2]) {
        assert_eq!((Some(0), "", ""), (ended.code, &*ended.out, &*ended.err));
    }
    assert!(own == streams(&one.path().join("again"), |stream| format!("{stream}.jsonl")));
    assert!(!two.path().join("again").exists());

    // What they record another time is another run, though nothing else tells it from the first.
    let other: &[&str] = &["run", "p.toml", "--record", "s.tide", "-q"];
    assert!(by_hand(both, [other; 2]).iter().all(|ended| ended.code == Some(0)));
    fs::rename(two.path().join("s.tide.1"), one.path().join("s.tide.1")).expect("it is there");
    let said = tidewatch_in(&one, ["replay", "s.tide", "p.toml", "-q"]);
    assert_eq!((Some(0), &own[0]), (said.code, &said.out));
    fs::copy(one.path().join("r.tide.1"), one.path().join("s.tide.1")).expect("it is there");
    let said = tidewatch_in(&one, ["replay", "s.tide", "p.toml", "-q"]);
    let expected = "s.tide.1 is not the part of its number that belongs to s.tide.0\n";
    assert_eq!((Some(2), "", expected), (said.code, &*said.out, &*said.err));

    // All end with the same exit code, whoever has the damaged copy.
    let copy = two.path().join("r.tide.1");
    let whole = fs::read(&copy).expect("it is there");
    fs::write(&copy, &whole[..whole.len() - 9]).expect("it can be written");
    let [first, second] = by_hand(both, [replay; 2]);
    assert_eq!((Some(1), Some(1)), (first.code, second.code));
    assert_eq!("another process has found the recording damaged, and says where\n", first.err);
    assert!(second.err.starts_with("r.tide.1: damaged at byte "), "{second:?}");
}

#[test]
fn processes_that_replay_something_else_do_not_meet() {
    let [one, two] = [["0,a,1", "1,a,2"], ["0,a,1", "1,a,3"]].map(|lines| {
        let folder = tempfile::tempdir().expect("there is room for it");
        let source = "connector = \"file\"\noptions = { path = \"p.csv\" }";
        let text = LIVE.replace("connector = \"memory\"", source).replace("max_future = \"1h\"\n", "");
        fs::write(folder.path().join("p.toml"), text.replace("idle = \"60ms\"\n", ""))
            .expect("it can be written");
        let lines = ["ts,host,load", lines[0], lines[1], ""].join("\n");
        fs::write(folder.path().join("p.csv"), lines).expect("it can be written");
        assert_eq!(Some(0), tidewatch_in(&folder, ["record", "p.toml", "--out", "r.tide", "-q"]).code);
        folder
    });
    let replay = ["replay", "r.tide", "p.toml"];
    let others: [(&Path, &[&str]); 3] = [
        (two.path(), &[]),
        (one.path(), &["--from", "1970-01-01T00:00:00.001Z"]),
        (one.path(), &["--stream", "late"]),
    ];
    for (folder, more) in others {
        let (_hosts, hosts, _) = hostfile(2);
        let place = ["-n", "2", "-h", &hosts, "-p"];
        let second = start_in(&one, &[&replay[..], &place, &["1"]].concat());
        let first = start_in(folder, &[&replay[..], more, &place, &["0"]].concat());
        first.await_err("is of another run");
        second.await_err("is of another run");
    }
}
