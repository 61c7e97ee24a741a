//! `[alerts]`.

use super::item::{Item, Text};
use super::reader::Checked;
use super::spec::AlertsSpec;

/// Reads which alerts are one incident; `key` are the names of the parts of a key, if the sources have told them.
pub(super) fn read(item: &Item<'_>, key: Checked<&[Text]>) -> Checked<AlertsSpec> {
    let mut table = item.table("[alerts]")?;
    let group_by =
        table.require("group_by", "the parts of the key that alerts of one incident have in common");
    let gap = table.take("gap").map_or(Ok(AlertsSpec::GAP), |item| item.span());
    table.finish()?;
    let group_by = group_by?;
    let (names, key) = (group_by.texts()?, key?);
    if names.is_empty() {
        return Err(group_by.fault("\"group_by\" is empty"));
    }
    let mut places = Vec::new();
    for name in names {
        let Some(place) = key.iter().position(|part| part.text == name.text || part.written == name.text)
        else {
            let advice = name.advice(key.iter().map(|part| part.written.as_str()));
            return Err(group_by.fault(format!("no key has a part {:?}{advice}", name.written)));
        };
        if places.contains(&place) {
            return Err(group_by.fault(format!("{:?} is chosen twice", name.written)));
        }
        places.push(place);
    }
    Ok(AlertsSpec { group_by: places, gap: gap? })
}
