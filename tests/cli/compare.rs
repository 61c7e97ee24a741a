//! `tidewatch compare`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::program::{end, interrupt, pipeline, start, tidewatch, tidewatch_in, Said};

use super::GENERATED;

/// A folder with the pipeline `p.toml`, the recording `r.tide` of its sources, and variants of it.
fn recorded(text: &str, variants: &[(&str, String)]) -> TempDir {
    let (folder, path) = pipeline(text);
    for (name, text) in variants {
        fs::write(folder.path().join(name), text.replace("{}", &folder.path().display().to_string()))
            .expect("it can be written");
    }
    let recording = folder.path().join("r.tide").display().to_string();
    let said = tidewatch(["record", &path, "--out", &recording, "-q"]);
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    folder
}

/// A pipeline that saves state, and one with a lower threshold whose alerts last longer, and fewer of which are critical.
fn recorded_pair() -> TempDir {
    let text = GENERATED.replace("[[detect]]", "[checkpoint]\nstore = \"{}/store\"\n[[detect]]");
    let with = |rules| text.replace("threshold = 4", rules);
    let tuned = with("threshold = 4\ncritical = 19.2\nclose_after = 30");
    recorded(&with("threshold = 6\ncritical = 19\nclose_after = 3"), &[("tuned.toml", tuned)])
}

