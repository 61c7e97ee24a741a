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
    /// An entry of a table names something that is not there.
    #[error("unknown {what} \"{found}\" in \"{}\"", table_of(path))]
    UnknownEntry {
        /// The parameter and the entry, as in `members.ewma-z`.
        path: String,
        /// What it should name, as in `detector`.
        what: &'static str,
        /// What it names.
        found: String,
        /// What it could name.
        possible: Vec<&'static str>,
    },
    /// An entry of a table is wrong.
    #[error("\"{path}\" {reason}")]
    Entry {
        /// The parameter and the entry, as in `members.ewma-z.alpha`.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The path of the table that an entry is in.
fn table_of(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(table, _)| table)
}

impl ParamError {
    /// The parameter that is wrong.
    pub fn name(&self) -> &str {
        match self {
            Self::Unknown { name } => name,
            Self::Missing { name, .. } | Self::Refused { name, .. } | Self::Conflict { name, .. } => name,
            Self::UnknownEntry { path, .. } | Self::Entry { path, .. } => {
                path.split_once('.').map_or(path, |(name, _)| name)
            }
        }
    }

    /// The same of a parameter that a table at `path` gives beside those of other owners; `declared` are the names that it
    /// can give.
    pub(crate) fn within(self, path: &str, declared: impl Iterator<Item = &'static str>) -> Self {
        match self {
            Self::Unknown { name } => Self::UnknownEntry {
                path: format!("{path}.{name}"),
                what: "parameter",
                found: name,
                possible: declared.collect(),
            },
            Self::Missing { name, doc } => {
                Self::Entry { path: path.to_owned(), reason: format!("lacks \"{name}\": {doc}") }
            }
            Self::Refused { name, expected, found } => {
                // All entries of a table are texts; a number is shown as one.
                let bare = found.trim_matches('"');
                let found = if bare.parse::<f64>().is_ok() { bare } else { &found };
                Self::Entry {
                    path: format!("{path}.{name}"),
                    reason: format!("takes {expected}, not {found}"),
                }
            }
            Self::Conflict { name, reason } => Self::Entry { path: format!("{path}.{name}"), reason },
            entry => entry,
        }
    }

    /// What is wrong: the parameter, or the entry in its table.
    pub fn path(&self) -> &str {
        match self {
            Self::UnknownEntry { path, .. } | Self::Entry { path, .. } => path,
            error => error.name(),
        }
    }
}
