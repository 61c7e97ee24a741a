//! The command line, as its users and their scripts meet it.

mod check;
mod compare;
mod detectors;
mod ends;
mod evaluate;
mod generate;
mod run;
mod state;

use std::fs;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::program::{end, pipeline, start, tidewatch, PROGRAM};

pub(crate) const GENERATED: &str = r#"
name = "generated"
[[source]]
name = "numbers"
connector = "generator"
options = { records = 5000, keys = 20, partitions = 3, disorder = "50ms", late = 0.02, anomalies = 0.01 }
lateness = "50ms"
[[detect]]
name = "far"
detector = "ewma-z"
threshold = 4
[[sink]]
stream = "anomalies"
connector = "file"
options = { path = "{}/out.jsonl" }
"#;

/// Everything that comes in is an anomaly; the sink is added.
pub(crate) const STDIN: &str = r#"
name = "stdin"
[[source]]
name = "lines"
connector = "stdio"
format = { kind = "csv", header = false }
time = { field = "1", unit = "s" }
key = ["2"]
value = "3"
[[detect]]
name = "all"
detector = "static"
params = { max = 0 }
threshold = 1
"#;

/// Twenty thousand anomalies, to standard output and to a file or a pipe.
fn many_lines(sinks: &str) -> (TempDir, String) {
    let file = STDIN.replace("\"stdio\"", "\"file\"\noptions = { path = \"{}/lines.csv\" }");
    let (folder, path) = pipeline(&[&file, sinks].concat());
    fs::write(
        folder.path().join("lines.csv"),
        (0..20_000).map(|at| format!("{at},k,1\n")).collect::<String>(),
    )
    .expect("it can be written");
    (folder, path)
}

fn sink(connector: &str, options: &str) -> String {
    format!("[[sink]]\nstream = \"anomalies\"\nconnector = \"{connector}\"\n{options}\n")
}

