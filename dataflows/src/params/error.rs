//! What can be wrong with parameters.

/// What is wrong with a set of parameters.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamError {
    /// Nobody declared a parameter of this name.
    #[error("unknown parameter \"{name}\"")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A required parameter is missing.
    #[error("missing \"{name}\": {doc}")]
    Missing {
        /// The name.
        name: &'static str,
        /// What it does.
        doc: &'static str,
    },
    /// The value is not what the parameter takes.
    #[error("\"{name}\" takes {expected}, not {found}")]
    Refused {
        /// The name.
        name: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The value is possible, but not together with the others.
    #[error("\"{name}\" {reason}")]
    Conflict {
        /// The name.
        name: &'static str,
        /// Why not.
        reason: String,
    },
}

impl ParamError {
    /// The parameter that is wrong.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name } => name,
            Self::Missing { name, .. } | Self::Refused { name, .. } | Self::Conflict { name, .. } => name,
        }
    }
}
