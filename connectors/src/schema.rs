//! The names of what records carry.

/// Names of key parts and values; the same for every source of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The names of a key's parts: key fields, then labels.
    pub key: Vec<String>,
    /// The names of the values of a record.
    pub values: Vec<String>,
}

impl Schema {
    /// A schema with these key parts and values.
    pub fn new<K: Into<String>, V: Into<String>>(
        key: impl IntoIterator<Item = K>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self {
            key: key.into_iter().map(Into::into).collect(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }

    /// The index of the value of this name.
    pub fn value(&self, name: &str) -> Option<usize> {
        self.values.iter().position(|value| value == name)
    }
}
