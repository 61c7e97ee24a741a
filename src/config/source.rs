//! `[[source]]`.

use tidewatch_connectors::format::Framing;
use tidewatch_dataflows::record::KEY_PARTS;

use super::fields::{self, Fields};
use super::files;
use super::item::Text;
use super::params::Owner;
use super::quarantine;
use super::reader::{Checked, Reader};
use super::spec::{FormatSpec, SourceSpec, TimeSpec};
use super::table::Table;
use crate::registry::{ReadBy, SourceContext, SourceInfo};

/// What a source says of its records before all of it is known to be right.
pub(super) struct Names {
    pub(super) name: Option<Text>,
    /// What reads it, and where that is said.
    pub(super) connector: Option<&'static str>,
    pub(super) connector_at: usize,
    /// The paths and patterns of the files that it reads.
    pub(super) patterns: Vec<String>,
    /// Where the source starts.
    pub(super) at: usize,
    /// The key fields, then the labels.
    pub(super) key: Checked<Vec<Text>>,
    /// Whether no key field was given, so that the partition comes before the labels.
    pub(super) by_partition: bool,
    pub(super) values: Checked<Vec<Text>>,
}

impl Names {
    /// The names of all parts of a key.
    pub(super) fn parts(&self) -> Checked<Vec<Text>> {
        let written = "@partition".to_owned();
        let partition = Text { text: "partition".to_owned(), written, secret: false, at: self.at };
        let first = self.by_partition.then_some(partition).into_iter();
        self.key.as_ref().map(|key| first.chain(key.iter().cloned()).collect()).map_err(|reported| *reported)
    }
}

/// Reads a source; `record` is the longest record in bytes.
pub(super) fn read(reader: &Reader<'_>, mut table: Table<'_>, record: u64) -> (Names, Checked<SourceSpec>) {
    let at = table.at();
    let name = table.require("name", "what to call the source").and_then(|item| match item.text()? {
        // Recordings call so what is no source.
        name if name.text.starts_with('@') => Err(item.fault("\"name\" must not begin with \"@\"")),
        name => Ok(name),
    });
    let connector = table.require("connector", "what reads the records, as in \"file\"");
    let connector_at = connector.as_ref().map_or(at, |item| item.at());
    let options = table.take("options");
    let info = connector.and_then(|item| item.lookup("source connector", &reader.registry.sources));
    let fields = match info {
        Ok((info, written)) if info.rows => fields::rows(reader, &mut table, written),
        Ok((info, _)) => fields::decoded(reader, &mut table, info.envelopes),
        // Whether the fields should be there is not known.
        Err(reported) => Fields::skip(&mut table, reported),
    };
    let lateness = table.take("lateness").map_or(Ok(Default::default()), |item| item.span());
    let (max_future, idle) = (table.take("max_future"), table.take("idle"));
    let quarantine = table.take("quarantine").map_or(Ok(Default::default()), |item| quarantine::read(&item));
    let finished = table.finish();

    let named = name.as_ref().ok().cloned();
    let key = fields.key.clone().and_then(|mut key| {
        key.extend(fields.labels.clone()?);
        Ok(key)
    });
    let given = info.and_then(|(info, written)| {
        let name = format!("connector {written:?}");
        Owner { name, word: "option", declared: &info.parameters }.read(reader, options, at)
    });
    let patterns = match (&info, &given) {
        (Ok((info, _)), Ok(given)) => files::read_by(info.name, &given.params),
        _ => Vec::new(),
    };
    let connector = info.ok().map(|(info, _)| info.name);
    let by_partition = matches!(&fields.key, Ok(key) if key.is_empty());
    let values = fields.values.clone();
    let names = Names { name: named, connector, connector_at, patterns, at, key, by_partition, values };
    let implied = by_partition.then_some("partition");
    let distinct = distinct(reader, &names, implied);
    let possible = fields::possible(reader, &fields);
    let spec = (|| {
        let (info, written) = info?;
        let framing = fields.format.as_ref().map_or_else(|_| Framing::lines(), FormatSpec::framing);
        let options = given.and_then(|given| {
            let max_record = usize::try_from(record).unwrap_or(usize::MAX);
            let context = SourceContext { framing, max_record, read_by: ReadBy::Onlooker };
            let made = (info.construct)(&given.params, &context);
            made.map_err(|error| given.refused(reader, &error)).map(|_| given.params)
        });
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
        possible?;
        let texts = |texts: Vec<Text>| texts.into_iter().map(|text| text.text).collect();
        Ok(SourceSpec {
            name: name?.text,
            connector: info.name.to_owned(),
            options: options?,
            format: fields.format?,
            time: fields.time?.map(|(field, unit)| TimeSpec { field: field.text, unit }),
            key: texts(fields.key?),
            labels: texts(fields.labels?),
            values: texts(fields.values?),
            lateness: lateness?,
            max_future: max_future.transpose()?,
            idle: idle.transpose()?,
            quarantine: quarantine?,
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
    let has = |name| info.parameters.iter().any(|parameter| parameter.name == name);
    let unless = match () {
        () if has("follow") => " unless its option \"follow\" is true",
        () if has("stop_at") => " while its option \"stop_at\" is \"end\"",
        () => "",
    };
    let reason = "\"idle\" is for sources that can fall silent without ending";
    format!("{reason}, which connector {written:?} cannot{unless}")
}

/// Refuses a key part or value that has the name of an earlier one; in output, a provided part has no mark.
fn distinct(reader: &Reader<'_>, names: &Names, implied: Option<&str>) -> Checked<()> {
    let mut result = Ok(());
    for (what, texts) in [("key parts", &names.key), ("values", &names.values)] {
        let mut seen: Vec<&str> = implied.into_iter().filter(|_| what == "key parts").collect();
        for text in texts.iter().flatten() {
            let name = match what {
                "key parts" => text.text.strip_prefix('@').unwrap_or(&text.text),
                _ => &text.text,
            };
            if seen.contains(&name) {
                let written = text.written.strip_prefix('@').filter(|_| what == "key parts");
                let written = written.unwrap_or(&text.written);
                result = Err(reader.fault(text.at, format!("two {what} are called {written:?}")));
            }
            if what == "key parts" && seen.len() == KEY_PARTS {
                result = Err(reader.fault(text.at, format!("a key has at most {KEY_PARTS} parts")));
            }
            seen.push(name);
        }
    }
    result
}
