//! `[[source]]`.

use super::fields::{self, Fields};
use super::item::Text;
use super::params::Owner;
use super::reader::{Checked, Reader};
use super::spec::SourceSpec;
use super::table::Table;
use crate::registry::SourceInfo;

/// What a source says of its records before all of it is known to be right.
pub(super) struct Names {
    pub(super) name: Option<Text>,
    /// Where the source starts.
    pub(super) at: usize,
    /// The key fields, then the labels.
    pub(super) key: Checked<Vec<Text>>,
    pub(super) values: Checked<Vec<Text>>,
}

pub(super) fn read(reader: &Reader<'_>, mut table: Table<'_>) -> (Names, Checked<SourceSpec>) {
    let at = table.at();
    let name = table.require("name", "what to call the source").and_then(|item| item.text());
    let connector = table.require("connector", "what reads the records, as in \"file\"");
    let options = table.take("options");
    let sources = &reader.registry.sources;
    let info = connector
        .and_then(|item| item.lookup("source connector", |name| sources.get(name), sources.keys().copied()));
    let fields = match info {
        Ok((info, written)) if info.rows => fields::rows(reader, &mut table, written),
        Ok(_) => fields::decoded(reader, &mut table),
        // Whether the fields should be there is not known.
        Err(reported) => Fields::skip(&mut table, reported),
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
        let (info, written) = info?;
        let owner =
            Owner { name: format!("connector {written:?}"), word: "option", declared: &info.parameters };
        let options = owner.read(reader, options, at).map(|given| given.params);
        let max_future = max_future.map(|item| match info.append_times {
            true => item.positive_span(),
            false => Err(reader.fault(item.key_at(), no_append_times(written))),
        });
        let idle = idle.map(|item| match &options {
            Ok(options) if !(info.falls_silent)(options) => {
                Err(reader.fault(item.key_at(), never_silent(info, written)))
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

fn no_append_times(written: &str) -> String {
    let reason = "\"max_future\" compares a record with the time at which it was appended";
    format!("{reason}, which connector {written:?} does not know")
}

fn never_silent(info: &SourceInfo, written: &str) -> String {
    let follow = info.parameters.iter().any(|parameter| parameter.name == "follow");
    let unless = if follow { " unless its option \"follow\" is true" } else { "" };
    let reason = "\"idle\" is for sources that can fall silent without ending";
    format!("{reason}, which connector {written:?} cannot{unless}")
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
