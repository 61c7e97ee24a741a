//! `[checkpoint]`.

use tidewatch_connectors::store;

use super::reader::Checked;
use super::spec::CheckpointSpec;
use super::table::Table;

pub(super) fn read(file: &mut Table<'_>) -> Checked<Option<CheckpointSpec>> {
    let Some(item) = file.take("checkpoint") else { return Ok(None) };
    let mut table = item.table("[checkpoint]")?;
    let store =
        table.require("store", "where state survives: a directory, as in \"state\"").and_then(|item| {
            let url = item.text()?.text;
            store::check(&url).map_err(|error| item.fault(error.to_string()))?;
            Ok(url)
        });
    let mut span = |name, default| table.take(name).map_or(Ok(default), |item| item.positive_span());
    let every = span("every", CheckpointSpec::EVERY);
    let commit = span("commit", CheckpointSpec::COMMIT);
    let restarts = table.take("restarts").map_or(Ok(CheckpointSpec::RESTARTS), |item| {
        item.natural().map(|restarts| u32::try_from(restarts).unwrap_or(u32::MAX))
    });
    table.finish()?;
    Ok(Some(CheckpointSpec { store: store?, every: every?, commit: commit?, restarts: restarts? }))
}
