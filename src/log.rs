//! Where events go: to standard error, in colours on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

/// Writes events up to `level`, unless the program has said already where they go.
pub(crate) fn start(level: LevelFilter) {
    let is_terminal = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(is_terminal);
    // Neither a standard error that is full nor one that is closed is a reason to fail.
    let subscriber = subscriber.with_writer(std::io::stderr).log_internal_errors(false);
    // The other one is as good.
    let _ = subscriber.try_init();
}
