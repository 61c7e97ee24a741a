//! Which files a pattern of paths means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::Error;

/// How a shell matches: `*` takes neither hidden files nor folders.
const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A step from a directory to what is in it.
enum Step {
    /// The entry of this name.
    Name(PathBuf),
    /// The entries whose names match.
    Like(Pattern),
    /// None, or any number of directories, none of them hidden.
    Deeper,
}

/// The names of the files that match. The crate `glob` would pass over a name that is not UTF-8, or panic; here it is
/// matched with its bad bytes replaced, so that it is either an error or no match.
pub(super) fn matches(pattern: &str) -> Result<BTreeSet<String>, Error> {
    // A path may contain what a pattern takes for a wildcard.
    if Path::new(pattern).is_file() {
        return Ok(BTreeSet::from([name(Path::new(pattern))?]));
    }
    let no_pattern =
        |error| Error::Configuration(format!("\"{pattern}\" is not a pattern of paths: {error}"));
    Pattern::new(pattern).map_err(no_pattern)?;
    let mut steps = Vec::new();
    for component in Path::new(pattern).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if part == "**" => steps.push(Step::Deeper),
            Component::Normal(part) if part.to_string_lossy().contains(['*', '?', '[']) => {
                steps.push(Step::Like(Pattern::new(&part.to_string_lossy()).map_err(no_pattern)?));
            }
            part => steps.push(Step::Name(part.as_os_str().into())),
        }
    }
    let mut paths = Vec::new();
    walk(PathBuf::new(), &steps, &mut paths)?;
    let names: BTreeSet<String> = paths.iter().map(|path| name(path)).collect::<Result<_, _>>()?;
    match names.is_empty() {
        true => Err(Error::Configuration(format!("no file matches \"{pattern}\""))),
        false => Ok(names),
    }
}

/// Adds the files to which `steps` lead from `base`.
fn walk(base: PathBuf, steps: &[Step], paths: &mut Vec<PathBuf>) -> Result<(), Error> {
    let Some((step, rest)) = steps.split_first() else {
        if !base.is_dir() {
            paths.push(base);
        }
        return Ok(());
    };
    match step {
        Step::Name(name) => {
            let next = base.join(name);
            if next.symlink_metadata().is_ok() {
                walk(next, rest, paths)?;
            }
        }
        Step::Like(pattern) => {
            for (next, name) in entries(&base)? {
                if pattern.matches_with(&name, LIKE_A_SHELL) {
                    walk(next, rest, paths)?;
                }
            }
        }
        Step::Deeper => {
            for (next, name) in entries(&base)? {
                if !name.starts_with('.') && next.is_dir() {
                    walk(next, steps, paths)?;
                }
            }
            walk(base, rest, paths)?;
        }
    }
    Ok(())
}

/// What is in a directory, each with its own name, and nothing if it is none.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let failed = |error| Error::io(here.display().to_string())(error);
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::NotFound) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let entry = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.map_err(failed)?.file_name();
        Ok((directory.join(&name), name.to_string_lossy().into_owned()))
    };
    entries.map(entry).collect()
}

/// A path with slashes and without `.`, so that one file has one name under one directory.
fn name(path: &Path) -> Result<String, Error> {
    let mut name = String::new();
    for component in path.components() {
        let part = match component {
            Component::CurDir => continue,
            Component::RootDir => {
                name.push('/');
                continue;
            }
            part => part.as_os_str().to_str(),
        };
        let part = part
            .ok_or_else(|| Error::Configuration(format!("the path \"{}\" is not UTF-8", path.display())))?;
        if !name.is_empty() && !name.ends_with('/') {
            name.push('/');
        }
        name.push_str(part);
    }
    Ok(name)
}

/// Checks that `pattern` can be the path of a file or a pattern of paths.
///
/// # Errors
///
/// What is wrong with it, without showing it.
pub fn check(pattern: &str) -> Result<(), String> {
    match Pattern::new(pattern) {
        _ if Path::new(pattern).is_file() => Ok(()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("is not a pattern of paths: {error}")),
    }
}

/// The pattern that means the file at `path` and no other one.
pub fn literal(path: &str) -> String {
    Pattern::escape(path)
}

