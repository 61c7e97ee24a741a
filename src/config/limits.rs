//! `[limits]`.

use tidewatch_dataflows::params::Kind;

use super::reader::Checked;
use super::spec::LimitsSpec;
use super::table::Table;

pub(super) fn read(file: &mut Table<'_>) -> Checked<LimitsSpec> {
    let default = LimitsSpec::default();
    let Some(item) = file.take("limits") else { return Ok(default) };
    let mut table = item.table("[limits]")?;
    let mut amount = |name, kind, default| table.take(name).map_or(Ok(default), |item| item.amount(kind));
    let keys = amount("keys", Kind::Integer(1, i64::MAX), default.keys);
    let state = amount("state", Kind::Size, default.state);
    let ahead = amount("ahead", Kind::Size, default.ahead);
    let record = amount("record", Kind::Size, default.record);
    table.finish()?;
    Ok(LimitsSpec { keys: keys?, state: state?, ahead: ahead?, record: record? })
}