#[test]
fn help_names_options_and_exit_codes() {
    let global = ["--verbose", "--quiet", "--json", "--help"];
    let own: [(&[&str], &[&str]); 8] = [
        (&[], &["run", "record", "replay", "check", "compare", "generate", "detectors", "--version"]),
        (
            &["run"],
            &[
                "--workers",
                "--processes",
                "--process ",
                "--hostfile",
                "--record",
                "Usage: tidewatch run [OPTIONS] <PIPELINE.toml>\n",
                "Results go to",
            ],
        ),
        (
            &["record"],
            &[
                "--workers",
                "--processes",
                "--hostfile",
                "Usage: tidewatch record [OPTIONS] --out <FILE> <PIPELINE.toml>\n",
                "FILE.0",
            ],
        ),
        (
            &["replay"],
            &[
                "--workers",
                "--processes",
                "--hostfile",
                "copy",
                "--speed",
                "--from",
                "--to",
                "--out",
                "--stream",
                "Usage: tidewatch replay [OPTIONS] <RECORDING> <PIPELINE.toml>\n",
            ],
        ),
        (&["check"], &["PIPELINE.toml"]),
        (
            &["compare"],
            &[
                "--workers",
                "whether or not they differ",
                "Usage: tidewatch compare [OPTIONS] <A.toml> <B.toml> <RECORDING>\n",
            ],
        ),
        (
            &["generate"],
            &["--out", "--labels", "--seed", "--keys", "--partitions", "--records", "--rate", "--late"],
        ),
        (&["detectors"], &["NAME"]),
    ];
    for (command, options) in own {
        let said = tidewatch(command.iter().chain(&["--help"]));
        assert_eq!(Some(0), said.code);
        for word in global.iter().chain(options).chain(&[
            "Example",
            "  tidewatch ",
            "Exit codes: 0 ",
            "1 ",
            "2 usage",
            "130 interrupted",
        ]) {
            assert!(said.out.contains(word), "{command:?} --help lacks {word}:\n{}", said.out);
        }
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["run"][..],
        &["fly"],
        &["run", "p.toml", "-w", "0"],
        &["run", "p.toml", "--record", ""],
        &["run", ""],
        &["record", "p.toml", "--out", ""],
        &["replay", "", "p.toml"],
        &["compare", "p.toml", "r.tide"],
        &["compare", "p.toml", "p.toml", ""],
        &["compare", "p.toml", "p.toml", "r.tide", "-w", "0"],
        &["generate", "--keys", "0"],
        &["generate", "--out", ""],
    ] {
        let said = tidewatch(arguments);
        assert_eq!((Some(2), ""), (said.code, said.out.as_str()), "{arguments:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_the_command_line_names_and_cannot_be_read_exits_with_2_and_says_what_it_is() {
    let nab = "examples/nab.toml";
    for (arguments, file, what) in [
        (&["run", "no/such.toml"][..], "no/such.toml", "pipeline file"),
        (&["check", "no/such.toml"], "no/such.toml", "pipeline file"),
        (&["run", "examples"], "examples", "pipeline file"),
        (&["run", nab, "-p", "0", "-n", "2", "-h", "no/hosts"], "no/hosts", "hostfile"),
        (&["replay", "no/such.tide", nab], "no/such.tide", "recording"),
    ] {
        let said = tidewatch(arguments);
        assert_eq!((Some(2), ""), (said.code, &*said.out), "{arguments:?}");
        let expected = format!("{file}: the {what} cannot be read: ");
        assert!(said.err.starts_with(&expected), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn a_pipeline_that_was_taken_for_the_hostfile_is_told_so() {
    for (command, lacks) in [
        ("run", "a PIPELINE.toml"),
        ("record", "a PIPELINE.toml and --out"),
        ("replay", "a RECORDING and a PIPELINE.toml"),
    ] {
        let said = tidewatch([command, "-h", "g.toml"]);
        let expected =
            format!("{command} needs {lacks}: -h took g.toml as the hostfile; for help: {command} --help\n");
        assert_eq!((Some(2), "", expected), (said.code, &*said.out, said.err));
    }
}

#[test]
fn what_a_pipeline_names_and_cannot_be_read_exits_with_1_and_is_named() {
    // A link that leads nowhere: a file that is there but cannot be opened, even by root.
    let input = "\"file\"\noptions = { path = \"{}/*.csv\" }";
    let (folder, path) = pipeline(&STDIN.replace("\"stdio\"", input));
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(2), said.code, "a pattern that no file matches is a mistake in the pipeline");
    let link = folder.path().join("link.csv");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).expect("it can be made");
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(1), said.code, "{}", said.err);
    assert!(said.err.starts_with(&link.display().to_string()), "{}", said.err);

    let sink =
        "[[sink]]\nstream = \"late\"\nconnector = \"file\"\noptions = { path = \"{}/no/late.jsonl\" }\n";
    let (_folder, path) = pipeline(&[GENERATED, sink].concat());
    let said = tidewatch(["run", &path]);
    assert_eq!(Some(1), said.code, "{}", said.err);
    assert!(said.err.contains("no/late.jsonl: "), "{}", said.err);
}

#[test]
fn nobody_needs_to_take_what_goes_to_standard_error() {
    let (_folder, path) = pipeline(GENERATED);
    for arguments in [&["run", &path, "-vv"][..], &["run", "no/such.toml"], &["check", "no/such.toml"]] {
        let expected = if arguments.len() == 3 { 0 } else { 2 };
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
        let status = Process::new(PROGRAM).args(arguments).stderr(full).stdout(Stdio::null()).status();
        assert_eq!(Some(expected), status.expect("it runs").code(), "{arguments:?}");
        let mut child = start(arguments);
        drop(child.stderr.take());
        assert_eq!(Some(expected), end(&mut child, Duration::from_secs(20)), "{arguments:?}");
    }
}

#[test]
fn more_is_said_with_v_and_even_more_with_vv() {
    let (_folder, path) = many_lines("");
    let [none, info, debug] = ["-q", "-v", "-vv"].map(|level| tidewatch(["run", &path, level]).err);
    assert_eq!("", none);
    for (word, at_info) in
        [("opened partition", true), ("opened sink", true), ("run ended", true), ("partition ended", false)]
    {
        assert_eq!(at_info, info.contains(word), "{word}: {info}");
        assert!(debug.contains(word), "{word}: {debug}");
    }
}
