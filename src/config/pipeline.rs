//! The file as a whole, and what its parts owe to each other.

use std::path::Path;

use tidewatch_connectors::file::pattern;

use super::item::Text;
use super::near::list;
use super::reader::{Checked, Reader, Reported};
use super::sink::{Placed, Tables};
use super::source::{self, Names};
use super::spec::{LimitsSpec, PipelineFile};
use super::table::Table;
use super::{alerts, checkpoint, detect, limits, mutes, sink, step};

pub(super) fn read(reader: &Reader<'_>, mut file: Table<'_>) -> Checked<PipelineFile> {
    let name = file.require("name", "what to call the pipeline").and_then(|item| item.text());
    let sources = file.tables("source", "[[source]]");
    let steps = file.tables("step", "[[step]]");
    let detects = file.tables("detect", "[[detect]]");
    let sinks = file.tables("sink", "[[sink]]");
    let limits = limits::read(&mut file);
    let checkpoint = checkpoint::read(&mut file);
    let alerts = file.take("alerts");
    let mutes = mutes::read(&mut file);
    let at = file.at();
    let finished = file.finish();

    let mut read_from = Vec::new();
    let record = limits.as_ref().map_or(LimitsSpec::default().record, |limits| limits.record);
    let sources = sources.and_then(|tables| {
        let (names, specs): (Vec<_>, Vec<_>) =
            tables.into_iter().map(|table| source::read(reader, table, record)).unzip();
        read_from.extend(names.iter().flat_map(|names| names.patterns.iter().cloned()));
        let unique = unique(reader, "sources", names.iter().filter_map(|names| names.name.as_ref()));
        let agree = agree(reader, &names);
        one_stdin(reader, &names).and(unique).and(agree)?;
        match names.into_iter().next() {
            Some(names) => Ok((names.parts(), names.values, specs)),
            None => Err(reader.fault(at, "a pipeline needs a [[source]]: where records come from")),
        }
    });
    let (key, values, sources) = match sources {
        Ok((key, values, sources)) => (key, values, sources.into_iter().collect()),
        Err(reported) => (Err(reported), Err(reported), Err(reported)),
    };
    let alerts = alerts.map(|item| alerts::read(&item, key.as_deref().map_err(|reported| *reported)));
    let has = Tables { alerts: alerts.is_some(), mutes: !matches!(mutes, Ok(None)) };
    read_from.extend(mutes.iter().flatten().map(|mutes| pattern::literal(&mutes.path)));
    let steps: Checked<Vec<_>> = steps.and_then(|tables| {
        tables.into_iter().map(|table| step::read(reader, table)).collect::<Vec<_>>().into_iter().collect()
    });
    let detects: Checked<Vec<_>> = detects.and_then(|tables| {
        let values = || values.as_ref().map(Vec::as_slice).map_err(|reported| *reported);
        let detects: Vec<_> = tables.into_iter().map(|table| detect::read(reader, table, values())).collect();
        unique(reader, "detections", detects.iter().filter_map(|(name, _)| name.as_ref().ok()))?;
        if detects.is_empty() {
            return Err(reader.fault(at, "a pipeline needs a [[detect]]: what looks for anomalies"));
        }
        detects.into_iter().map(|(_, spec)| spec).collect()
    });
    let sinks: Checked<Vec<_>> = sinks.and_then(|tables| {
        let sinks: Vec<_> = tables.into_iter().map(|table| sink::read(reader, table, has)).collect();
        let apart = apart(reader, &read_from, sinks.iter().flatten());
        let sinks = sinks.into_iter().map(|sink| sink.map(|(_, spec)| spec)).collect();
        apart.and(sinks)
    });
    finished?;
    Ok(PipelineFile {
        path: reader.file.to_owned(),
        name: name?.text,
        sources: sources?,
        steps: steps?,
        detects: detects?,
        alerts: alerts.transpose()?,
        mutes: mutes?,
        sinks: sinks?,
        limits: limits?,
        checkpoint: checkpoint?,
    })
}

/// Refuses a sink that would empty what another one writes or a source reads, or the pipeline file.
fn apart<'a>(
    reader: &Reader<'_>,
    read_from: &[String],
    sinks: impl Iterator<Item = &'a Placed>,
) -> Checked<()> {
    let mut seen = Vec::new();
    let mut result = Ok(());
    for (at, spec) in sinks {
        let Some(path) = spec.path().map(Path::new) else { continue };
        if read_from.iter().any(|pattern| pattern::reads(pattern, path)) {
            let message =
                "a [[source]] or [mutes] reads this file, which the sink would empty; write to another one";
            result = Err(reader.fault(*at, message));
        }
        let identity = pattern::identity(path);
        if identity == pattern::identity(Path::new(reader.file)) {
            let message = "this is the pipeline file, which the sink would empty; write to another one";
            result = Err(reader.fault(*at, message));
        }
        if identity == Path::new("/dev/null") {
            continue;
        }
        if seen.contains(&identity) {
            let message = "an earlier [[sink]] writes to the same \"path\"; give each its own";
            result = Err(reader.fault(*at, message));
        }
        seen.push(identity);
    }
    result
}

/// Refuses a second source on standard input: each would get what the other one leaves.
fn one_stdin(reader: &Reader<'_>, sources: &[Names]) -> Checked<()> {
    let mut of_stdin = sources.iter().filter(|names| names.connector == Some("stdio"));
    of_stdin.next();
    let mut result = Ok(());
    for names in of_stdin {
        let message = "an earlier [[source]] reads standard input already, which can be read once";
        result = Err(reader.fault(names.connector_at, message));
    }
    result
}

fn unique<'a>(reader: &Reader<'_>, what: &str, names: impl Iterator<Item = &'a Text>) -> Checked<()> {
    let mut seen: Vec<&Text> = Vec::new();
    let mut result = Ok(());
    for name in names {
        if seen.iter().any(|other| other.text == name.text) {
            result = Err(reader.fault(name.at, format!("two {what} are called {:?}", name.written)));
        }
        seen.push(name);
    }
    result
}

/// Refuses sources whose records have other names of key parts or values than those of the first.
fn agree(reader: &Reader<'_>, sources: &[Names]) -> Checked<()> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    let mut result = Ok(());
    for other in others {
        let parts = [("key parts", &first.key, &other.key), ("values", &first.values, &other.values)];
        for (what, left, right) in parts {
            let (Ok(left), Ok(right)) = (left, right) else { continue };
            if !left.iter().map(|name| &name.text).eq(right.iter().map(|name| &name.text)) {
                result = Err(differ(reader, what, (first, left), (other, right)));
            }
        }
    }
    result
}

fn differ(
    reader: &Reader<'_>,
    what: &str,
    (first, left): (&Names, &[Text]),
    (other, right): (&Names, &[Text]),
) -> Reported {
    let called = |names: &Names| match &names.name {
        Some(name) => format!("source {:?}", name.written),
        None => "another source".to_owned(),
    };
    let has = |names: &[Text]| match names {
        [] => format!("no {what}"),
        names => format!("{what} {}", list(names.iter().map(|name| &name.written))),
    };
    let at = right.first().map_or(other.at, |name| name.at);
    let message = format!(
        "{} has {}, but {} has {}; all sources of a pipeline have the same",
        called(other),
        has(right),
        called(first),
        has(left)
    );
    reader.fault(at, message)
}
