//! `time` of a source: which field says when, and how.

use toml::de::DeValue;

use super::item::Item;
use super::reader::{Checked, Reader};
use super::spec::{Ambiguous, TimeSpec, TimeUnit};

/// What makes a format say the offset or zone itself, in the notation of `strptime`.
const OFFSETS: [&str; 6] = ["%z", "%:z", "%::z", "%:::z", "%Q", "%s"];

pub(super) fn read(reader: &Reader<'_>, item: &Item<'_>) -> Checked<TimeSpec> {
    if let DeValue::String(_) = item.value() {
        return Ok(TimeSpec { field: item.text()?.text, unit: TimeUnit::Rfc3339 });
    }
    let mut table = item.table_or_text("time")?;
    let field = table.require("field", "the field that says when").and_then(|item| item.text());
    let unit = table.take("unit");
    let format = table.take("format");
    let zone = table.take("zone");
    let ambiguous = table.take("ambiguous");
    let finished = table.finish();
    let unit = match (unit, format) {
        (Some(_), Some(format)) => Err(reader.fault(
            format.key_at(),
            "\"unit\" and \"format\" both say how a time is written; give one of them",
        )),
        (None, Some(format)) => self::format(&format, zone, ambiguous),
        (unit, None) => match (zone, ambiguous) {
            (None, None) => unit.map_or(Ok(TimeUnit::Rfc3339), |item| self::unit(&item)),
            (Some(item), _) => Err(reader.fault(item.key_at(), "\"zone\" goes with \"format\" only")),
            (_, Some(item)) => Err(reader.fault(item.key_at(), "\"ambiguous\" goes with \"format\" only")),
        },
    };
    finished?;
    Ok(TimeSpec { field: field?.text, unit: unit? })
}

fn unit(item: &Item<'_>) -> Checked<TimeUnit> {
    let index = item.choice(&["s", "ms", "us", "ns", "rfc3339"], &[0, 1, 2, 3, 4])?;
    Ok(match index {
        0 => TimeUnit::Seconds,
        1 => TimeUnit::Millis,
        2 => TimeUnit::Micros,
        3 => TimeUnit::Nanos,
        _ => TimeUnit::Rfc3339,
    })
}

fn format(item: &Item<'_>, zone: Option<Item<'_>>, ambiguous: Option<Item<'_>>) -> Checked<TimeUnit> {
    let format = item.text();
    let ambiguous = ambiguous.map_or(Ok(Ambiguous::Reject), |item| {
        item.choice(
            &["earlier", "later", "reject"],
            &[Ambiguous::Earlier, Ambiguous::Later, Ambiguous::Reject],
        )
    });
    let zone = zone.map(|item| item.text()).transpose();
    let (format, zone) = (format?.text, zone?.map(|zone| zone.text));
    if zone.is_none() && !OFFSETS.iter().any(|offset| format.contains(offset)) {
        return Err(item.fault(
            "a time without offset needs a zone; add zone = \"UTC\" or another one, or %z where the format has an offset",
        ));
    }
    Ok(TimeUnit::Format { format, zone, ambiguous: ambiguous? })
}
