//! Where events go: to standard error, in colours on a terminal.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

/// Writes events up to `level`, unless the program has said already where they go.
pub(crate) fn start(level: LevelFilter) {
    let is_terminal = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_ansi(is_terminal);
    // The other one is as good.
    let _ = subscriber.with_writer(std::io::stderr).try_init();
}
