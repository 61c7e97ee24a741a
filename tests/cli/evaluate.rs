//! `tidewatch evaluate`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::program::{end, interrupt, pipeline, start, tidewatch, Said};

const LABELS: &str = "tests/data/nab/labels.csv";
/// What another program that follows the benchmark's rules finds, in its three profiles: for the scores that are kept here,
const FOUR: [f64; 3] = [50.136_807_368_773_03, 44.495_659_561_648_08, 53.424_538_245_848_69];
/// and for those of all recordings, of three detectors.
const ALL: [(&str, [f64; 3]); 3] = [
    ("windowedGaussian", [36.710_211_845_987_2, 21.397_618_142_770_82, 45.172_744_062_105_98]),
    ("randomCutForest", [51.996_845_837_164_18, 38.283_331_834_415_64, 60.980_353_365_127_03]),
    ("knncad", [64.401_740_638_567_23, 50.436_948_625_613_2, 71.004_669_197_641_3]),
];

fn evaluate(arguments: &[&str]) -> Said {
    tidewatch([&["evaluate"], arguments].concat())
}

/// The verdicts of a detector of the benchmark: its scores row by row, with the times of the recordings.
fn verdicts_of(reference: &Path, recordings: &Path, prefix: &str) -> String {
    let bytes = fs::read(reference).unwrap_or_else(|error| panic!("{}: {error}", reference.display()));
    let mut text = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("it is compressed text");
    let mut verdicts = String::new();
    let mut times = (String::new(), Vec::new());
    for line in text.lines().skip(1) {
        let [file, row, score] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if times.0 != file {
            let recording = fs::read_to_string(recordings.join(file)).expect("it is there");
            let time = |line: &str| line[..19].replacen(' ', "T", 1);
            times = (file.to_owned(), recording.lines().skip(1).map(time).collect());
        }
        let time = &times.1[row.parse::<usize>().expect("is a number")];
        let _ = writeln!(
            verdicts,
            r#"{{"time":"{time}Z","key":{{"file":"{prefix}{file}"}},"detector":"it","score":{score},"anomalous":false}}"#
        );
    }
    verdicts
}

