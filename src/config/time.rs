//! `time` of a source: which field says when, and how.

use jiff::tz::TimeZone;
use tidewatch_connectors::format::{Ambiguity, TimeFormat};
use toml::de::DeValue;

use super::item::{Item, Text};
use super::reader::{Checked, Reader};
use super::spec::{Ambiguous, TimeUnit};

/// Reads which field says when, and how.
pub(super) fn read(reader: &Reader<'_>, item: &Item<'_>) -> Checked<(Text, TimeUnit)> {
    if let DeValue::String(_) = item.value() {
        return Ok((item.text()?, TimeUnit::Rfc3339));
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
    Ok((field?, unit?))
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
    // %Q is refused for its own reason.
    let has_offset = |format: &Text| directives(&format.text).any(|letter| "zsQ".contains(letter));
    let has_offset = format.as_ref().map(has_offset);
    let zone = match (zone, has_offset) {
        (Some(item), _) => known_zone(&item).map(Some),
        (None, Ok(false)) => Err(item.fault(
            "a time without offset needs a zone; add zone = \"UTC\" or another one, or %z where the format has an offset",
        )),
        (None, _) => Ok(None),
    };
    let format = format.and_then(|format| understood(item, format));
    Ok(TimeUnit::Format { format: format?, zone: zone?, ambiguous: ambiguous? })
}

/// The format, if records can be read with it.
fn understood(item: &Item<'_>, format: Text) -> Checked<String> {
    if directives(&format.text).any(|letter| letter == 'Q') {
        return Err(item.fault(
            "%Q, the name of a zone in each record, is not available; give the zone of all as zone = \"…\", or %z where the format has an offset",
        ));
    }
    match TimeFormat::civil(&format.text, "UTC", Ambiguity::default()) {
        Ok(_) => Ok(format.text),
        Err(_) if format.secret => Err(item.fault(format!("{:?} is not a format of times", format.written))),
        Err(error) => Err(item.fault(error.to_string())),
    }
}

/// The letters of the directives of a format, in the notation of `strptime`, without their flags and widths.
fn directives(format: &str) -> impl Iterator<Item = char> + '_ {
    let mut rest = format.chars();
    std::iter::from_fn(move || {
        rest.by_ref().find(|character| *character == '%')?;
        rest.by_ref().find(|letter| !"-_^#:.".contains(*letter) && !letter.is_ascii_digit())
    })
}

fn known_zone(item: &Item<'_>) -> Checked<String> {
    let zone = item.text()?;
    if TimeZone::get(&zone.text).is_ok() {
        return Ok(zone.text);
    }
    let known: Vec<_> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let advice = zone.advice(known.iter().map(String::as_str));
    Err(item.fault(format!("unknown time zone {:?}{advice}", zone.written)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_told_from_what_looks_like_them() {
        for (format, letters) in
            [("%Y-%m-%d", "Ymd"), ("%%s", "%"), ("%%%s", "%s"), ("%:z %-d %03f %.3f %", "zdff"), ("no", "")]
        {
            assert_eq!(letters, directives(format).collect::<String>(), "{format}");
        }
    }
}
