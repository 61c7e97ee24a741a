//! What a broker needs on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

const POM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/broker/pom.xml");
/// Where the broker's libraries are kept, so that they are fetched once.
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kafka-4.1.0");

/// The class path of a broker; or why there can be none.
pub(crate) fn class_path() -> Result<String, &'static str> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(class_path) => Ok(class_path.clone()),
        Err(why) => Err(why),
    }
}

fn find() -> Result<String, String> {
    match java_version() {
        None => return Err("there is no java (17 or later is needed)".to_owned()),
        Some(version) if version < 17 => {
            return Err(format!("java is of version {version}, not 17 or later"))
        }
        Some(_) => {}
    }
    libraries(POM, KEPT)
}

/// The class path of the libraries that a file of Maven names, which are kept in a folder, so that they are fetched once; or
/// why there can be none.
pub(crate) fn libraries(pom: &str, kept: &str) -> Result<String, String> {
    if !Path::new(kept).exists() {
        fetch(pom, Path::new(kept))?;
    }
    Ok(format!("{kept}/*"))
}

/// The number before the first dot, which is the whole version since Java 9.
fn java_version() -> Option<u32> {
    let said = Command::new("java").arg("-version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let version = said.split('"').nth(1)?;
    version.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// Copies the libraries to `kept`, from Maven's own store if it has them all. They appear there all at once, since other
/// tests may do the same.
fn fetch(pom: &str, kept: &Path) -> Result<(), String> {
    let place = PathBuf::from(format!("{}.{}", kept.display(), std::process::id()));
    let copy = |offline: &[&str]| {
        let mut maven = Command::new("mvn");
        maven.args(["--quiet", "--batch-mode"]).args(offline).args([
            "--file",
            pom,
            "dependency:copy-dependencies",
        ]);
        maven.args(["-DincludeScope=runtime", &format!("-DoutputDirectory={}", place.display())]);
        maven.output().map_err(|error| format!("there is no Maven (mvn): {error}"))
    };
    let mut said = copy(&["--offline"])?;
    if !said.status.success() {
        said = copy(&[])?;
    }
    if !said.status.success() {
        return Err(format!("Maven cannot fetch it: {}", String::from_utf8_lossy(&said.stdout)));
    }
    // Another process may have been faster.
    let moved = fs::rename(&place, kept);
    if moved.is_err() {
        let _ = fs::remove_dir_all(&place);
    }
    match kept.exists() {
        true => Ok(()),
        false => Err(format!("{}: {}", kept.display(), moved.expect_err("it is not there"))),
    }
}

/// Says that a test, or a part of a bench, is skipped and why, past what captures the output of tests; fails it where everything
/// must be tested.
pub(crate) fn skip(what: &str, why: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or("of a bench");
    assert!(env::var_os("CI").is_none(), "CI must have what everything needs: {what}: {why}");
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {what}: {why} ***\n");
}
