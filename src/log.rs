//! What is said on standard error: events, in colours on a terminal, and texts.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

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

/// Writes a text to standard error, if somebody takes it.
pub(crate) fn complain(text: &dyn Display) {
    // In one piece, so that nothing of another process comes between.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
