//! `[[source]]`.

use toml::de::DeValue;

use super::item::{Item, Text};
use super::params::Owner;
use super::reader::{Checked, Reader, Reported};
use super::spec::{FormatKind, FormatSpec, Policy, SourceSpec, TimeSpec};
use super::table::Table;
use super::time;
use crate::registry::{ConnectorInfo, ROW_KEY, ROW_VALUE};

const POLICIES: (&[&str], [Policy; 2]) = (&["reject", "keep"], [Policy::Reject, Policy::Keep]);

/// What a source says of its records before all of it is known to be right.
pub(super) struct Names {
    pub(super) name: Option<Text>,
    /// Where the source starts.
    pub(super) at: usize,
    /// The key fields, then the labels.
    pub(super) key: Checked<Vec<Text>>,
    pub(super) values: Checked<Vec<Text>>,
}

/// What only sources with a format say.
struct Fields {
    format: Checked<FormatSpec>,
    time: Checked<Option<TimeSpec>>,
    key: Checked<Vec<Text>>,
    labels: Checked<Vec<Text>>,
    values: Checked<Vec<Text>>,
    missing: Checked<Policy>,
    non_finite: Checked<Policy>,
}

const FIELDS: [&str; 8] = ["format", "time", "key", "labels", "value", "values", "missing", "non_finite"];
/// The fields of a source's records that it provides itself.
const PROVIDED: [&str; 3] = ["@file", "@partition", "@topic"];

pub(super) fn read(reader: &Reader<'_>, mut table: Table<'_>) -> (Names, Checked<SourceSpec>) {
    let at = table.at();
    let name = table.require("name", "what to call the source").and_then(|item| item.text());
    let connector = table.require("connector", "what reads the records, as in \"file\"");
    let options = table.take("options");
    let info = connector.and_then(|item| connector_of(reader, &item));
    let fields = match info {
        Ok(info) if info.rows => rows(reader, &mut table, info),
        Ok(_) => decoded(reader, &mut table),
        // Whether the fields should be there is not known.
        Err(reported) => {
            FIELDS.into_iter().for_each(|name| drop(table.take(name)));
            Fields::none(reported)
        }
    };
    let lateness = table.take("lateness").map_or(Ok(Default::default()), |item| item.span());
    let (max_future, idle) = (table.take("max_future"), table.take("idle"));
    let finished = table.finish();

    let named = name.as_ref().ok().cloned();
    let key = fields.key.clone().and_then(|mut key| {
        key.extend(fields.labels.clone()?);
        Ok(key)
    });
    let names = Names { name: named, at, key, values: fields.values.clone() };
    let distinct = distinct(reader, &names);
    let spec = (|| {
        let info = info?;
        let owner =
            Owner { name: format!("connector {:?}", info.name), word: "option", declared: &info.parameters };
        let options = owner.read(reader, options, at).map(|given| given.params);
        let max_future = max_future.map(|item| match info.append_times {
            true => item.positive_span(),
            false => Err(reader.fault(
                item.key_at(),
                format!(
                    "\"max_future\" compares a record with the time at which it was appended, which connector {:?} does not know",
                    info.name
                ),
            )),
        });
        let idle = idle.map(|item| match &options {
            Ok(options) if !(info.falls_silent)(options) => {
                Err(reader.fault(item.key_at(), never_silent(info)))
            }
            _ => item.positive_span(),
        });
        finished?;
        distinct?;
        let texts = |texts: Vec<Text>| texts.into_iter().map(|text| text.text).collect();
        Ok(SourceSpec {
            name: name?.text,
            connector: info.name.to_owned(),
            options: options?,
            format: fields.format?,
            time: fields.time?,
            key: texts(fields.key?),
            labels: texts(fields.labels?),
            values: texts(fields.values?),
            lateness: lateness?,
            max_future: max_future.transpose()?,
            idle: idle.transpose()?,
            missing: fields.missing?,
            non_finite: fields.non_finite?,
        })
    })();
    (names, spec)
}

fn connector_of<'a>(reader: &Reader<'a>, item: &Item<'a>) -> Checked<&'a ConnectorInfo> {
    let connector = item.text()?;
    reader.registry.sources.get(connector.text.as_str()).ok_or_else(|| {
        let advice = connector.advice(reader.registry.sources.keys().copied());
        item.fault(format!("unknown source connector {:?}{advice}", connector.written))
    })
}

fn never_silent(info: &ConnectorInfo) -> String {
    let follow = info.parameters.iter().any(|parameter| parameter.name == "follow");
    let unless = if follow { " unless follow = true" } else { "" };
    format!(
        "\"idle\" is for sources that can fall silent without ending, which connector {:?} cannot{unless}",
        info.name
    )
}

