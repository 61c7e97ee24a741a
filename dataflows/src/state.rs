//! How state becomes bytes and returns, and how it is arranged.

mod changes;
pub(crate) mod told;
mod version;

use serde::de::DeserializeOwned;
use serde::Serialize;

pub use changes::{Change, Changes};
pub use told::Part;
pub use version::{States, StatesBuilder, Version};

/// Bytes that are not a state of the logic that should read them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes end early or do not have the expected shape.
    #[error("state of {what} cannot be read")]
    Malformed {
        /// Whose state it should be.
        what: String,
        /// Why it is not.
        #[source]
        source: postcard::Error,
    },
    /// The state was written by another version of the logic.
    #[error("state of {what} has version {found}, but this build reads version {expected}")]
    Version {
        /// Whose state it is.
        what: String,
        /// The version of this build.
        expected: u32,
        /// The version in the bytes.
        found: u32,
    },
    /// The bytes go on behind the state.
    #[error("bytes are left behind what a state is here: {bytes}")]
    Left {
        /// How many are left.
        bytes: usize,
    },
}

/// Appends `state` to `out`.
pub fn save<S: Serialize>(state: &S, out: &mut Vec<u8>) {
    let bytes = postcard::to_stdvec(state).expect("a state holds nothing unserialisable");
    out.extend_from_slice(&bytes);
}

/// Appends `state` to `out`, with the version of what it is like.
pub fn save_versioned<S: Serialize>(version: u32, state: &S, out: &mut Vec<u8>) {
    save(&version, out);
    save(state, out);
}

/// Reads what [`save`] wrote, and moves `bytes` past it.
///
/// # Errors
///
/// [`StateError::Malformed`] if the bytes are not a `S`; `what` names it.
pub fn restore<S: DeserializeOwned + Serialize>(what: &str, bytes: &mut &[u8]) -> Result<S, StateError> {
    let state = read(what, bytes)?;
    told::tell(what, None, &state);
    Ok(state)
}

/// Reads what [`save_versioned`] wrote, and moves `bytes` past it.
///
/// # Errors
///
/// [`StateError::Version`] if it is of another version; as [`restore`].
pub fn restore_versioned<S: DeserializeOwned + Serialize>(
    what: &str,
    version: u32,
    bytes: &mut &[u8],
) -> Result<S, StateError> {
    let found = read(what, bytes)?;
    if found != version {
        return Err(StateError::Version { what: what.to_owned(), expected: version, found });
    }
    let state = read(what, bytes)?;
    told::tell(what, Some(version), &state);
    Ok(state)
}

fn read<S: DeserializeOwned>(what: &str, bytes: &mut &[u8]) -> Result<S, StateError> {
    let (state, rest) = postcard::take_from_bytes(bytes)
        .map_err(|source| StateError::Malformed { what: what.to_owned(), source })?;
    *bytes = rest;
    Ok(state)
}
