//! What provisional output adds up to.

use std::collections::BTreeMap;

/// What the reader of a provisional stream has in the end: for each identifier, what its highest revision says.
///
/// # Errors
///
/// The first revision that cannot follow the one before, or that is not confirmed in the end.
pub(crate) fn added_up(revisions: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
    let mut last: BTreeMap<String, (String, u64, String)> = BTreeMap::new();
    for line in revisions {
        let line = String::from_utf8(line.clone()).map_err(|error| error.to_string())?;
        let revision = serde_json::from_str::<serde_json::Value>(&line).map_err(|error| error.to_string())?;
        let (id, event) = (revision["id"].as_str(), revision["event"].as_str());
        let (Some(id), Some(event), Some(number)) = (id, event, revision["revision"].as_u64()) else {
            return Err(format!("no revision: {line}"));
        };
        let known = last.get(id).map(|(event, number, _)| (event.as_str(), *number));
        let follows = match event {
            "provisional" => known.is_none_or(|(before, _)| before == "retracted"),
            "revised" | "retracted" | "confirmed" => {
                known.is_some_and(|(before, _)| before == "provisional" || before == "revised")
            }
            _ => false,
        };
        if !follows || known.is_some_and(|(_, before)| number <= before) {
            return Err(format!("after {known:?}: {line}"));
        }
        let what = line.replace(&format!("\"id\":\"{id}\",\"event\":\"{event}\",\"revision\":{number},"), "");
        last.insert(id.to_owned(), (event.to_owned(), number, what));
    }
    if let Some(open) = last.values().find(|(event, ..)| event != "confirmed" && event != "retracted") {
        return Err(format!("left open: {open:?}"));
    }
    let confirmed = last.into_values().filter(|(event, ..)| event == "confirmed");
    let mut lines: Vec<_> = confirmed.map(|(.., what)| what.into_bytes()).collect();
    lines.sort_unstable();
    Ok(lines)
}
