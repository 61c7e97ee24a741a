//! What can go wrong at the edges of a dataflow.

use std::io;

use tidewatch_dataflows::params::ParamError;
use tidewatch_dataflows::EventTime;

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
    /// More records wait for the watermark of a partition than may.
    #[error(
        "source \"{source_name}\": partition \"{partition}\" holds event time back at {watermark}, and {bytes} bytes of records \
         wait for it, where no more than {limit} may: lower the source's `lateness`, or raise `ahead` in [limits]"
    )]
    Ahead {
        /// The source.
        source_name: String,
        /// The partition.
        partition: String,
        /// Its watermark.
        watermark: EventTime,
        /// The bytes that wait.
        bytes: u64,
        /// The bytes that may.
        limit: u64,
    },
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
