//! Pipeline files: what is wrong with wrong ones, and what right ones mean.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use tidewatch::config::{self, PipelineFile};
use tidewatch::job::Job;
use tidewatch::registry::Registry;
use tidewatch::Error;

/// What a variable of [`environment`] holds and no message may show.
const SECRET: &str = "hunter2";
/// Begins the lines of a wrong file that say what is wrong with it.
const EXPECTED: &str = "# error: ";

fn environment(name: &str) -> Option<String> {
    match name {
        "PASSWORD" => Some(SECRET.to_owned()),
        "ALPHA" => Some("0.5".to_owned()),
        "THRESHOLD" => Some("6".to_owned()),
        "KIND" => Some("generator".to_owned()),
        "SIZE" => Some("30s".to_owned()),
        "EMPTY" => Some(String::new()),
        "COLUMN" => Some("latency".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<PipelineFile, Error> {
    let registry = Registry::default();
    let file = config::parse("file", text, &environment, &registry)?;
    Ok(Job::new(file, &registry)?.file().clone())
}

fn files(kind: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let entries = fs::read_dir(&folder).expect("the folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    let text = |path: &PathBuf| fs::read_to_string(path).expect("the file can be read");
    paths.iter().map(|path| (path.clone(), text(path))).collect()
}

/// Each file in `tests/config/wrong` begins with the errors that it gives; `BLESS=1` writes them there for review.
#[test]
fn wrong_files_give_the_errors_that_they_state() {
    let mut mismatches = String::new();
    let files = files("wrong");
    for (path, text) in &files {
        let stated: String =
            text.split_inclusive('\n').take_while(|line| line.starts_with(EXPECTED)).collect();
        let found = match parse(text) {
            Ok(_) => "# error: none\n".to_owned(),
            Err(error) => {
                let lines = error.to_string();
                lines.lines().map(|line| line.replacen("file:", EXPECTED, 1) + "\n").collect()
            }
        };
        assert!(!found.contains(SECRET), "{}: {found}", path.display());
        if stated != found {
            let _ = writeln!(mismatches, "{}\nstated\n{stated}found\n{found}", path.display());
            if env::var_os("BLESS").is_some() {
                fs::write(path, found + &text[stated.len()..]).expect("the file can be written");
            }
        }
    }
    assert!(mismatches.is_empty(), "{mismatches}");
    assert!(files.len() >= 40, "only {} wrong files", files.len());
}

#[test]
fn right_files_mean_what_their_snapshots_say() {
    for (path, text) in files("right") {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        match parse(&text) {
            Ok(pipeline) => {
                insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false}, {
                    insta::assert_debug_snapshot!(name, pipeline);
                })
            }
            Err(error) => panic!("{}:\n{error}", path.display()),
        }
    }
}

#[test]
fn what_a_variable_holds_is_in_the_description() {
    let (_, text) =
        files("right").into_iter().find(|(path, _)| path.ends_with("variables.toml")).expect("is there");
    let pipeline = parse(&text).expect("the file is right");
    assert_eq!(["hunter2/$a.csv", "b.csv"], pipeline.sources[0].options.value::<&[String]>("path"));
    assert_eq!(["latency"], pipeline.sources[0].values[..]);
    assert_eq!((0.5, 6.0, 4.0), {
        let detect = &pipeline.detects[0];
        (detect.params.value("alpha"), detect.rules.threshold, detect.rules.clear)
    });
}

/// A file that a user is in the middle of writing is refused or read, never more.
#[test]
fn no_part_of_a_file_panics_and_no_error_is_without_place() {
    for (path, text) in files("right").into_iter().chain(files("wrong")) {
        for (end, _) in text.char_indices().step_by(3) {
            for part in [&text[..end], &text[end..]] {
                let Err(error) = parse(part) else { continue };
                let error = error.to_string();
                assert!(!error.contains(SECRET), "{} at {end}: {error}", path.display());
                assert!(error.lines().count() > 0, "{} at {end}", path.display());
                assert!(
                    error.lines().all(|line| line.starts_with("file:")),
                    "{} at {end}: {error}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a=", "a.", "[[a]]\n"] {
        assert!(parse(&format!("name = {}", open.repeat(100_000))).is_err(), "{open}");
        assert!(parse(&open.repeat(100_000)).is_err(), "{open}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = config::read(Path::new("no/such.toml"), &Registry::default()).expect_err("it is not there");
    assert!(error.to_string().starts_with("no/such.toml: "), "{error}");
}

#[test]
fn a_file_that_is_not_text_is_refused_with_a_place() {
    let folder = tempfile::tempdir().expect("there is room for it");
    let path = folder.path().join("p.toml");
    fs::write(&path, b"name = \"a\"\n# \xe9\xff").expect("it can be written");
    let error = config::read(&path, &Registry::default()).expect_err("it is not UTF-8");
    assert_eq!(2, error.exit_code());
    assert!(error.to_string().starts_with(&format!("{}:2:3: ", path.display())), "{error}");
}
