//! Parameters and options against their declarations.

use std::collections::BTreeMap;

use tidewatch_connectors::Error as ConnectorError;
use tidewatch_dataflows::params::{ParamError, Parameter, Params};
use toml::de::DeValue;

use super::item::Item;
use super::near::advice;
use super::reader::{Checked, Reader, Reported};

/// Whose parameters they are, for messages.
pub(super) struct Owner<'a> {
    /// As in `detector "ewma-z"`.
    pub(super) name: String,
    /// What one of them is called: a parameter or an option.
    pub(super) word: &'static str,
    pub(super) declared: &'a [Parameter],
}

/// Where the keys and the values of parameters are, and of the entries of those that are tables, by their paths.
type Places = BTreeMap<String, (usize, usize)>;

/// Checked parameters, with what a later mistake in them needs to be reported.
pub(super) struct Given {
    pub(super) params: Params,
    places: Places,
    at: usize,
    secret: bool,
}

impl Owner<'_> {
    /// Checks the table, or its absence; `header` is where a missing table is missed.
    pub(super) fn read(&self, reader: &Reader<'_>, table: Option<Item<'_>>, header: usize) -> Checked<Given> {
        let (mut given, mut places, mut secret) = (Vec::new(), Places::new(), false);
        let at = table.as_ref().map_or(header, Item::at);
        let mut result = Ok(());
        for (name, item) in self.entries(table)? {
            note(name.to_owned(), &item, &mut places);
            let checked = match self.declared.iter().find(|parameter| parameter.name == name) {
                Some(parameter) => item.check(parameter),
                None => {
                    let advice = advice(name, self.declared.iter().map(|parameter| parameter.name));
                    let Self { name: owner, word, .. } = self;
                    Err(reader.fault(item.key_at(), format!("unknown {word} {name:?} of {owner}{advice}")))
                }
            };
            match checked {
                Ok((raw, _)) => {
                    secret |= raw.secret;
                    given.push((name.to_owned(), raw.given));
                }
                Err(reported) => result = Err(reported),
            }
        }
        let missing =
            |parameter: &&Parameter| parameter.is_required() && !places.contains_key(parameter.name);
        for parameter in self.declared.iter().filter(missing) {
            let Parameter { name, doc, .. } = parameter;
            result = Err(reader.fault(at, format!("missing {} {name:?} of {}: {doc}", self.word, self.name)));
        }
        result?;
        match Params::check(self.declared, given) {
            Ok(params) => Ok(Given { params, places, at, secret }),
            Err(error) => Err(reader.fault(at, error.to_string())),
        }
    }

    fn entries<'a>(&self, table: Option<Item<'a>>) -> Checked<Vec<(&'a str, Item<'a>)>> {
        table.map_or(Ok(Vec::new()), |table| table.entries())
    }
}

/// Notes where an item is, and the entries that it has if it is a table.
fn note(path: String, item: &Item<'_>, places: &mut Places) {
    if let DeValue::Table(_) = item.value() {
        for (name, entry) in item.entries().into_iter().flatten() {
            note(format!("{path}.{name}"), &entry, places);
        }
    }
    places.insert(path, (item.key_at(), item.at()));
}

impl Given {
    /// Where the value of an option is, or the table that lacks it.
    pub(super) fn place(&self, name: &str) -> usize {
        self.keyed(name).1
    }

    /// Where the key and the value of an option or entry are, or the table that lacks it.
    fn keyed(&self, path: &str) -> (usize, usize) {
        match (self.places.get(path), path.rsplit_once('.')) {
            (Some(place), _) => *place,
            (None, Some((table, _))) => self.keyed(table),
            (None, None) => (self.at, self.at),
        }
    }

    /// Reports what a connector has against its options.
    pub(super) fn refused(&self, reader: &Reader<'_>, error: &ConnectorError) -> Reported {
        match error {
            ConnectorError::Parameter(error) => self.conflict(reader, error),
            ConnectorError::Unbuilt { .. } => reader.fault(self.at, error.to_string()),
            _ if self.secret => reader.fault(
                self.at,
                "the connector refuses its options; the reason is not shown, as it could tell what the environment holds",
            ),
            error => reader.fault(self.at, error.to_string()),
        }
    }

    /// Reports what the owner has against these parameters together.
    pub(super) fn conflict(&self, reader: &Reader<'_>, error: &ParamError) -> Reported {
        let (key, value) = self.keyed(error.path());
        // The owner words the reason and may quote any of the values.
        if self.secret {
            let message = format!(
                "{:?} does not go with the others; the reason is not shown, as it could tell what the environment holds",
                error.name()
            );
            return reader.fault(value, message);
        }
        match error {
            ParamError::UnknownEntry { found, possible, .. } => {
                reader.fault(key, format!("{error}{}", advice(found, possible.iter().copied())))
            }
            error => reader.fault(value, error.to_string()),
        }
    }
}
