//! Parameters and options against their declarations.

use std::collections::BTreeMap;

use tidewatch_connectors::Error as ConnectorError;
use tidewatch_dataflows::params::{ParamError, Parameter, Params};

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

/// Checked parameters, with what a later mistake in them needs to be reported.
pub(super) struct Given {
    pub(super) params: Params,
    places: BTreeMap<String, usize>,
    at: usize,
    secret: bool,
}

impl Owner<'_> {
    /// Checks the table, or its absence; `header` is where a missing table is missed.
    pub(super) fn read(&self, reader: &Reader<'_>, table: Option<Item<'_>>, header: usize) -> Checked<Given> {
        let (mut given, mut places, mut secret) = (Vec::new(), BTreeMap::new(), false);
        let at = table.as_ref().map_or(header, Item::at);
        let mut result = Ok(());
        for (name, item) in self.entries(table)? {
            places.insert(name.to_owned(), item.at());
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

impl Given {
    /// Where the value of an option is, or the table that lacks it.
    pub(super) fn place(&self, name: &str) -> usize {
        self.places.get(name).copied().unwrap_or(self.at)
    }

    /// Reports what a connector has against its options.
    pub(super) fn refused(&self, reader: &Reader<'_>, error: &ConnectorError) -> Reported {
        match error {
            ConnectorError::Parameter(error) => self.conflict(reader, error),
            _ if self.secret => reader.fault(
                self.at,
                "the connector refuses its options; the reason is not shown, as it could tell what the environment holds",
            ),
            error => reader.fault(self.at, error.to_string()),
        }
    }

    /// Reports what the owner has against these parameters together.
    pub(super) fn conflict(&self, reader: &Reader<'_>, error: &ParamError) -> Reported {
        let at = self.place(error.name());
        // The owner words the reason and may quote any of the values.
        let message = match self.secret {
            true => format!(
                "{:?} does not go with the others; the reason is not shown, as it could tell what the environment holds",
                error.name()
            ),
            false => error.to_string(),
        };
        reader.fault(at, message)
    }
}
