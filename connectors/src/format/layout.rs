//! What the fields of a record mean.

use super::TimeFormat;
use crate::{Error, Schema};

/// The names that stand for something the source knows beside the payload; and what a name of a header starts with.
const PROVIDED: [&str; 4] = ["@partition", "@file", "@topic", "@key"];
const HEADER: &str = "@header.";

/// What a provided part of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provided<'a> {
    /// The name of the partition.
    Partition,
    /// The name of the partition up to its last slash.
    Topic,
    /// The key of the message.
    Key,
    /// A header of the message.
    Header(&'a str),
}

/// What happens to a record with a value that is missing or not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// The record is malformed.
    #[default]
    Reject,
    /// The value is NaN, which stands for a missing value everywhere.
    Keep,
}

/// The field with the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField {
    /// Its name.
    pub field: String,
    /// How the time is written.
    pub parse: TimeFormat,
}

/// What the fields of a record mean, in any format with named fields.
///
/// A part of the key may be `@partition` or `@file`, which is the name of the partition; of a broker's messages also
/// `@topic`, `@key`, the bytes of the message's key as text, and `@header.NAME`, as text too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The field with the time; `timestamp` in RFC 3339 unless something else is said.
    pub time: TimeField,
    /// The fields that make up the key; if there are none, `@partition`.
    pub key: Vec<String>,
    /// Further fields that belong to the key.
    pub labels: Vec<String>,
    /// The fields with the values; if there are none, `value`.
    pub values: Vec<String>,
    /// What happens to a value that is absent, empty or null.
    pub missing: Missing,
    /// What happens to a value that is infinite, or not a number by its own account.
    pub non_finite: Missing,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            time: TimeField { field: "timestamp".to_owned(), parse: TimeFormat::default() },
            key: Vec::new(),
            labels: Vec::new(),
            values: Vec::new(),
            missing: Missing::default(),
            non_finite: Missing::default(),
        }
    }
}

impl Layout {
    /// The names of key parts and values; those of provided parts without the `@`.
    pub fn schema(&self) -> Schema {
        let name = |part: &'_ str| part.strip_prefix('@').unwrap_or(part).to_owned();
        Schema::new(self.key_parts().map(name), self.values())
    }

    /// Finds what cannot work whatever the records are.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if something is provided under another name, or a name is given twice.
    pub fn check(&self) -> Result<(), Error> {
        let unknown = self.key_parts().find(|part| part.starts_with('@') && provided(part).is_none());
        if let Some(part) = unknown {
            let provided = PROVIDED.map(|name| format!("\"{name}\"")).join(", ");
            return Err(Error::Configuration(format!(
                "no source provides \"{part}\", only {provided}, \"{HEADER}NAME\""
            )));
        }
        let schema = self.schema();
        for (what, names) in [("a key part", &schema.key), ("a value", &schema.values)] {
            let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
            if let Some((_, name)) = twice {
                return Err(Error::Configuration(format!("\"{name}\" is {what} twice")));
            }
        }
        Ok(())
    }

    /// The key's parts in order: key fields, then labels.
    pub(super) fn key_parts(&self) -> impl Iterator<Item = &str> {
        let otherwise = self.key.is_empty().then_some(PROVIDED[0]);
        otherwise.into_iter().chain(self.key.iter().chain(&self.labels).map(String::as_str))
    }

    /// The fields with the values, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        let otherwise = self.values.is_empty().then_some("value");
        otherwise.into_iter().chain(self.values.iter().map(String::as_str))
    }
}

/// What the source provides under this name, if it is no field of the record.
pub(super) fn provided(part: &str) -> Option<Provided<'_>> {
    match part {
        "@partition" | "@file" => Some(Provided::Partition),
        "@topic" => Some(Provided::Topic),
        "@key" => Some(Provided::Key),
        _ => part.strip_prefix(HEADER).filter(|name| !name.is_empty()).map(Provided::Header),
    }
}

/// The builder methods that formats with a `layout` share.
macro_rules! layout_methods {
    ($format:ident) => {
        impl $format {
            /// Reads the time from this field.
            #[must_use]
            pub fn time(mut self, field: impl Into<String>) -> Self {
                self.layout.time.field = field.into();
                self
            }

            /// Reads times written like this.
            #[must_use]
            pub fn time_format(mut self, format: crate::format::TimeFormat) -> Self {
                self.layout.time.parse = format;
                self
            }

            /// Makes the key of these fields, in this order.
            #[must_use]
            pub fn key<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
                self.layout.key = fields.into_iter().map(Into::into).collect();
                self
            }

            /// Adds these fields to the end of the key.
            #[must_use]
            pub fn labels<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
                self.layout.labels = fields.into_iter().map(Into::into).collect();
                self
            }

            /// Reads one more value, from this field.
            #[must_use]
            pub fn value(mut self, field: impl Into<String>) -> Self {
                self.layout.values.push(field.into());
                self
            }

            /// Reads the values from these fields and no others, in this order.
            #[must_use]
            pub fn values<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
                self.layout.values = fields.into_iter().map(Into::into).collect();
                self
            }

            /// Says what happens to values that are absent, empty or null.
            #[must_use]
            pub fn missing(mut self, missing: crate::format::Missing) -> Self {
                self.layout.missing = missing;
                self
            }

            /// Says what happens to values that are not finite.
            #[must_use]
            pub fn non_finite(mut self, non_finite: crate::format::Missing) -> Self {
                self.layout.non_finite = non_finite;
                self
            }

            /// Says at once what the fields mean.
            #[must_use]
            pub fn layout(mut self, layout: crate::format::Layout) -> Self {
                self.layout = layout;
                self
            }
        }
    };
}

pub(super) use layout_methods;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_the_key_when_nothing_else_is() {
        assert_eq!(Schema::new(["partition"], ["value"]), Layout::default().schema());
        let labelled = Layout { labels: vec!["region".to_owned()], ..Layout::default() };
        assert_eq!(Schema::new(["partition", "region"], ["value"]), labelled.schema());
    }

    #[test]
    fn provided_names_lose_their_mark_and_unknown_ones_are_refused() {
        let keyed = |parts: &[&str]| Layout {
            key: parts.iter().map(|part| (*part).to_owned()).collect(),
            ..Layout::default()
        };
        assert_eq!(Schema::new(["file", "host"], ["value"]), keyed(&["@file", "host"]).schema());
        let error = keyed(&["@host"]).check().unwrap_err().to_string();
        assert_eq!("no source provides \"@host\", only \"@partition\", \"@file\", \"@topic\", \"@key\", \"@header.NAME\"", error);
        assert_eq!("\"a\" is a key part twice", keyed(&["a", "a"]).check().unwrap_err().to_string());
    }
}