impl Fields {
    fn none(reported: Reported) -> Self {
        Self {
            format: Err(reported),
            time: Err(reported),
            key: Err(reported),
            labels: Err(reported),
            values: Err(reported),
            missing: Err(reported),
            non_finite: Err(reported),
        }
    }
}

/// The fields of a connector that gives rows: it has said them all.
fn rows(reader: &Reader<'_>, table: &mut Table<'_>, info: &ConnectorInfo) -> Fields {
    let given: Vec<_> =
        FIELDS.into_iter().filter_map(|name| table.take(name).map(|item| (name, item))).collect();
    let faults = given.iter().map(|(name, item)| {
        let message = format!(
            "the records of connector {:?} are rows with key {ROW_KEY:?} and value {ROW_VALUE:?} already; it takes no {name:?}",
            info.name
        );
        reader.fault(item.key_at(), message)
    });
    if let Some(reported) = faults.last() {
        return Fields::none(reported);
    }
    let text = |text: &str| Text { text: text.into(), written: text.into(), secret: false, at: table.at() };
    Fields {
        format: Ok(FormatSpec { header: false, ..FormatSpec::of(FormatKind::None) }),
        time: Ok(None),
        key: Ok(vec![text(ROW_KEY)]),
        labels: Ok(Vec::new()),
        values: Ok(vec![text(ROW_VALUE)]),
        missing: Ok(Policy::Reject),
        non_finite: Ok(Policy::Reject),
    }
}

fn decoded(reader: &Reader<'_>, table: &mut Table<'_>) -> Fields {
    let at = table.at();
    let format = table.require("format", "how its records are written, \"csv\" or \"json\"");
    let time = table.require("time", "the field that says when, as in \"timestamp\"");
    let (value, values) = (table.take("value"), table.take("values"));
    let texts = |item: Option<Item<'_>>| item.map_or(Ok(Vec::new()), |item| item.texts());
    let mut policy =
        |name| table.take(name).map_or(Ok(Policy::Reject), |item| item.choice(POLICIES.0, &POLICIES.1));
    Fields {
        missing: policy("missing"),
        non_finite: policy("non_finite"),
        format: format.and_then(|item| self::format(reader, &item)),
        time: time.and_then(|item| time::read(reader, &item)).map(Some),
        key: texts(table.take("key")).and_then(|key| provided(reader, key)),
        labels: texts(table.take("labels")).and_then(|labels| provided(reader, labels)),
        values: match (value, values) {
            (Some(_), Some(second)) => {
                Err(reader.fault(second.key_at(), "\"value\" and \"values\" say the same; give one of them"))
            }
            (Some(one), None) => one.text().map(|value| vec![value]),
            (None, Some(many)) => match many.texts() {
                Ok(none) if none.is_empty() => {
                    Err(many.fault("\"values\" is empty; name the fields to observe"))
                }
                texts => texts,
            },
            (None, None) => {
                Err(reader.fault(at, "missing \"value\" or \"values\" in [[source]]: the fields to observe"))
            }
        },
    }
}

fn format(reader: &Reader<'_>, item: &Item<'_>) -> Checked<FormatSpec> {
    let kind = |item: &Item<'_>| item.choice(&["csv", "json"], &[FormatKind::Csv, FormatKind::Json]);
    if let DeValue::String(_) = item.value() {
        return Ok(FormatSpec::of(kind(item)?));
    }
    let mut table = item.table("format")?;
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
            "\"delimiter\" takes one ASCII character that stands in no number or quote, as in \";\", not {:?}",
            text.written
        ))),
    }
}

/// Refuses fields that look like provided ones but are none.
fn provided(reader: &Reader<'_>, fields: Vec<Text>) -> Checked<Vec<Text>> {
    let mut result = Ok(());
    for field in fields.iter().filter(|field| field.text.starts_with('@')) {
        if !PROVIDED.contains(&field.text.as_str()) {
            let advice = field.advice(PROVIDED);
            result =
                Err(reader.fault(field.at, format!("unknown field {:?} of a source{advice}", field.written)));
        }
    }
    result.map(|()| fields)
}

/// Refuses a key part or value that has the name of an earlier one.
fn distinct(reader: &Reader<'_>, names: &Names) -> Checked<()> {
    let mut result = Ok(());
    for (what, texts) in [("key parts", &names.key), ("values", &names.values)] {
        for (index, text) in texts.iter().flatten().enumerate() {
            if texts.iter().flatten().take(index).any(|earlier| earlier.text == text.text) {
                result = Err(reader.fault(text.at, format!("two {what} are called {:?}", text.written)));
            }
        }
    }
    result
}
