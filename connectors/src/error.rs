//! What can go wrong at the edges of a dataflow.

use std::io;

use tidewatch_dataflows::params::ParamError;
use tidewatch_dataflows::EventTime;

use crate::store::Epoch;

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
    /// A broker, or what is read there, cannot be used; the text names it.
    #[error("{0}")]
    Broker(String),
    /// The configuration asks for something impossible.
    #[error("{0}")]
    Configuration(String),
    /// The configuration asks for what this program cannot do as it was built; that tells nothing that may be secret.
    #[error("{what} needs the feature \"{feature}\", without which this program was built")]
    Unbuilt {
        /// What asks for it.
        what: String,
        /// The feature that is missing.
        feature: &'static str,
    },
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
    /// A store could not do what it was asked to; it may have been done all the same.
    #[error("cannot {operation} {object}: {source}{}", remedy(source))]
    Store {
        /// What it was asked to do: `write`, `read`, `list` or `delete`.
        operation: &'static str,
        /// The object, or the beginning of the names, with the store.
        object: String,
        /// What the file system or the service said.
        #[source]
        source: io::Error,
    },
    /// Something that was stored is not what was written.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// The object, with the store.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The run was interrupted before it had begun to read.
    #[error("interrupted")]
    Interrupted,
    /// Another run of the job has started, so this one may write nothing any more.
    #[error(
        "another run of this job has started (epoch {epoch}), so this one stops: let only one run at a time"
    )]
    Fenced {
        /// The epoch of the other run.
        epoch: Epoch,
    },
    /// What was written and not committed is gone, or it is not known what became of it. A run that starts from the last
    /// checkpoint finds out, and goes on.
    #[error(
        "the transaction of \"{id}\" was lost: {reason}; start again from the last checkpoint, which finds out what is \
         committed and writes the rest"
    )]
    TransactionLost {
        /// Its transactional id.
        id: String,
        /// Why.
        reason: String,
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

/// What to do about it, if anything can be said.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": make room there, then start again",
        _ => "",
    }
}
