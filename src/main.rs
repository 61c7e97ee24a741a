//! The `tidewatch` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidewatch::cli::main(tidewatch::registry::Registry::default())
}
