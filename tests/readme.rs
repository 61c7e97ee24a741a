//! What the README says can be run, is run, and what it says comes out, comes out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tidewatch::cluster::{self, Cluster};
use tidewatch::config;
use tidewatch::connectors::egress::Output as Egressed;
use tidewatch::connectors::memory::MemorySink;
use tidewatch::connectors::Control;
use tidewatch::dataflows::detectors;
use tidewatch::prelude::*;
use tidewatch::registry::Registry;

const COMMAND: &str = "cargo run --release -- ";
const MAIN_JOB: &str = "run examples/nab.toml";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The code blocks of a page with this language, each with its first line's number.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(opened) = line.strip_prefix("```") else { continue };
        let block: Vec<_> =
            lines.by_ref().take_while(|(line, _)| !line.starts_with("```")).map(|(line, _)| line).collect();
        if opened == language {
            found.push((number + 1, block.join("\n")));
        }
    }
    found
}

/// The arguments of each tidewatch command that the README shows.
fn commands() -> Vec<String> {
    let blocks = blocks(&read("README.md"), "sh");
    let lines = blocks.iter().flat_map(|(_, block)| block.lines());
    lines.filter_map(|line| line.strip_prefix(COMMAND)).map(str::to_owned).collect()
}

/// A folder that looks like the repository to a command that reads, and takes what it writes.
fn workplace() -> TempDir {
    let folder = TempDir::new().expect("a folder for a test");
    for name in ["examples", "tests"] {
        symlink(root().join(name), folder.path().join(name)).expect("a link in a new folder");
    }
    folder
}

fn tidewatch(arguments: &str, folder: &Path) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tidewatch"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .env_remove("OUT")
        .output()
        .expect("the binary starts");
    assert!(
        output.status.success(),
        "tidewatch {arguments}\n{}\nstdout\n{}\nstderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn every_command_of_the_readme_succeeds() {
    let commands = commands();
    assert!(commands.iter().any(|command| command == MAIN_JOB), "{commands:?}");
    let folder = workplace();
    for command in commands {
        tidewatch(&command, folder.path());
    }
}

#[test]
fn the_main_job_says_what_the_readme_shows() {
    let folder = workplace();
    let output = tidewatch(MAIN_JOB, folder.path());
    let written = fs::read_to_string(folder.path().join("anomalies.jsonl")).expect("the default of OUT");
    let readme = read("README.md");
    for (line, shown) in blocks(&readme, "jsonl") {
        assert!(written.starts_with(&format!("{shown}\n")), "README.md:{line}\n{written}");
    }
    let summary = String::from_utf8(output.stderr).expect("the summary is UTF-8");
    let shown = blocks(&readme, "text");
    assert!(shown.iter().any(|(_, shown)| summary.starts_with(&format!("{shown}\n"))), "{summary}");
}

/// The doctest shows that the dataflow runs; this one, with another sink, what it writes.
#[test]
fn the_dataflow_of_the_readme_writes_what_it_shows() {
    let readme = read("README.md");
    let (_, shown) = blocks(&readme, "json").swap_remove(0);
    let (sink, schema) = (MemorySink::default(), Schema::default());
    let written = sink.clone();
    cluster::run(Cluster::threads(2), &Control::default(), move |worker| {
        worker.dataflow::<EventTime, _, _>(|scope| {
            let input = File::glob("examples/data/*.csv")
                .format(Csv::header().time("timestamp").value("value"))
                .lateness(Duration::from_secs(5))
                .ingest(scope);
            let logic = window::tumbling("5m").mean().then(EwmaZ::new(0.05)?).then(above(4.0));
            input.records.keyed(logic).egress(Egressed::json(sink.clone(), schema.clone()));
            Ok(())
        })
    })
    .expect("the files can be read");
    assert_eq!(shown, String::from_utf8(written.contents()).expect("JSON is UTF-8"));
}

/// Completes a part of a pipeline file to a whole one.
pub(crate) fn complete(part: &str) -> String {
    let mut whole = part.to_owned();
    if !part.lines().any(|line| line.starts_with("name = ") && part.starts_with(line)) {
        whole.insert_str(0, "name = \"part\"\n");
    }
    if !part.contains("[[source]]") {
        whole += "\n[[source]]\nname = \"numbers\"\nconnector = \"generator\"\n";
    }
    if !part.contains("[[detect]]") {
        whole += "\n[[detect]]\nname = \"far\"\ndetector = \"ewma-z\"\nthreshold = 4\n";
    }
    whole
}

#[test]
fn every_pipeline_of_the_readme_is_valid() {
    let blocks = blocks(&read("README.md"), "toml");
    assert!(blocks.len() >= 2, "{blocks:?}");
    let environment = |name: &str| (name == "KAFKA_PASSWORD").then(|| "open-sesame".to_owned());
    for (line, block) in blocks {
        let parsed = config::parse("README.md", &complete(&block), &environment, &Registry::default());
        if cfg!(not(feature = "kafka-tls")) && block.contains("sasl_ssl") {
            let error = parsed.expect_err("nothing here can encrypt").to_string();
            assert!(error.contains("the feature \"kafka-tls\""), "README.md:{line}: {error}");
        } else {
            assert!(parsed.is_ok(), "README.md:{line}: {}", parsed.expect_err("it is not valid"));
        }
    }
}

/// The README quotes what a misspelt detector in its first pipeline gives.
#[test]
fn the_mistake_that_the_readme_shows_is_reported_so() {
    let readme = read("README.md");
    let (_, pipeline) = blocks(&readme, "toml").swap_remove(0);
    let wrong = pipeline.replace("\"ewma-z\"", "\"emwa-z\"");
    let error = config::parse("slow.toml", &wrong, &|_| None, &Registry::default()).expect_err("it is wrong");
    assert!(readme.contains(&format!("`{error}`")), "{error}");
}

#[test]
fn every_detector_is_in_the_readme() {
    let readme = read("README.md");
    for info in detectors::built_in().iter() {
        let row = format!("| `{}` | {} |", info.name, info.summary);
        assert!(readme.contains(&row), "{row}");
    }
}

/// The targets of the links of a page, without code blocks, that are files of this repository.
fn relative_links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let prose = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    let targets = prose.flat_map(|line| line.split("](").skip(1));
    let targets = targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn relative_links_lead_somewhere() {
    for page in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        for link in relative_links(&read(page)) {
            let file = link.split('#').next().unwrap_or_default();
            assert!(root().join(file).exists(), "{page}: {link}");
        }
    }
    assert!(!relative_links(&read("README.md")).is_empty());
}