fn assert_scores(expected: [f64; 3], verdicts: &str, labels: &Path) {
    let folder = TempDir::new().expect("there is room for it");
    let path = folder.path().join("verdicts.jsonl");
    fs::write(&path, verdicts).expect("there is room for it");
    let (path, labels) = (path.display().to_string(), labels.display().to_string());
    let said = evaluate(&[&path, "--labels", &labels, "--json", "--samples", "10", "--splits", "2"]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    let report: Value = serde_json::from_str(&said.out).expect("is JSON");
    for (profile, expected) in ["standard", "reward_low_fp", "reward_low_fn"].iter().zip(expected) {
        let found = report["nab"][profile]["score"].as_f64().expect("is a number");
        assert!((found - expected).abs() < 1e-6, "{profile}: expected {expected}, found {found}");
    }
}

/// By the benchmark's rules in another program, of the scores that are kept here.
#[test]
fn oracle_the_benchmarks_score_of_four_recordings() {
    let folder = Path::new("tests/data/nab");
    let verdicts = verdicts_of(&folder.join("reference_windowedGaussian.csv.gz"), folder, "tests/data/nab/");
    assert_scores(FOUR, &verdicts, Path::new(LABELS));
}

/// The same for all recordings and three detectors; `NAB` names a folder with `data`, the references, and `labels.csv`.
#[test]
#[ignore = "needs the whole benchmark, in the folder that the variable NAB names"]
fn oracle_the_benchmarks_score_of_all_recordings() {
    let folder =
        PathBuf::from(std::env::var_os("NAB").expect("the variable NAB names the benchmark's folder"));
    for (detector, expected) in ALL {
        let reference = folder.join(format!("reference_{detector}.csv.gz"));
        assert_scores(
            expected,
            &verdicts_of(&reference, &folder.join("data"), ""),
            &folder.join("labels.csv"),
        );
    }
}

#[test]
fn a_pipeline_is_judged_without_its_sinks() {
    let folder = TempDir::new().expect("there is room for it");
    let text = fs::read_to_string("examples/nab.toml").expect("it is there");
    let (file, out) = (folder.path().join("p.toml"), folder.path().join("out.jsonl"));
    fs::write(&file, text.replace("${OUT:-anomalies.jsonl}", &out.display().to_string()))
        .expect("there is room");
    let file = file.display().to_string();
    let said = evaluate(&[&file, "--labels", LABELS, "-w", "2", "--quiet"]);
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    assert!(!out.exists(), "a sink was opened");
    for part in [
        "new: 4 keys, 25651 records, 10 windows",
        "NAB standard",
        "cross-validated",
        "windows are found, after",
        "per day and key",
        "tests/data/nab/realKnownCause/nyc_taxi.csv",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
    let json = evaluate(&[&file, "--labels", LABELS, "--json"]).out;
    let report: Value = serde_json::from_str(&json).expect("is JSON");
    assert_eq!("new", report["detector"]);
    // As the README says.
    assert_eq!(
        (10, 10),
        (report["events"]["windows"].as_u64().unwrap(), report["events"]["found"].as_u64().unwrap())
    );
    assert_eq!(4, report["by_key"].as_array().map_or(0, Vec::len));
    // The detector without a parameter, on recordings that it was not made for alone.
    let score = report["nab"]["standard"]["score"].as_f64().expect("is a number");
    assert!(score > 70.0, "{score}");
    let fixed = evaluate(&[&file, "--labels", LABELS, "--threshold", "1e12", "--json"]).out;
    let report: Value = serde_json::from_str(fixed.lines().next().expect("there is one")).expect("is JSON");
    assert_eq!(
        (0.0, 0),
        (report["nab"]["standard"]["score"].as_f64().unwrap(), report["events"]["alarms"].as_u64().unwrap())
    );
}

#[test]
fn what_is_missing_is_named() {
    let said = evaluate(&["examples/nab.toml", "--labels", "nowhere.csv"]);
    let expected = "nowhere.csv: the file of labels cannot be read: No such file or directory (os error 2)\n";
    assert_eq!((Some(2), expected), (said.code, &*said.err));
    let said = evaluate(&["nowhere.jsonl", "--labels", LABELS]);
    let expected =
        "nowhere.jsonl: the file of verdicts cannot be read: No such file or directory (os error 2)\n";
    assert_eq!((Some(2), expected), (said.code, &*said.err));
    let said = evaluate(&["/dev/null", "--labels", LABELS]);
    assert_eq!((Some(2), "/dev/null: there are no verdicts\n"), (said.code, &*said.err));
}

/// As verdicts that a sink has written.
#[test]
fn a_pipeline_is_judged_as_what_it_writes() {
    let text = fs::read_to_string("examples/nab.toml").expect("it is there");
    let text = text.replace("stream = \"anomalies\"", "stream = \"verdicts\"");
    let (folder, file) = pipeline(&text.replace("${OUT:-anomalies.jsonl}", "{}/verdicts.jsonl"));
    let said = tidewatch(["run", &file, "--quiet"]);
    assert_eq!(Some(0), said.code, "{}", said.err);
    let judge = |file: &str| evaluate(&[file, "--labels", LABELS, "--json", "--samples", "20"]).out;
    let written = judge(&folder.path().join("verdicts.jsonl").display().to_string());
    assert!(written.contains("nab_cross_validated"), "{written}");
    assert_eq!(written, judge(&file));
}

#[test]
fn configurations_are_chosen_and_scored_on_different_keys() {
    let vary = ["examples/nab.toml", "--labels", LABELS, "--vary", "warmup=30", "--vary", "cool_down=25,50"];
    let said = evaluate(&[&vary[..], &["--json"]].concat());
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    let report: Value = serde_json::from_str(&said.out).expect("is JSON");
    assert_eq!(
        (2, 4, 10),
        (
            report["configurations"].as_u64().unwrap(),
            report["keys"].as_u64().unwrap(),
            report["windows"].as_u64().unwrap()
        )
    );
    // What it says without being varied, which has the same cool-down.
    let plain = evaluate(&["examples/nab.toml", "--labels", LABELS, "--json", "--samples", "1"]).out;
    let plain: Value = serde_json::from_str(&plain).expect("is JSON");
    let [shorter, usual] = &report["by_value"]["cool_down"].as_array().expect("a list")[..] else {
        panic!("{report}")
    };
    assert_eq!((25, 50), (shorter["value"].as_u64().unwrap(), usual["value"].as_u64().unwrap()));
    assert_eq!(plain["nab"]["standard"]["score"], usual["nab_standard"]);
    let best = &report["best"];
    assert_eq!(serde_json::json!({ "warmup": 30, "cool_down": 50 }), best["parameters"]);
    for profile in ["standard", "reward_low_fp", "reward_low_fn"] {
        for figure in ["score", "threshold", "missed", "outside"] {
            assert_eq!(plain["nab"][profile][figure], best["nab"][profile][figure], "{profile} {figure}");
        }
    }
    let halves: u64 = report["chosen"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|chosen| chosen["halves"].as_u64())
        .sum();
    assert_eq!((Some(40), 40), (report["nab_cross_validated"]["halves"].as_u64(), halves));
    let mean = report["nab_cross_validated"]["mean"].as_f64().expect("is a number");
    assert!(mean < best["nab"]["standard"]["score"].as_f64().expect("is a number"), "{report}");

    let said = evaluate(&[&vary[..], &["-w", "2", "--quiet"]].concat());
    assert_eq!((Some(0), ""), (said.code, &*said.err));
    assert!(said.out.starts_with("new: 2 configurations, 4 keys, 10 windows\n"), "{}", said.out);
    for part in [
        "best of all keys   warmup=30 cool_down=50\n",
        &format!("cross-validated    {mean:8.3} ± "),
        "over 40 halves\n",
        "\nbest with cool_down  25: ",
        "  warmup=30 cool_down=25\n",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
}

/// What is varied, in a pipeline with more of it.
fn refused(more: &str, vary: &[&str]) -> String {
    let source = "name = \"p\"\n[[source]]\nname = \"numbers\"\nconnector = \"generator\"\n";
    let detect = "[[detect]]\nname = \"d\"\ndetector = \"static\"\nparams = { max = 5 }\nthreshold = 1\n";
    let (_folder, file) = pipeline(&format!("{source}{detect}{more}"));
    let varied: Vec<_> = vary.iter().flat_map(|vary| ["--vary", vary]).collect();
    let said = evaluate(&[&[&*file, "--labels", LABELS], &varied[..]].concat());
    assert_eq!((Some(2), ""), (said.code, &*said.out), "{}", said.err);
    said.err.replace(&file, "p.toml")
}

#[test]
fn configurations_that_cannot_be_tried_are_refused_before_any_is() {
    let several = "[[detect]]\nname = \"e\"\ndetector = \"auto\"\n";
    let many: Vec<_> = (0..101).map(|value| value.to_string()).collect();
    let (min, max) = (format!("min={}", many.join(",")), format!("max={}", many.join(",")));
    for (more, vary, message) in [
        (
            "",
            &["mx=1"][..],
            "--vary: unknown parameter \"mx\" of detection \"d\" (static); did you mean \"max\"?\n",
        ),
        ("", &["cool_down=5", "max=1,x"], "--vary: \"max\" takes a number, not \"x\"\n"),
        ("", &["min=1,6"], "--vary: min=6: \"min\" is 6, which must not be above \"max\", 5\n"),
        ("", &[&min, &max], "--vary gives 10201 configurations, more than 10000\n"),
        (several, &["max=1"], "p.toml: --vary takes a pipeline with one detection; this one has 2\n"),
    ] {
        assert_eq!(message, refused(more, vary), "{vary:?}");
    }
    let (_folder, stdin) = pipeline(
        "name = \"p\"\n[[source]]\nname = \"s\"\nconnector = \"stdio\"\nformat = \"csv\"\ntime = { field = \"t\", unit = \"s\" }\nvalues = [\"v\"]\n\
         [[detect]]\nname = \"d\"\ndetector = \"auto\"\n",
    );
    let said = evaluate(&[&stdin, "--labels", LABELS, "--vary", "warmup=30"]);
    let reason = "--vary reads the sources once for each configuration, and standard input is there once";
    assert_eq!((Some(2), format!("{stdin}: {reason}\n")), (said.code, said.err));
    let said = evaluate(&["verdicts.jsonl", "--labels", LABELS, "--vary", "max=1"]);
    assert_eq!(
        (Some(2), "verdicts.jsonl: --vary takes a pipeline file, not verdicts\n"),
        (said.code, &*said.err)
    );
}

#[test]
fn an_interruption_ends_all_configurations() {
    let warmups: Vec<_> = (30..90).map(|warmup| warmup.to_string()).collect();
    let vary = format!("warmup={}", warmups.join(","));
    let mut child = start(&["evaluate", "examples/nab.toml", "--labels", LABELS, "--vary", &vary, "-v"]);
    let mut events = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut said = String::new();
    // That of the second one, whose control is not the first one's.
    while said.matches("nyc_taxi.csv").count() < 2 {
        assert_ne!(0, events.read_line(&mut said).expect("it is text"), "{said}");
    }
    interrupt(&child);
    events.read_to_string(&mut said).expect("it is text");
    assert_eq!(Some(130), end(&mut child, Duration::from_secs(20)), "{said}");
}
