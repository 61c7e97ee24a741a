//! What can go wrong in tidewatch as a whole.

use std::fmt;
use std::io;

use tidewatch_connectors::stdio::STDOUT;
use tidewatch_connectors::Error as ConnectorError;
use tidewatch_dataflows::params::ParamError;
use tidewatch_dataflows::state::StateError;

use crate::config;

/// The exit code of a run whose place another run of the job has taken.
pub(crate) const TAKEN_OVER: u8 = 4;

/// The exit code of a supervised process that is to be started again, together with all others; nobody else sees it.
pub(crate) const AGAIN: u8 = 5;

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
    Connector(#[from] ConnectorError),
    /// State was kept that cannot be gone on with.
    #[error("{0}; go on with the version that kept it, or start anew with --fresh")]
    State(#[from] StateError),
    /// Parameters that do not go together.
    #[error(transparent)]
    Parameter(#[from] ParamError),
    /// Another process of the cluster has failed.
    #[error("process {process} ({address}): {message}")]
    Peer {
        /// Its number.
        process: usize,
        /// Its address.
        address: String,
        /// Its error.
        message: String,
        /// Its exit code.
        code: u8,
        /// Whether that process has said so where this one would.
        told: bool,
    },
    /// Another process of the cluster has not joined.
    #[error("process {process} ({address}) has not joined within {seconds} s")]
    Absent {
        /// Its number.
        process: usize,
        /// Its address.
        address: String,
        /// How long it had time.
        seconds: u64,
    },
    /// Another run of the job lives.
    #[error("another run of the job lives{holder}: it holds \"{store}\"; stop it, or take its place with --take-over")]
    Alive {
        /// The store of the job.
        store: String,
        /// Who has begun it, if that is known, in words.
        holder: String,
    },
    /// The run was interrupted; what was final has been written.
    #[error("interrupted")]
    Interrupted,
    /// The run has stopped to start again where it stood; its supervisor sees to that.
    #[error("starts again")]
    Again,
    /// A recording was damaged; what came before the damages was replayed. One line per damage that this process is to
    /// tell, if there is one.
    #[error("{0}")]
    Damaged(String),
    /// Something that cannot happen, did.
    #[error("internal error: {0}")]
    Internal(String),
    /// Several things failed, each on its own.
    #[error("{}", lines(.0))]
    Several(Vec<Error>),
    /// The command line asks for something that cannot be done.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// The exit code of a program that fails with it: 1 for a failed run, 2 for usage or configuration, 4 if another run of the
    /// job has taken its place, 130 if interrupted; 0 if whoever read standard output has gone.
    pub fn exit_code(&self) -> i32 {
        match self {
            _ if self.is_broken_pipe() => 0,
            Self::Config(_) | Self::Usage(_) | Self::Parameter(_) | Self::State(_) => 2,
            Self::Connector(error) => exit_code_of(error).into(),
            Self::Several(errors) => errors.iter().map(Self::exit_code).max().unwrap_or(1),
            Self::Interrupted => 130,
            Self::Again => AGAIN.into(),
            Self::Peer { code, .. } => (*code).into(),
            Self::Alive { .. }
            | Self::Io { .. }
            | Self::Absent { .. }
            | Self::Damaged(_)
            | Self::Internal(_) => 1,
        }
    }

    /// Whether whoever read standard output has gone, as `head` does; of no other sink is that harmless.
    pub fn is_broken_pipe(&self) -> bool {
        let (what, source) = match self {
            Self::Peer { code, .. } => return *code == 0,
            Self::Io { what, source } => (what, source),
            Self::Connector(ConnectorError::Io { what, source }) => (what, source),
            _ => return false,
        };
        what == STDOUT && source.kind() == io::ErrorKind::BrokenPipe
    }

    /// Whether another process has said it already, where this one would say it again.
    pub fn is_told(&self) -> bool {
        match self {
            Self::Peer { told, .. } => *told,
            Self::Damaged(lines) => lines.is_empty(),
            Self::Again => true,
            _ => false,
        }
    }

    /// A file that the command line names, the `what`, cannot be read.
    pub(crate) fn unreadable(what: &'static str, path: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Usage(format!("{path}: the {what} cannot be read: {error}"))
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

/// The exit code of a program whose source or sink fails.
pub(crate) fn exit_code_of(error: &tidewatch_connectors::Error) -> u8 {
    match error {
        // Of no other sink is a reader that has gone harmless.
        ConnectorError::Io { what, source }
            if what == STDOUT && source.kind() == io::ErrorKind::BrokenPipe =>
        {
            0
        }
        ConnectorError::Configuration(_) | ConnectorError::Unbuilt { .. } | ConnectorError::Parameter(_) => 2,
        ConnectorError::Fenced { .. } => TAKEN_OVER,
        ConnectorError::Interrupted => 130,
        _ => 1,
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

fn lines(errors: &[impl fmt::Display]) -> impl fmt::Display {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
