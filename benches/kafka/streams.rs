//! The job on Kafka Streams.

use std::path::Path;
use std::process::Command;

use super::broker::{libraries, skip, Broker};
use super::ewma::{ALPHA, THRESHOLD, WARMUP};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/streams");
const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/kafka-streams-4.1.0");

/// What it says once it reads.
pub(crate) const READY: &str = "ready";

/// Where its libraries are; `None`, said loudly, if they cannot be had.
pub(crate) fn class_path() -> Option<String> {
    let found = libraries(&format!("{FOLDER}/pom.xml"), KEPT);
    found.map_err(|why| skip("the job on Kafka Streams", &why)).ok()
}

/// A command that runs it under a name, from one topic to another, which are there.
pub(crate) fn command(
    class_path: &str,
    broker: &Broker,
    folder: &Path,
    name: &str,
    input: &str,
    output: &str,
) -> Command {
    let mut command = Command::new("java");
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "--class-path", class_path]);
    // The source itself, which is compiled before it starts.
    command.arg(format!("{FOLDER}/Anomalies.java"));
    command.args([&broker.address, input, output, name]).arg(folder.join(format!("{name}.streams")));
    command.args([ALPHA.to_string(), THRESHOLD.to_string(), WARMUP.to_string()]);
    command
}