/// What a comparison says, which must succeed and say nothing else.
fn compare(folder: &Path, arguments: &[&str]) -> String {
    let Said { code, out, err } = tidewatch_in(folder, [&["compare"], arguments].concat());
    assert_eq!((Some(0), ""), (code, &*err), "{arguments:?}");
    out
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it is there").file_name().display().to_string()).collect();
    names.sort();
    names
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn differences_are_told_to_people_and_programs_and_nothing_else_is_touched() {
    let folder = recorded_pair();
    let before = names(folder.path());
    let text = compare(folder.path(), &["p.toml", "tuned.toml", "r.tide"]);
    let json = compare(folder.path(), &["p.toml", "tuned.toml", "r.tide", "--json"]);
    assert_eq!(text, compare(folder.path(), &["p.toml", "tuned.toml", "r.tide", "-w", "3"]));
    assert_eq!(before, names(folder.path()), "a sink or store was opened");
    snapshot("compare", &text);
    snapshot("compare-json", &json);
}

#[test]
fn all_alerts_of_both_pipelines_are_counted() {
    let folder = recorded_pair();
    let json = compare(folder.path(), &["p.toml", "tuned.toml", "r.tide", "--json"]);
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let (counts, differences) = objects.split_last().expect("there are counts");
    let count = |name: &str| counts[name].as_u64().expect("is a number");
    for name in ["moved", "appeared", "vanished"] {
        let told = differences.iter().filter(|difference| difference["difference"] == name).count();
        assert_eq!(told as u64, count(name), "{name}");
    }
    assert_eq!(differences.len() as u64, count("moved") + count("appeared") + count("vanished"));
    for (side, file, alone) in [("a", "p.toml", "vanished"), ("b", "tuned.toml", "appeared")] {
        let said = tidewatch_in(&folder, ["replay", "r.tide", file, "--stream", "alerts", "-q"]);
        let alerts: Vec<Value> =
            said.out.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
        let [opened, closed] = ["opened", "closed"]
            .map(|event| alerts.iter().filter(|alert| alert["event"] == event).collect::<Vec<_>>());
        assert_eq!(opened.len(), closed.len(), "{file}");
        assert!(!closed.is_empty(), "{file}");
        assert_eq!(closed.len() as u64, count("same") + count("moved") + count(alone), "{file}");
        assert_eq!(Some(closed.len() as u64), counts[side]["alerts"].as_u64(), "{file}");
        assert_eq!(file, counts[side]["file"]);
        for told in
            differences.iter().filter_map(|difference| difference.get(side)).filter(|told| !told.is_null())
        {
            let as_told = |alert: &&&Value| {
                ["id", "detector", "start", "end", "severity"].iter().all(|name| alert[*name] == told[*name])
            };
            assert_eq!(1, closed.iter().filter(as_told).count(), "{file}: {told}");
        }
    }
}

#[test]
fn a_pipeline_does_not_differ_from_itself() {
    let folder = recorded_pair();
    let text = compare(folder.path(), &["p.toml", "p.toml", "r.tide"]);
    let alerts = text.split(' ').next().expect("it begins with a number");
    let expected = format!(
        "{alerts} alerts in p.toml, {alerts} in p.toml: {alerts} the same, 0 moved, 0 appeared, 0 vanished\n"
    );
    assert!(alerts != "0" && text == expected, "{text}");
}

/// With one detection each it may have another name; with more, the name says which alerts are one.
#[test]
fn detections_are_told_apart_by_name_where_there_are_several() {
    let renamed = GENERATED.replace("\"far\"", "\"near\"");
    let other = "[[detect]]\nname = \"other\"\ndetector = \"static\"\nparams = { max = 1e9 }\nthreshold = 1\n[[sink]]";
    let both = GENERATED.replace("[[sink]]", other);
    let folder = recorded(GENERATED, &[("renamed.toml", renamed), ("both.toml", both)]);
    let counts = |a: &str, b: &str| {
        let json = compare(folder.path(), &[a, b, "r.tide", "--json"]);
        let counts: Value =
            serde_json::from_str(json.lines().last().expect("there are counts")).expect("is JSON");
        ["same", "moved", "appeared", "vanished"].map(|name| counts[name].as_u64().expect("is a number"))
    };
    let [alerts, moved, appeared, vanished] = counts("p.toml", "renamed.toml");
    assert!(alerts > 0 && [moved, appeared, vanished] == [0; 3], "{:?}", [alerts, moved, appeared, vanished]);
    assert_eq!([alerts, 0, 0, 0], counts("p.toml", "both.toml"));
    assert_eq!([0, 0, alerts, alerts], counts("renamed.toml", "both.toml"));
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_runs() {
    let stranger = GENERATED.replace("\"numbers\"", "\"strangers\"");
    let folder = recorded(GENERATED, &[("stranger.toml", stranger)]);
    for (arguments, expected) in [
        (["no.toml", "nor.toml", "r.tide"], "no.toml: the pipeline file cannot be read: No such file or directory (os error 2)\nnor.toml: the pipeline file cannot be read: No such file or directory (os error 2)\n"),
        (["p.toml", "p.toml", "no.tide"], "no.tide: the recording cannot be read: No such file or directory (os error 2)\n"),
        (["p.toml", "stranger.toml", "r.tide"], "r.tide has no source \"strangers\"; it has \"numbers\"\n"),
        (["p.toml", "p.toml", "p.toml"], "p.toml is not a recording\n"),
    ] {
        let Said { code, out, err } = tidewatch_in(&folder, [&["compare"][..], &arguments].concat());
        assert_eq!((Some(2), "", expected), (code, &*out, &*err), "{arguments:?}");
    }
}

#[test]
fn a_source_that_a_pipeline_lacks_is_named_with_the_pipeline() {
    let source =
        "[[source]]\nname = \"others\"\nconnector = \"generator\"\noptions = { records = 100 }\n[[detect]]";
    let folder = recorded(&GENERATED.replace("[[detect]]", source), &[("less.toml", GENERATED.to_owned())]);
    let Said { code, err, .. } = tidewatch_in(&folder, ["compare", "p.toml", "less.toml", "r.tide"]);
    assert_eq!((Some(0), 1), (code, err.lines().count()), "{err}");
    assert!(err.contains("r.tide has a source \"others\" that less.toml lacks; it is not played"), "{err}");
}

#[test]
fn a_damaged_recording_is_compared_up_to_the_damage_which_is_told_once() {
    let folder = recorded_pair();
    let whole = fs::read(folder.path().join("r.tide")).expect("it is there");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (bytes, part) in [(&whole[..whole.len() - 5], "the recording was not closed"), (&flipped, "checksum")]
    {
        fs::write(folder.path().join("d.tide"), bytes).expect("it can be written");
        let Said { code, out, err } =
            tidewatch_in(&folder, ["compare", "p.toml", "tuned.toml", "d.tide", "-w", "2", "-q"]);
        assert_eq!((Some(1), 1), (code, err.lines().count()), "{err}");
        assert!(err.starts_with("d.tide: ") && err.contains(part), "{err}");
        assert!(out.contains(" alerts in p.toml, "), "{out}");
    }
}

#[test]
fn an_interrupted_comparison_says_nothing() {
    // So many partitions that even the first run goes on far longer than it takes to send a signal.
    let text = GENERATED.replace("partitions = 3", "partitions = 4000").replace("5000", "20000");
    let folder = recorded(&text, &[]);
    let [pipeline, recording] =
        ["p.toml", "r.tide"].map(|name| folder.path().join(name).display().to_string());
    let mut child = start(&["compare", &pipeline, &pipeline, &recording, "-vv"]);
    let mut told = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("it is text");
    assert!(line.contains("building dataflows"), "{line}");
    interrupt(&child);
    told.read_to_string(&mut line).expect("it is text");
    assert_eq!(Some(130), end(&mut child, Duration::from_secs(20)), "{line}");
    assert_eq!(1, line.matches("building dataflows").count(), "the second run has begun: {line}");
    let out = std::io::read_to_string(child.stdout.take().expect("it is piped")).expect("it is text");
    assert_eq!("", out);
}

#[test]
fn the_readme_shows_the_end_of_what_is_said() {
    let folder = TempDir::new().expect("there is room for it");
    let recording = folder.path().join("nab.tide").display().to_string();
    let said = tidewatch(["record", "examples/nab.toml", "--out", &recording, "-q"]);
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    let arguments = ["examples/nab.toml", "examples/nab_dead_band.toml", &recording];
    let text = compare(Path::new("."), &arguments);
    let readme = fs::read_to_string("README.md").expect("it is there");
    let shown: Vec<_> = text.lines().collect();
    let shown = shown[shown.len() - 5..].join("\n");
    assert!(
        readme.contains(&format!("\n```console\n$ tidewatch compare {}", arguments[..2].join(" "))),
        "no command"
    );
    assert!(readme.contains(&format!("\n{shown}\n```\n")), "{shown}");
}
