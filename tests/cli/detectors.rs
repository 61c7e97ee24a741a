//! `tidewatch detectors`.

use serde_json::Value;
use tidewatch_dataflows::detectors;

use crate::harness::program::{pipeline, tidewatch};

use super::GENERATED;

#[test]
fn every_detector_is_listed_and_described() {
    let list = tidewatch(["detectors"]).out;
    for info in detectors::built_in().iter() {
        assert!(list.lines().any(|line| line.starts_with(info.name)), "{} is not in\n{list}", info.name);
        let said = tidewatch(["detectors", info.name]);
        assert_eq!(Some(0), said.code);
        for part in [info.summary, info.score, info.cost, info.state, info.source] {
            assert!(said.out.contains(part), "{} lacks {part}:\n{}", info.name, said.out);
        }
        for parameter in &info.parameters {
            let line = format!("  {}: {}, ", parameter.name, parameter.kind);
            assert!(said.out.contains(&line) && said.out.contains(parameter.doc), "{line}:\n{}", said.out);
        }
        let json: Value =
            serde_json::from_str(&tidewatch(["detectors", info.name, "--json"]).out).expect("is JSON");
        assert_eq!(info.name, json["name"]);
        assert_eq!(info.parameters.len(), json["parameters"].as_array().map_or(0, Vec::len));
        for parameter in json["parameters"].as_array().into_iter().flatten() {
            assert!(parameter["required"].is_boolean(), "{parameter}");
            assert!(parameter["default"].is_null() || parameter["required"] == false, "{parameter}");
        }
        // What it shows of a pipeline file is one, but for the threshold.
        let (_, sample) = said.out.split_once("in a pipeline file\n").expect("it shows one");
        let (head, _) = GENERATED.split_once("[[detect]]").expect("it has one");
        let (_folder, path) = pipeline(&[head, &sample.replace('…', "1")].concat());
        let checked = tidewatch(["check", &path]);
        assert_eq!(Some(0), checked.code, "{}\n{sample}", checked.err);
    }
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true
    }, {
        insta::assert_snapshot!("detectors-ewma-z", tidewatch(["detectors", "ewma-z"]).out);
    });
}

#[test]
fn an_unknown_detector_is_answered_with_a_suggestion() {
    let said = tidewatch(["detectors", "emwa-z"]);
    assert_eq!((Some(2), ""), (said.code, said.out.as_str()));
    assert_eq!("unknown detector \"emwa-z\"; did you mean \"ewma-z\"?\n", said.err);
}
