//! How a source's records become rows: what only sources with a format say.

use super::format;
use super::item::{Item, Text};
use super::reader::{Checked, Reader, Reported};
use super::spec::{FormatKind, FormatSpec, Policy, TimeUnit};
use super::table::Table;
use super::time;
use crate::registry::{ROW_KEY, ROW_VALUE};

const POLICIES: (&[&str], [Policy; 2]) = (&["reject", "keep"], [Policy::Reject, Policy::Keep]);

/// The part of a source's description that a connector with rows has said already.
pub(super) struct Fields {
    pub(super) format: Checked<FormatSpec>,
    pub(super) time: Checked<Option<(Text, TimeUnit)>>,
    pub(super) key: Checked<Vec<Text>>,
    pub(super) labels: Checked<Vec<Text>>,
    pub(super) values: Checked<Vec<Text>>,
    pub(super) missing: Checked<Policy>,
    pub(super) non_finite: Checked<Policy>,
}

const FIELDS: [&str; 8] = ["format", "time", "key", "labels", "value", "values", "missing", "non_finite"];
/// The fields of a source's records that it provides itself; and those of messages of a broker.
const PROVIDED: [&str; 2] = ["@file", "@partition"];
const ENCLOSED: [&str; 4] = ["@topic", "@partition", "@key", "@header.NAME"];

impl Fields {
    /// Takes the fields of a source without looking at them.
    pub(super) fn skip(table: &mut Table<'_>, reported: Reported) -> Self {
        for name in FIELDS {
            table.take(name);
        }
        Self::none(reported)
    }

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
pub(super) fn rows(reader: &Reader<'_>, table: &mut Table<'_>, written: &str) -> Fields {
    let given: Vec<_> =
        FIELDS.into_iter().filter_map(|name| table.take(name).map(|item| (name, item))).collect();
    let already = format!("are rows with key {ROW_KEY:?} and value {ROW_VALUE:?} already");
    let faults = given.iter().map(|(name, item)| {
        let message = format!("the records of connector {written:?} {already}; it takes no {name:?}");
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

/// The fields of a connector that gives payloads.
pub(super) fn decoded(reader: &Reader<'_>, table: &mut Table<'_>, enveloped: bool) -> Fields {
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
        format: format.and_then(|item| format::read(reader, &item)),
        time: time.and_then(|item| time::read(reader, &item)).map(Some),
        key: texts(table.take("key")).and_then(|key| provided(reader, key, enveloped)),
        labels: texts(table.take("labels")).and_then(|labels| provided(reader, labels, enveloped)),
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

/// Refuses fields that look like provided ones but are none.
fn provided(reader: &Reader<'_>, fields: Vec<Text>, enveloped: bool) -> Checked<Vec<Text>> {
    let names: &[&str] = if enveloped { &ENCLOSED } else { &PROVIDED };
    let is_header =
        |text: &str| enveloped && text.strip_prefix("@header.").is_some_and(|name| !name.is_empty());
    let mut result = Ok(());
    for field in fields.iter().filter(|field| field.text.starts_with('@')) {
        if !names.contains(&field.text.as_str()) && !is_header(&field.text) {
            let advice = field.advice(names.iter().copied());
            result =
                Err(reader.fault(field.at, format!("unknown field {:?} of a source{advice}", field.written)));
        }
    }
    result.map(|()| fields)
}

/// Refuses the fields that the format cannot have.
pub(super) fn possible(reader: &Reader<'_>, fields: &Fields) -> Checked<()> {
    let Ok(format) = &fields.format else { return Ok(()) };
    let time = fields.time.iter().flatten().map(|(field, _)| field);
    let key = [&fields.key, &fields.labels].into_iter().flatten().flatten();
    let key = key.filter(|field| !field.text.starts_with('@'));
    let mut result = Ok(());
    for field in time.chain(key).chain(fields.values.iter().flatten()) {
        let wrong = match format.kind {
            FormatKind::Json if field.text.split('.').any(str::is_empty) => "is a path with an empty name",
            FormatKind::Csv if !format.header && !is_column(&field.text) => {
                "is not a column: without a header they are named by number, from \"1\""
            }
            _ => continue,
        };
        result = Err(reader.fault(field.at, format!("{:?} {wrong}", field.written)));
    }
    result
}

fn is_column(field: &str) -> bool {
    field.parse::<usize>().is_ok_and(|number| number > 0)
}
