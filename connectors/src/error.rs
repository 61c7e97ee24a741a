//! What can go wrong at the edges of a dataflow.

use std::io;

use tidewatch_dataflows::params::ParamError;

/// Why a source, a sink or the ingest of a record failed for good.
///
/// A malformed record is never one of these: it is a dead letter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or stream could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// The file, with its path, or the stream.
        what: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The configuration asks for something impossible.
    #[error("{0}")]
    Configuration(String),
    /// Options that a source or sink cannot take.
    #[error(transparent)]
    Parameter(#[from] ParamError),
}

impl Error {
    /// Says which file or stream an I/O error concerns.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
