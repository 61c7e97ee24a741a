//! `[[sink]]`.

use super::item::Item;
use super::near::list;
use super::params::Owner;
use super::reader::{Checked, Reader};
use super::spec::{SinkFormat, SinkSpec, Stream};
use super::table::Table;

/// Streams that pipelines will have.
const PLANNED: [&str; 1] = ["metrics"];

/// A sink, and where its path is.
pub(super) type Placed = (usize, SinkSpec);

/// Which tables the pipeline has that streams need.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub(super) alerts: bool,
    pub(super) mutes: bool,
}

/// Reads a sink of a pipeline that has these tables.
pub(super) fn read(reader: &Reader<'_>, mut table: Table<'_>, tables: Tables) -> Checked<Placed> {
    let at = table.at();
    let stream =
        table.require("stream", "what to write, as in \"anomalies\"").and_then(|item| stream(&item, tables));
    let connector = table.require("connector", "what writes it, as in \"file\"");
    let options = table.take("options");
    let format = table.take("format").map_or(Ok(SinkFormat::Json), |item| {
        item.choice(&["json", "csv", "table"], &[SinkFormat::Json, SinkFormat::Csv, SinkFormat::Table])
    });
    let finished = table.finish();
    let (info, written) = connector.and_then(|item| item.lookup("sink connector", &reader.registry.sinks))?;
    let owner = Owner { name: format!("connector {written:?}"), word: "option", declared: &info.parameters };
    let given = owner.read(reader, options, at)?;
    finished?;
    (info.check)(&given.params).map_err(|error| given.refused(reader, &error))?;
    let (place, options) = (given.place("path"), given.params);
    Ok((place, SinkSpec { stream: stream?, connector: info.name.to_owned(), options, format: format? }))
}

fn stream(item: &Item<'_>, tables: Tables) -> Checked<Stream> {
    let stream = item.text()?;
    let names = || Stream::ALL.into_iter().map(Stream::name);
    match Stream::ALL.into_iter().find(|known| known.name() == stream.text) {
        Some(Stream::Muted) if !tables.mutes => {
            let message = "stream \"muted\" needs a table [mutes] with \"path\": the list of who is muted";
            return Err(item.fault(message));
        }
        Some(Stream::Incidents | Stream::ProvisionalIncidents) if !tables.alerts => {
            let message =
                "incidents need a table [alerts] with \"group_by\": which parts of a key make an incident";
            return Err(item.fault(message));
        }
        Some(stream) => return Ok(stream),
        None => {}
    }
    if PLANNED.contains(&stream.text.as_str()) {
        let message =
            format!("stream {:?} is not available yet; available are {}", stream.written, list(names()));
        return Err(item.fault(message));
    }
    let advice = stream.advice(names());
    Err(item.fault(format!("unknown stream {:?}{advice}", stream.written)))
}
