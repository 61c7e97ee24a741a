//! What can go wrong in tidewatch as a whole.

use std::fmt;
use std::io;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pipeline file says something that cannot be done; one line per mistake, in the order of the file.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// The file, with its path.
        what: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A source or a sink failed.
    #[error(transparent)]
    Connector(#[from] tidewatch_connectors::Error),
    /// The command line asks for something that cannot be done.
    #[error("{0}")]
    Usage(String),
}

/// One mistake in a pipeline file, as in `nab.toml:12:12: unknown detector "emwa-z"; did you mean "ewma-z"?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// The line, counted from one.
    pub line: usize,
    /// The column in characters, counted from one.
    pub column: usize,
    /// What is wrong, and what would be right, in one line. Never shows what an environment variable holds.
    pub message: String,
}

fn lines(errors: &[ConfigError]) -> impl fmt::Display {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
