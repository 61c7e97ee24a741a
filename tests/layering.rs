//! The arrows between modules that Cargo cannot forbid (ARCHITECTURE.md, "Arrows").

use std::fs;
use std::path::{Path, PathBuf};

/// Files below `folder` (or the file itself) may not mention any of `words`.
struct Forbidden {
    folder: &'static str,
    words: &'static [&'static str],
    reason: &'static str,
}

const CONNECTORS: [&str; 6] = ["blackhole", "file", "generator", "memory", "stdio", "recording"];

const ARROWS: [Forbidden; 5] = [
    Forbidden {
        folder: "dataflows/src",
        words: &[
            "std::fs",
            "std::net",
            "std::thread",
            "SystemTime",
            "Instant",
            "tokio",
            "tidewatch_connectors",
        ],
        reason: "what is computed has no clock, file, socket or thread",
    },
    Forbidden { folder: "dataflows/src/detectors", words: &["timely"], reason: "detectors know no dataflow" },
    Forbidden { folder: "dataflows/src/logic", words: &["timely"], reason: "logics know no dataflow" },
    Forbidden {
        folder: "connectors/src",
        words: &["dataflows::detectors", "dataflows::logic", "dataflows::pipelines"],
        reason: "connectors move records and events; they do not look into them",
    },
    Forbidden { folder: "src", words: &["crate::main"], reason: "nothing depends on the binary" },
];

fn sources(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        found.push(path.to_owned());
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "rs") {
            sources(&entry, found);
        }
    }
}

/// The lines of a file that are code of the library: no comments, nothing from its unit tests on.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(index, line)| (index + 1, line))
}

fn violations(root: &Path, arrow: &Forbidden) -> Vec<String> {
    let mut files = Vec::new();
    sources(&root.join(arrow.folder), &mut files);
    assert!(!files.is_empty(), "{} has no sources", arrow.folder);
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (line, code) in code(&text) {
            if let Some(word) = arrow.words.iter().find(|word| code.contains(*word)) {
                found.push(format!("{}:{line}: {word}: {}", file.display(), arrow.reason));
            }
        }
    }
    found
}

#[test]
fn no_arrow_points_the_wrong_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found: Vec<_> = ARROWS.iter().flat_map(|arrow| violations(root, arrow)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_connector_knows_another() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/src");
    let mut found = Vec::new();
    for connector in CONNECTORS {
        let mut files = Vec::new();
        for path in [root.join(format!("{connector}.rs")), root.join(connector)] {
            if path.exists() {
                sources(&path, &mut files);
            }
        }
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (line, code) in code(&text) {
                for other in CONNECTORS.iter().filter(|other| **other != connector) {
                    if code.contains(&format!("crate::{other}")) {
                        found.push(format!("{}:{line}: {connector} knows {other}", file.display()));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_wrong_arrow_is_found() {
    let arrow = Forbidden { folder: "src", words: &["tidewatch_dataflows"], reason: "for the test" };
    assert!(!violations(Path::new(env!("CARGO_MANIFEST_DIR")), &arrow).is_empty());
}
