//! Which files a pattern means, asked before any is opened.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// How a shell matches: `*` takes neither hidden files nor folders.
pub(super) const LIKE_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

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

/// Whether a source of `pattern` reads the file at `path`, or would if it were there.
pub fn reads(pattern: &str, path: &Path) -> bool {
    if Path::new(pattern).is_file() {
        return identity(Path::new(pattern)) == identity(path);
    }
    let own = identity(path);
    // A link that matches may lead to the file, wherever it is.
    let found = glob::glob_with(pattern, LIKE_A_SHELL).into_iter().flatten().flatten();
    if found.into_iter().any(|found| identity(&found) == own) {
        return true;
    }
    // A file that is not there yet would be found by the next run.
    let matches = |pattern: &Path, path: &Path| {
        let pattern = pattern.to_str().and_then(|pattern| Pattern::new(pattern).ok());
        pattern.is_some_and(|pattern| pattern.matches_path_with(path, LIKE_A_SHELL))
    };
    matches(&lexical(Path::new(pattern)), &lexical(path)) || matches(&identity(Path::new(pattern)), &own)
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
        let error = check("sr[c").unwrap_err();
        assert!(error.starts_with("is not a pattern of paths: ") && !error.contains("sr["), "{error}");
    }
}
