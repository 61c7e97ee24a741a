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

/// Each alert as the reader of provisional alerts has it in the end.
///
/// # Errors
///
/// The first line that cannot follow the one before, or that is not confirmed in the end.
pub(crate) fn alerts(raised: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, String> {
    let mut last: BTreeMap<String, (String, bool, u64, String)> = BTreeMap::new();
    for line in raised {
        let line = String::from_utf8(line.clone()).map_err(|error| error.to_string())?;
        let raised = serde_json::from_str::<serde_json::Value>(&line).map_err(|error| error.to_string())?;
        let text = |name: &str| raised[name].as_str();
        let (Some(id), Some(event), Some(stage)) = (text("id"), text("event"), text("stage")) else {
            return Err(format!("no alert: {line}"));
        };
        let number = raised["revision"].as_u64().ok_or("no revision")?;
        let known = last.get(id);
        let is_said = known.is_some_and(|(event, ..)| event != "retracted");
        let sure = known.is_some_and(|(_, sure, ..)| *sure);
        let follows = match event {
            "raised" => !is_said,
            "revised" => is_said,
            "confirmed" | "retracted" => is_said && !sure,
            _ => false,
        };
        if !follows || known.is_some_and(|(_, _, before, _)| number <= *before) {
            return Err(format!("after {known:?}: {line}"));
        }
        let said = format!("\"event\":\"{event}\",\"revision\":{number},\"stage\":\"{stage}\"");
        let what = line.replace(&said, &format!("\"event\":\"{stage}\""));
        last.insert(id.to_owned(), (event.to_owned(), sure || event == "confirmed", number, what));
    }
    last.retain(|_, (event, ..)| event != "retracted");
    if let Some(open) = last.values().find(|(_, sure, ..)| !sure) {
        return Err(format!("left open: {open:?}"));
    }
    Ok(last.into_values().map(|(.., what)| what.into_bytes()).collect())
}

/// The last line of each alert, in the order of their identifiers.
pub(crate) fn last_stages(alerts: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let id = |line: &Vec<u8>| {
        let alert: serde_json::Value = serde_json::from_slice(line).expect("it is JSON");
        (alert["id"].as_str().expect("it has one").to_owned(), line.clone())
    };
    let last: BTreeMap<String, Vec<u8>> = alerts.iter().map(id).collect();
    last.into_values().collect()
}
