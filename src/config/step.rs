//! `[[step]]`.

use super::params::Owner;
use super::reader::{Checked, Reader};
use super::spec::StepSpec;
use super::table::Table;

pub(super) fn read(reader: &Reader<'_>, mut table: Table<'_>) -> Checked<StepSpec> {
    let operator = table.require("operator", "what to do with the records, as in \"window\"");
    let params = table.take("params");
    let at = table.at();
    let finished = table.finish();
    let (operator, written) =
        operator.and_then(|item| item.lookup("operator", &reader.registry.operators))?;
    let owner =
        Owner { name: format!("operator {written:?}"), word: "parameter", declared: &operator.parameters };
    let given = owner.read(reader, params, at)?;
    (operator.construct)(&given.params).map_err(|error| given.conflict(reader, &error))?;
    finished?;
    Ok(StepSpec { operator: operator.name.to_owned(), params: given.params })
}
