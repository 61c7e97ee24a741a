//! `[mutes]`.

use tidewatch_dataflows::Span;

use super::reader::Checked;
use super::spec::MutesSpec;
use super::table::Table;

/// Reads where the list of mutes is, and where the file says so.
pub(super) fn read(file: &mut Table<'_>) -> Checked<Option<MutesSpec>> {
    let Some(item) = file.take("mutes") else { return Ok(None) };
    let mut table = item.table("[mutes]")?;
    let path = table
        .require("path", "the CSV file that says which alerts nobody wants to hear of, and when")
        .and_then(|item| item.text());
    let every = table.take("every").map_or(Ok(MutesSpec::EVERY), |item| match item.span()? {
        span if span != Span::ZERO && span < MutesSpec::LEAST => {
            Err(item.fault("\"every\" must be at least 10ms, or \"0s\", which is never"))
        }
        span => Ok(span),
    });
    table.finish()?;
    Ok(Some(MutesSpec { path: path?.text, every: every? }))
}
