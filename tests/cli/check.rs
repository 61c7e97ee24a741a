//! `tidewatch check`.

use serde_json::Value;

use crate::harness::program::{pipeline, tidewatch};

use super::GENERATED;

#[test]
fn check_refuses_what_run_refuses_and_says_where_and_what_would_be_right() {
    let (_folder, path) = pipeline(GENERATED);
    let said = tidewatch(["check", &path]);
    assert_eq!((Some(0), ""), (said.code, said.err.as_str()));
    assert!(said.out.contains("is valid"), "{}", said.out);
    assert_eq!("", tidewatch(["check", &path, "-q"]).out);

    let (_folder, path) = pipeline(&GENERATED.replace("ewma-z", "emwa-z").replace("lateness", "latenes"));
    for command in ["check", "run"] {
        let said = tidewatch([command, &path]);
        assert_eq!((Some(2), ""), (said.code, said.out.as_str()));
        let expected = [":7:1: ", "did you mean \"lateness\"?", ":10:12: ", "did you mean \"ewma-z\"?"];
        for part in expected {
            assert!(said.err.contains(part), "{command} lacks {part}:\n{}", said.err);
        }
        assert!(said.err.lines().all(|line| line.starts_with(&path)), "{}", said.err);
    }
}

#[test]
fn check_tells_a_program_each_mistake() {
    let (_wrong, wrong) = pipeline(&GENERATED.replace("ewma-z", "emwa-z").replace("lateness", "latenes"));
    let (_right, right) = pipeline(GENERATED);
    let said = tidewatch(["check", "--json", &wrong, &right, "no/such.toml"]);
    assert_eq!(Some(2), said.code);
    let lines: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let place = |line: &Value| (line["line"].as_u64(), line["column"].as_u64());
    assert_eq!(
        vec![(Some(7), Some(1)), (Some(10), Some(12)), (None, None), (None, None)],
        lines.iter().map(place).collect::<Vec<_>>()
    );
    assert_eq!(
        vec![&*wrong, &wrong, &right, "no/such.toml"],
        lines.iter().map(|line| &line["file"]).collect::<Vec<_>>()
    );
    assert_eq!("unknown detector \"emwa-z\"; did you mean \"ewma-z\"?", lines[1]["message"]);
    assert_eq!(
        (&Value::Null, "generated"),
        (&lines[2]["message"], lines[2]["pipeline"].as_str().expect("it is right"))
    );
    assert!(
        lines[3]["message"].as_str().is_some_and(|message| message.contains("No such file")),
        "{}",
        lines[3]
    );
}

#[test]
fn check_reports_on_every_file() {
    let (_right, right) = pipeline(GENERATED);
    let (_wrong, wrong) = pipeline(&GENERATED.replace("ewma-z", "emwa-z"));
    let (_other, other) = pipeline(&GENERATED.replace("threshold", "treshold"));
    let said = tidewatch(["check", &wrong, &right, &other, "no/such.toml"]);
    assert_eq!(Some(2), said.code);
    assert!(said.out.starts_with(&format!("{right}: ")), "{}", said.out);
    for file in [&wrong, &other, "no/such.toml"] {
        assert!(said.err.lines().any(|line| line.starts_with(file)), "{}", said.err);
    }
}
