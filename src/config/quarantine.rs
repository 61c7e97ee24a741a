//! `quarantine` of a source: records that are dead letters whatever they say.

use tidewatch_connectors::ingest::Quarantine;

use super::item::{all, Item};
use super::reader::Checked;

pub(super) fn read(item: &Item<'_>) -> Checked<Quarantine> {
    let records =
        item.tables("quarantine", "a list of tables, as in [{ partition = \"a.csv\", offset = 40 }]")?;
    let records = all(records.into_iter().map(|mut table| {
        let partition = table.require("partition", "the name of a partition, as dead letters have it");
        let offset = table.require("offset", "the offset of a record, as dead letters have it");
        let partition = partition.and_then(|item| item.text());
        let offset = offset.and_then(|item| item.natural());
        table.finish()?;
        Ok((partition?.text, offset?))
    }))?;
    Ok(records.into_iter().collect())
}
