//! A cursor over a table with positions.

use toml::de::{DeTable, DeValue};

use super::item::Item;
use super::near::advice;
use super::reader::{Checked, Reader};

/// A table whose keys are taken one by one; those that nobody took are mistakes.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    entries: &'a DeTable<'a>,
    /// How the user calls the table, as in `[[detect]]`.
    place: &'static str,
    /// Where it starts.
    at: usize,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        reader: &'a Reader<'a>,
        entries: &'a DeTable<'a>,
        place: &'static str,
        at: usize,
    ) -> Self {
        Self { reader, entries, place, at, known: Vec::new() }
    }

    /// Where the table starts: its header, or its brace.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Takes a key that may be missing.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Item<'a>> {
        self.known.push(name);
        let (key, value) = self.entries.get_key_value(name)?;
        Some(Item::new(self.reader, name, key.span(), value))
    }

    /// Takes a key that must be there; `doc` says what it is.
    pub(super) fn require(&mut self, name: &'static str, doc: &str) -> Checked<Item<'a>> {
        let (at, place) = (self.at, self.place);
        self.take(name).ok_or_else(|| self.reader.fault(at, format!("missing \"{name}\" in {place}: {doc}")))
    }

    /// Takes a list of tables, one after the other under `[[name]]`; empty if there are none.
    pub(super) fn tables(&mut self, name: &'static str, place: &'static str) -> Checked<Vec<Table<'a>>> {
        let Some(item) = self.take(name) else { return Ok(Vec::new()) };
        let wrong =
            || self.reader.fault(item.key_at(), format!("\"{name}\" takes tables; start each with {place}"));
        let DeValue::Array(tables) = item.value() else { return Err(wrong()) };
        let table = |value: &'a toml::Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::Table(entries) => Ok(Table::new(self.reader, entries, place, value.span().start)),
            _ => Err(wrong()),
        };
        tables.iter().map(table).collect()
    }

    /// Refuses the keys that were not taken.
    pub(super) fn finish(self) -> Checked<()> {
        let mut result = Ok(());
        for key in self.entries.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let advice = advice(name, self.known.iter().copied());
            result = Err(self
                .reader
                .fault(key.span().start, format!("unknown key {name:?} in {}{advice}", self.place)));
        }
        result
    }
}
