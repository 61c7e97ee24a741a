//! `format` of a source: what its payloads are.

use toml::de::DeValue;

use super::item::Item;
use super::reader::{Checked, Reader};
use super::spec::{FormatKind, FormatSpec};

pub(super) fn read(reader: &Reader<'_>, item: &Item<'_>) -> Checked<FormatSpec> {
    let kind = |item: &Item<'_>| item.choice(&["csv", "json"], &[FormatKind::Csv, FormatKind::Json]);
    if let DeValue::String(_) = item.value() {
        return Ok(FormatSpec::of(kind(item)?));
    }
    let mut table = item.table_or_text("format")?;
    let kind = table.require("kind", "\"csv\" or \"json\"").and_then(|item| kind(&item));
    let given = [table.take("header"), table.take("delimiter"), table.take("multiline")];
    table.finish()?;
    let kind = kind?;
    if let (FormatKind::Json, Some(item)) = (kind, given.iter().flatten().next()) {
        return Err(
            reader.fault(item.key_at(), "only the format \"csv\" takes a header, delimiter or multiline")
        );
    }
    let usual = FormatSpec::of(kind);
    let [header, delimiter, multiline] = given;
    let header = header.map_or(Ok(usual.header), |item| item.flag());
    let delimiter = delimiter.map_or(Ok(usual.delimiter), |item| self::delimiter(&item));
    let multiline = multiline.map_or(Ok(usual.multiline), |item| item.flag());
    Ok(FormatSpec { kind, header: header?, delimiter: delimiter?, multiline: multiline? })
}

fn delimiter(item: &Item<'_>) -> Checked<u8> {
    let text = item.text()?;
    match text.text.as_bytes() {
        // A digit, sign or point could stand inside of a number.
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"'+-.\n\r".contains(byte) => Ok(*byte),
        _ => Err(item.fault(format!(
            "\"delimiter\" takes one ASCII character that is no letter, digit, sign, point or quote, as in \";\", not {:?}",
            text.written
        ))),
    }
}
