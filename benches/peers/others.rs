//! Flink and Bytewax, whose libraries are fetched when they are asked for.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::{System, INPUT};
use crate::kafka::broker::{libraries, skip, Broker};
use crate::kafka::ewma::{ALPHA, THRESHOLD, WARMUP};
use crate::support::python::{python, succeed};

const FLINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/flink");
const FLINK_KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/flink-1.20.3");
const BYTEWAX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/bytewax");
const BYTEWAX_KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/bytewax-0.21.1");
/// What each of them says when it starts.
const READY: &str = "ready";

/// Those that can be run here; what is missing for the others is said loudly.
pub(crate) fn systems<'a>(broker: &'a Broker, folder: &'a TempDir) -> Vec<System<'a>> {
    let mut systems = Vec::new();
    match flink() {
        Ok(class_path) => {
            let command = move |output: &str| {
                let mut command = Command::new("java");
                command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
                // What Flink needs of Java 17 (its configuration, env.java.opts.all).
                command.arg("--add-opens=java.base/java.util=ALL-UNNAMED");
                command.arg("--add-opens=java.base/java.lang=ALL-UNNAMED");
                command.args(["--class-path", &class_path, "FlinkAnomalies", &broker.address, INPUT, output]);
                command.arg(folder.path().join(format!("{output}.flink"))).args(detector());
                command
            };
            systems.push(System { name: "Flink", ready: READY, command: Box::new(command) });
        }
        Err(why) => skip("the job on Flink", &why),
    }
    match python(BYTEWAX_KEPT, &format!("{BYTEWAX}/requirements.txt")) {
        Ok(python) => {
            let command = move |output: &str| {
                let mut command = Command::new(&python);
                command.arg(format!("{BYTEWAX}/anomalies.py")).args([&broker.address, INPUT, output]);
                command.args(detector());
                command
            };
            systems.push(System { name: "Bytewax", ready: READY, command: Box::new(command) });
        }
        Err(why) => skip("the job on Bytewax", &why),
    }
    systems
}

fn detector() -> [String; 3] {
    [ALPHA.to_string(), THRESHOLD.to_string(), WARMUP.to_string()]
}

/// The class path of the job on Flink, which is compiled: Flink looks for its classes where the others are.
fn flink() -> Result<String, String> {
    let class_path = libraries(&format!("{FLINK}/pom.xml"), FLINK_KEPT)?;
    let compiled = format!("{FLINK_KEPT}.job");
    fs::create_dir_all(&compiled).map_err(|error| format!("{compiled}: {error}"))?;
    let mut javac = Command::new("javac");
    javac.args(["--class-path", &class_path, "-d", &compiled]).arg(format!("{FLINK}/FlinkAnomalies.java"));
    succeed("javac", &mut javac)?;
    Ok(format!("{compiled}:{class_path}"))
}
