//! Every example runs as its comment says, and gives the same in every way of running it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tidewatch::registry::Registry;
use xxhash_rust::xxh3::xxh3_64;

use tidewatch_connectors::generator::Profile;
use tidewatch_dataflows::Span;

use crate::harness::{added_up, alerts, attack, generated, Attack};

#[path = "../examples/custom_detector.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a program of its own")]
mod custom_detector;
#[path = "../examples/custom_operator.rs"]
#[allow(dead_code, reason = "it is a program of its own")]
mod custom_operator;

fn pipelines() -> Vec<PathBuf> {
    let entries = fs::read_dir("examples").expect("tests run in the root of the package");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    // They need a broker or a store: `tests/kafka.rs`, `tests/recovery.rs` and `tests/live.rs` run them.
    paths.retain(|path| {
        !["kafka.toml", "durable.toml", "live_state.toml"].iter().any(|name| path.ends_with(name))
    });
    paths.sort();
    paths
}

/// The program of an example. `cargo test --test integration` alone does not build it, and would leave an old one.
pub(crate) fn example(name: &str) -> Command {
    let tests = env::current_exe().expect("the tests are a program");
    let profile = tests.parent().and_then(Path::parent).expect("it is in <profile>/deps");
    let target = profile.parent().expect("it is in a target folder");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline", "--example", name, "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // What Cargo tells the tests of their package: build scripts that look at it would run anew, now and in the next
    // build from outside, and all that depends on them would be built again.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            build.env_remove(name);
        }
    }
    assert!(build.status().expect("there is cargo").success(), "{name} does not build");
    Command::new(profile.join("examples").join(name))
}

/// Runs a program with its results in a file of their own, and returns what it wrote: of each stream, how many
/// lines, a hash of them all, and the first ones.
fn results(mut command: Command) -> String {
    let folder = tempfile::tempdir().expect("there is room for it");
    let out = folder.path().join("out.jsonl");
    let output = command.env("OUT", &out).output().expect("the program is there");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    let mut results = String::new();
    let mut show = |name: &str, text: &str| {
        let _ = writeln!(
            results,
            "{name}: {} lines, xxh3 {:016x}",
            text.lines().count(),
            xxh3_64(text.as_bytes())
        );
        text.lines().take(2).for_each(|line| results += &format!("  {line}\n"));
    };
    show("stdout", &String::from_utf8_lossy(&output.stdout));
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .expect("it is there")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().expect("a file has one").to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).expect("it is text");
        if name.ends_with(".provisional") {
            // What came when depends on the run; what it adds up to does not.
            let lines: Vec<_> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            assert!(text.contains("retracted") && text.contains("revised"), "{name} takes nothing back");
            let lines = added_up(&lines).unwrap_or_else(|why| panic!("{name}: {why}"));
            show(&name, &String::from_utf8(lines.join(&b'\n')).expect("it was text"));
        } else if name.ends_with(".raised") {
            let lines: Vec<_> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            let lines = alerts(&lines).unwrap_or_else(|why| panic!("{name}: {why}"));
            show(&name, &String::from_utf8(lines.join(&b'\n')).expect("it was text"));
        } else {
            show(&name, &text);
        }
    }
    results
}

fn snapshot(name: &str, results: &str) {
    insta::with_settings!({
        snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!(format!("example-{name}"), results);
    });
}

#[test]
fn pipeline_files_find_what_their_snapshots_say() {
    let files = pipelines();
    assert!(files.len() >= 11, "only {} examples", files.len());
    for path in files {
        let name = path.file_stem().expect("a file has one").to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("it can be read");
        assert!(
            text.starts_with("# ") && text.lines().count() <= 40,
            "{name} is short and says what it shows"
        );
        if name != "custom_detector" {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidewatch"));
            command.arg("run").arg(&path).arg("-q");
            snapshot(&name, &results(command));
        }
    }
}

#[test]
fn programs_find_what_their_snapshots_say() {
    for name in ["custom_detector", "custom_operator", "open_anomalies"] {
        snapshot(name, &results(example(name)));
    }
    let mut described = example("custom_detector");
    described.args(["detectors", "stuck"]);
    let described = described.output().expect("the program is there").stdout;
    assert!(String::from_utf8_lossy(&described).starts_with("stuck: values that no longer change\n"));
}

#[test]
fn pipeline_files_are_deterministic() {
    for path in pipelines() {
        let registry = match path.ends_with("custom_detector.toml") {
            true => custom_detector::registry(),
            false => Registry::default(),
        };
        let text = fs::read_to_string(&path).expect("it can be read");
        let attacked = Attack::pipeline_with(registry, &text);
        // Snapshots after each of its thousands of records take long without optimisation.
        let report = match path.ends_with("nab.toml") && cfg!(debug_assertions) {
            true => attack(attacked),
            false => attack(attacked.snapshotting()),
        };
        assert!(report.count("anomalies") > 0, "{}", path.display());
        for (stream, example) in [("incidents", "incidents.toml"), ("muted", "mutes.toml")] {
            assert!(report.count(stream) > 0 || !path.ends_with(example), "{}", path.display());
        }
    }
}

#[test]
fn the_operator_of_the_example_is_deterministic() {
    let profile = Profile {
        keys: 7,
        partitions: 3,
        records: 3_000,
        disorder: Span::from_millis(20),
        anomalies: 0.02,
        ..Profile::default()
    };
    let attacked = Attack::logic(custom_operator::jumps).records(generated(profile));
    let report = attack(attacked.shuffled(Span::from_millis(50)).snapshotting());
    assert!(report.count("emitted") > 0);
}
