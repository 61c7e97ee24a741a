//! Which files a pattern of paths means.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::Error;

/// As in a shell, only a literal dot matches one at the start of a name.
const LIKE_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

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
