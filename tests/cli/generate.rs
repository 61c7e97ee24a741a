//! `tidewatch generate`.

use std::io::{BufRead, BufReader};
use std::process::Command as Process;
use std::time::Duration;

use serde_json::Value;

use crate::harness::program::{end, pipeline, start, tidewatch};

#[test]
fn generated_records_are_the_same_for_a_seed_and_readable() {
    let generate = |seed: &str, more: &[&str]| {
        let said =
            tidewatch(["generate", "--records", "2000", "--keys", "5", "--seed", seed].iter().chain(more));
        assert_eq!((Some(0), ""), (said.code, said.err.as_str()));
        said.out
    };
    assert_eq!(generate("1", &[]), generate("1", &[]));
    assert_ne!(generate("1", &[]), generate("2", &[]));
    assert_eq!(2000, generate("1", &["--json"]).lines().count());

    for (name, format) in [("g.csv", "csv"), ("g.jsonl", "json")] {
        let text = format!(
            r#"
name = "again"
[[source]]
name = "file"
connector = "file"
options = {{ path = "{{}}/{name}" }}
format = "{format}"
time = "timestamp"
key = ["key"]
value = "value"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 4
"#
        );
        let (folder, path) = pipeline(&text);
        let out = folder.path().join(name).display().to_string();
        assert_eq!("", generate("1", &["--out", &out]));
        let said = tidewatch(["run", &path, "--json"]);
        let last = said.out.lines().last().expect("a summary");
        let summary: Value = serde_json::from_str(last).expect("it is JSON");
        assert_eq!(
            (Some(2000), Some(0)),
            (summary["scored"].as_u64(), summary["malformed"].as_u64()),
            "{name}"
        );
    }
}

#[test]
fn generating_ends_with_a_whole_line_when_interrupted() {
    for signal in ["-INT", "-TERM"] {
        let mut child = start(&["generate", "--records", "1000000000"]);
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("there is a line");
        let kill = Process::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.expect("there is kill").success());
        let rest = std::io::read_to_string(out).expect("it is text");
        assert!(rest.ends_with('\n'));
        assert_eq!(Some(130), end(&mut child, Duration::from_secs(5)), "{signal}");
    }
}
