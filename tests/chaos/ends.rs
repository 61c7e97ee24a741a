//! Sources end, and runs die while some shards of their sinks have committed that and others have not.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use super::crashes::CLUSTERS;
use super::folder;
use super::sinks::{assert_same, Sinks, STREAMS};
use crate::broker;
use crate::cluster::processes::{start, SOON};
use crate::examples::example;
use crate::harness::program::PROGRAM;

/// A job of finite sources. With a lateness of days, nothing is final before the end.
fn job(sinks: Sinks<'_>, name: &str, lateness: &str) -> (TempDir, String) {
    let folder = folder();
    let store = folder.path().join("store").display().to_string();
    sinks.prepare(name);
    let text = format!(
        r#"
name = "{name}"
[checkpoint]
store = {store:?}
every = "20ms"
commit = "1h"
restarts = 0
[[source]]
name = "synthetic"
connector = "generator"
lateness = "{lateness}"
quarantine = [{{ partition = "1", offset = 500 }}, {{ partition = "3", offset = 3000 }}]
options = {{ records = 20000, keys = 30, partitions = 5, rate = 200, disorder = "2s", late = 0.01, anomalies = 0.002, magnitude = 30.0 }}
[[step]]
operator = "window"
params = {{ every = "1s", aggregate = "mean" }}
[[detect]]
name = "far"
detector = "ewma-z"
params = {{ alpha = 0.1 }}
threshold = 3
{}"#,
        sinks.tables(folder.path(), name)
    );
    let path = folder.path().join("p.toml");
    fs::write(&path, text).expect("it can be written");
    let path = path.display().to_string();
    (folder, path)
}

/// Has a job die after its first commit, until none is left; returns how often it died.
fn die(program: &OsStr, file: &str, cluster: &[&str]) -> usize {
    for deaths in 0..20 {
        let mut command = Command::new(program);
        command.args(["run", file, "--quiet"]).args(cluster).env("CRASH", "committed");
        let ended = start(&mut command).end(3 * SOON);
        match ended.err.contains("dies at committed\n") {
            true => assert!(matches!(ended.code, None | Some(1)), "it survives: {ended:?}"),
            false => {
                assert_eq!(Some(0), ended.code, "{cluster:?}: {ended:?}");
                return deaths;
            }
        }
    }
    panic!("{file} on {cluster:?} has no end");
}

fn jobs_die_at_the_end(sinks: Sinks<'_>, name: &str, latenesses: &[&str]) {
    let crashing = example("crashing");
    let program = crashing.get_program();
    for lateness in latenesses {
        let name = format!("{name}-{lateness}");
        let (folder, file) = job(sinks, &format!("{name}-undisturbed"), lateness);
        let ended = start(Command::new(PROGRAM).args(["run", &file, "--quiet"])).end(3 * SOON);
        assert_eq!(Some(0), ended.code, "{ended:?}");
        let expected = sinks.committed(&folder, &format!("{name}-undisturbed"));
        // Nothing is late by days.
        let counts: Vec<_> = expected.iter().map(Vec::len).collect();
        assert!(counts[0] > 0 && counts[1] > 100 && counts[3] == 2, "{STREAMS:?}: {counts:?}");
        thread::scope(|scope| {
            for cluster in CLUSTERS {
                let (name, expected) = (format!("{name}{}", cluster.concat()), &expected);
                scope.spawn(move || {
                    let (folder, file) = job(sinks, &name, lateness);
                    let deaths = die(program, &file, cluster);
                    // All others may have committed by the time that it dies.
                    assert!(deaths > 0, "{name} does not die");
                    assert_same(expected, &sinks.committed(&folder, &name), &name);
                    eprintln!("{name}: died {deaths} times after a commit");
                });
            }
        });
    }
}

#[test]
fn whichever_shard_has_committed_the_end_when_it_dies_a_job_commits_the_same_to_files() {
    jobs_die_at_the_end(Sinks::Files, "ending", &["2s", "100d"]);
}

#[test]
fn whichever_shard_has_committed_the_end_when_it_dies_a_job_commits_the_same_to_kafka() {
    let Some(broker) = broker::shared() else { return };
    jobs_die_at_the_end(Sinks::Kafka(broker), "ending", &["2s"]);
}
