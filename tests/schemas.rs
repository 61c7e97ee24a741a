//! What is written as JSON is what the schemas say.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use jsonschema::Validator;
use serde_json::Value;
use tidewatch::config::Stream;

fn schema(name: &str) -> Value {
    let path = format!("schemas/{name}.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("it is JSON")
}

fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("it is an object").keys().map(String::as_str).collect()
}

/// The lines of an example's stream, which goes to the file that `ending` names.
fn lines(example: &str, ending: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("there is room for it");
    let output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(["run", &format!("examples/{example}.toml"), "--quiet"])
        .env("OUT", folder.path().join("out"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.path().join(format!("out{ending}"))).expect("it writes the stream");
    text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect()
}

#[test]
fn every_stream_is_what_its_schema_says() {
    let examples = [
        (Stream::Anomalies, "nab", ""),
        (Stream::Provisional, "provisional", ".provisional"),
        (Stream::Alerts, "alerts", ""),
        (Stream::ProvisionalAlerts, "alerts", ".raised"),
        (Stream::Muted, "mutes", ".muted"),
        (Stream::Incidents, "incidents", ""),
        (Stream::ProvisionalIncidents, "incidents", ".raised"),
        (Stream::Late, "late_and_malformed", ".late"),
        (Stream::DeadLetters, "late_and_malformed", ".dead"),
        (Stream::Evictions, "limits", ".evictions"),
    ];
    let shown: BTreeSet<_> = examples.iter().map(|(stream, ..)| stream.schema()).collect();
    assert_eq!(shown, Stream::ALL.into_iter().map(Stream::schema).collect());
    for (stream, example, ending) in examples {
        let schema = schema(stream.schema());
        let required = schema["required"].as_array().expect("it is a list");
        let required: BTreeSet<_> = required.iter().map(|name| name.as_str().expect("a name")).collect();
        assert_eq!(names(&schema["properties"]), required, "{stream:?}: all fields are always there");
        let validator: Validator = jsonschema::validator_for(&schema).expect("it is a schema");
        let lines = lines(example, ending);
        assert!(!lines.is_empty(), "{example}");
        for line in &lines {
            validator.validate(line).unwrap_or_else(|error| panic!("{stream:?}: {line}: {error}"));
            assert_eq!(required, names(line), "{stream:?}: {line}");
        }
        for name in &required {
            let wrong = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
                let mut line = lines[0].clone();
                change(line.as_object_mut().expect("it is an object"));
                !validator.is_valid(&line)
            };
            assert!(wrong(&|line| drop(line.remove(*name))), "{stream:?} without {name}");
            assert!(
                wrong(&|line| drop(line.insert((*name).to_owned(), Value::Array(vec![])))),
                "{stream:?}: {name}"
            );
        }
    }
}

#[test]
fn every_schema_is_one_of_a_stream_and_called_as_its_file() {
    let known: BTreeSet<_> = Stream::ALL.into_iter().map(Stream::schema).collect();
    let files = fs::read_dir("schemas").expect("there is the folder");
    for file in files.map(|file| file.expect("it can be listed").file_name()) {
        let file = file.to_str().expect("it is text");
        let name = file.strip_suffix(".json").expect("it is JSON");
        assert!(known.contains(name), "{file}");
        assert_eq!(format!("urn:tidewatch:schema:{name}"), schema(name)["$id"]);
    }
}