/// Whether a source of `pattern` reads the file at `path`, or would if it were there.
pub fn reads(pattern: &str, path: &Path) -> bool {
    if Path::new(pattern).is_file() {
        return identity(Path::new(pattern)) == identity(path);
    }
    let own = identity(path);
    // A link that matches may lead to the file, wherever it is.
    if matches(pattern).unwrap_or_default().iter().any(|found| identity(Path::new(found)) == own) {
        return true;
    }
    // A file that is not there yet would be found by the next run.
    let fits = |pattern: &Path, path: &Path| {
        let pattern = pattern.to_str().and_then(|pattern| Pattern::new(pattern).ok());
        pattern.is_some_and(|pattern| pattern.matches_path_with(path, LIKE_A_SHELL))
    };
    fits(&lexical(Path::new(pattern)), &lexical(path)) || fits(&identity(Path::new(pattern)), &own)
}

/// What a file is called by every path that leads to it: without links, as far as its folders are there.
pub fn identity(path: &Path) -> PathBuf {
    if let Ok(canonical) = path.canonicalize() {
        return canonical;
    }
    // The last links may lead to a file that is not there.
    let target = path.read_link().ok().map(|target| match path.parent() {
        Some(parent) => parent.join(target),
        None => target,
    });
    if let Some(target) = target.filter(|target| target != path && !target.is_symlink()) {
        return identity(&target);
    }
    let whole = lexical(path);
    let mut missing: Vec<OsString> = Vec::new();
    for folder in whole.ancestors() {
        if let Ok(canonical) = folder.canonicalize() {
            return missing.iter().rev().fold(canonical, |path, name| path.join(name));
        }
        missing.extend(folder.file_name().map(OsString::from));
    }
    whole
}

/// The path from the root on, without `.` and `..`.
fn lexical(path: &Path) -> PathBuf {
    let mut whole = std::env::current_dir().unwrap_or_default();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            component => whole.push(component),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_path_to_a_file_has_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("d")).unwrap();
        std::fs::write(root.join("d/there"), "").unwrap();
        symlink(root.join("d"), root.join("folder")).unwrap();
        symlink("d/there", root.join("link")).unwrap();
        symlink("d/new", root.join("dangling")).unwrap();
        for (left, right) in [
            ("d/there", "link"),
            ("d/there", "folder/./there"),
            ("d/new", "folder/../d/new"),
            ("d/new", "dangling"),
            ("nowhere/a", "nowhere/b/../a"),
        ] {
            assert_eq!(identity(&root.join(left)), identity(&root.join(right)), "{left} {right}");
        }
        assert_ne!(identity(&root.join("d/there")), identity(&root.join("d/new")));
        assert_eq!(identity(Path::new("Cargo.toml")), identity(Path::new("./src/../Cargo.toml")));
    }

    #[test]
    fn a_pattern_reads_what_it_matches_now_or_later() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_str().unwrap();
        std::fs::write(format!("{root}/a.csv"), "").unwrap();
        symlink("target", format!("{root}/link.csv")).unwrap();
        std::fs::write(format!("{root}/target"), "").unwrap();
        for (pattern, path, expected) in [
            ("a.csv", "a.csv", true),
            ("a.csv", "./a.csv", true),
            ("*.csv", "a.csv", true),
            ("*.csv", "target", true),
            ("*.csv", "new.csv", true),
            ("./*.csv", "new.csv", true),
            ("new.csv", "new.csv", true),
            ("*.csv", "new.jsonl", false),
            ("*.csv", "sub/new.csv", false),
            ("**/*.csv", "sub/new.csv", true),
            ("*.csv", ".hidden.csv", false),
        ] {
            let found = reads(&format!("{root}/{pattern}"), &Path::new(root).join(path));
            assert_eq!(expected, found, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_without_being_shown() {
        assert_eq!(Ok(()), check("a/**/[ab]?.csv"));
        assert_eq!(Ok(()), check(&literal("sr[c")));
        let error = check("sr[c").unwrap_err();
        assert!(error.starts_with("is not a pattern of paths: ") && !error.contains("sr["), "{error}");
    }
}
