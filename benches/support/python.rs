//! A Python with packages that a bench is compared with.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The Python that has what a file of requirements names, in a folder that is kept; packages are fetched when they are first asked
/// for.
pub(crate) fn python(kept: &str, requirements: &str) -> Result<String, String> {
    let python = format!("{kept}/bin/python");
    // The last thing to be there.
    let done = format!("{kept}/done");
    if !Path::new(&done).exists() {
        succeed("python3", Command::new("python3").args(["-m", "venv", "--clear", kept]))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--requirement", requirements]);
        succeed("pip", &mut pip)?;
        fs::write(&done, "").map_err(|error| format!("{done}: {error}"))?;
    }
    Ok(python)
}

/// Runs a command, and says why if it fails.
pub(crate) fn succeed(name: &str, command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("there is no {name}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
