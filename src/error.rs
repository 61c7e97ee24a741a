//! What can go wrong in tidewatch as a whole.

use std::fmt;
use std::io;

use tidewatch_dataflows::params::ParamError;

use crate::config;

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
    /// Parameters that do not go together.
    #[error(transparent)]
    Parameter(#[from] ParamError),
    /// The run was interrupted; what was final has been written.
    #[error("interrupted")]
    Interrupted,
    /// A recording was damaged; what came before the damages was replayed. One line per damage.
    #[error("{0}")]
    Damaged(String),
    /// Something that cannot happen, did.
    #[error("internal error: {0}")]
    Internal(String),
    /// The command line asks for something that cannot be done.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code of a program that fails with it: 1 for a failed run, 2 for usage or configuration, 130 if
    /// interrupted.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config(_) | Self::Usage(_) | Self::Parameter(_) => 2,
            Self::Connector(tidewatch_connectors::Error::Configuration(_)) => 2,
            Self::Interrupted => 130,
            Self::Io { .. } | Self::Connector(_) | Self::Damaged(_) | Self::Internal(_) => 1,
        }
    }

    /// Whether whoever read standard output has gone, as `head` does.
    pub fn is_broken_pipe(&self) -> bool {
        let source = match self {
            Self::Io { source, .. } => source,
            Self::Connector(tidewatch_connectors::Error::Io { source, .. }) => source,
            _ => return false,
        };
        source.kind() == io::ErrorKind::BrokenPipe
    }

    /// Nothing of this kind has this name.
    pub(crate) fn unknown(kind: &str, name: &str) -> Self {
        Self::Usage(format!("unknown {kind} \"{name}\""))
    }

    /// Nothing of this kind has this name, but something may have a similar one.
    pub(crate) fn unknown_of<'a>(
        kind: &str,
        name: &str,
        possible: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::Usage(format!("unknown {kind} \"{name}\"{}", config::advice(name, possible)))
    }
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
