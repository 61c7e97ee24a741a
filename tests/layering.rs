//! The arrows between modules that Cargo cannot forbid (ARCHITECTURE.md, "Arrows").

use std::fs;
use std::path::{Path, PathBuf};

/// The files of `module`, which is a path without ending, may not mention any of `words`.
struct Forbidden {
    module: &'static str,
    words: &'static [&'static str],
    reason: &'static str,
}

/// The modules of `connectors/src` that are connectors, and those that all of them may use.
const CONNECTORS: [&str; 7] = ["blackhole", "file", "generator", "kafka", "memory", "recording", "stdio"];
const SHARED: [&str; 13] = [
    "control",
    "egress",
    "error",
    "format",
    "ingest",
    "journal",
    "lib",
    "reference",
    "schema",
    "sink",
    "source",
    "store",
    "task",
];

const ARROWS: [Forbidden; 5] = [
    Forbidden {
        module: "dataflows/src",
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
    Forbidden { module: "dataflows/src/detectors", words: &["timely"], reason: "detectors know no dataflow" },
    Forbidden { module: "dataflows/src/logic", words: &["timely"], reason: "logics know no dataflow" },
    Forbidden {
        module: "connectors/src",
        words: &["dataflows::detectors", "dataflows::logic", "dataflows::operators", "dataflows::pipelines"],
        reason: "connectors move records and events; they do not look into them",
    },
    Forbidden { module: "src", words: &["crate::main"], reason: "nothing depends on the binary" },
];

/// The files of a module: its folder's and the one beside the folder, as far as they exist.
fn files(root: &Path, module: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in [root.join(module), root.join(format!("{module}.rs"))] {
        if path.exists() {
            sources(&path, &mut found);
        }
    }
    assert!(!found.is_empty(), "{module} has no sources");
    found
}

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

/// The lines of a file that are code of the library, with their numbers: no comments, and no item under `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut lines = (1..).zip(text.lines());
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        match line.trim_start() {
            attribute if attribute.starts_with("#[cfg(test)]") => skip_item(&mut lines),
            comment if comment.starts_with("//") => {}
            _ => found.push((number, line)),
        }
    }
    found
}

/// Skips an item with its further attributes: up to a semicolon, or the brace that closes it at its own indentation,
/// as rustfmt puts it.
fn skip_item<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut own = None;
    for (_, line) in lines {
        let text = line.trim();
        if text.is_empty() || text.starts_with("#[") || text.starts_with("//") {
            continue;
        }
        let first = own.is_none();
        let own = *own.get_or_insert(indentation(line));
        let closes = text.ends_with(';') || text.ends_with('}');
        if indentation(line) == own && closes && (first || text.starts_with('}')) {
            return;
        }
    }
}

/// The code of a file as it would be if each `use` named one thing by its whole path: `use std::{fs, io::{self, Read}};`
/// becomes `std::fs`, `std::io` and `std::io::Read`.
fn flattened(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = code(text).into_iter();
    while let Some((number, line)) = lines.next() {
        let statement = line.trim_start();
        let statement = statement.strip_prefix("pub").map_or(statement, |rest| match rest.split_once(") ") {
            Some((visibility, rest)) if visibility.starts_with('(') => rest,
            _ => rest.trim_start(),
        });
        let Some(tree) = statement.strip_prefix("use ") else {
            found.push((number, line.to_owned()));
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.contains(';') {
            let Some((_, more)) = lines.next() else { break };
            tree += " ";
            tree += more.trim();
        }
        // Whatever it is called here.
        let mut words = tree.split(';').next().unwrap_or_default().split_whitespace();
        let mut tree = String::new();
        while let Some(word) = words.next() {
            match word {
                "as" => {
                    tree += words
                        .next()
                        .unwrap_or_default()
                        .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                }
                word => tree += word,
            }
        }
        expand("", &tree, &mut |path| found.push((number, path)));
    }
    found
}

/// Calls `each` with every path of a tree of imports without spaces.
fn expand(prefix: &str, tree: &str, each: &mut impl FnMut(String)) {
    let Some((head, inside)) = tree.split_once('{') else {
        return each(match tree {
            "self" => prefix.trim_end_matches("::").to_owned(),
            tree => format!("{prefix}{tree}"),
        });
    };
    let prefix = format!("{prefix}{head}");
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inside.char_indices().chain([(inside.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if start < at {
                    expand(&prefix, &inside[start..at], each);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Whether the code has this path, and not only one that begins like it.
fn mentions(code: &str, path: &str) -> bool {
    let continues = |rest: &str| rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
    code.match_indices(path).any(|(at, _)| !continues(&code[at + path.len()..]))
}

fn violations(root: &Path, arrow: &Forbidden) -> Vec<String> {
    let mut found = Vec::new();
    for file in files(root, arrow.module) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, code) in flattened(&text) {
            if let Some(word) = arrow.words.iter().find(|word| mentions(&code, word)) {
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
        for file in files(&root, connector) {
            let text = fs::read_to_string(&file).unwrap();
            for (line, code) in flattened(&text) {
                for other in CONNECTORS.iter().filter(|other| **other != connector) {
                    if mentions(&code, &format!("crate::{other}")) {
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
    let found = |module, words| {
        let arrow = Forbidden { module, words, reason: "for the test" };
        !violations(Path::new(env!("CARGO_MANIFEST_DIR")), &arrow).is_empty()
    };
    assert!(found("src", &["tidewatch_dataflows"]));
    assert!(found("dataflows/src/logic", &["pub trait Logic"]), "beside the folder");
}

/// A connector that nobody listed would be checked by nobody.
#[test]
fn every_module_of_the_connectors_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/src");
    let mut found: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    found.dedup();
    let mut listed: Vec<_> = CONNECTORS.iter().chain(&SHARED).map(|name| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(listed, found);
}

#[test]
fn every_form_of_a_wrong_arrow_is_found() {
    for text in [
        "use std::fs;",
        "use std::fs::File;",
        "use std::{fs, io};",
        "use std::{io, fs as files};",
        "use std::{\n    io::{self, Read},\n    fs::{self, File},\n};",
        "pub use std::fs;",
        "pub(crate) use std::{fs};",
        "    let file = std::fs::File::open(path);",
        "#[cfg(test)]\nmod tests;\nuse std::fs;",
        "#[cfg(test)]\nmod tests {\n    use a;\n}\nuse std::fs;",
        "#[cfg(test)]\n#[allow(x)]\nfn a(\n    b: u8,\n) -> u8 {\n    b\n}\n\nuse std::fs;",
        "impl A {\n    #[cfg(test)]\n    fn a() {}\n\n    fn b() { std::fs::read(c); }\n}",
        "#[cfg(test)]\nuse a::{\n    b,\n};\nuse std::fs;",
    ] {
        let found = flattened(text);
        assert!(found.iter().any(|(_, code)| mentions(code, "std::fs")), "{text}\n{found:?}");
    }
    for text in [
        "// use std::fs;",
        "use std::fsync;",
        "use std::io::{self, fs};",
        "#[cfg(test)]\nmod tests {\n    use std::fs;\n\n    fn a() {\n        std::fs::read(b);\n    }\n}",
        "impl A {\n    #[cfg(test)]\n    fn a() {\n        std::fs::read(b);\n    }\n}",
    ] {
        let found = flattened(text);
        assert!(!found.iter().any(|(_, code)| mentions(code, "std::fs")), "{text}\n{found:?}");
    }
}
