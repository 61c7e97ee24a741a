//! From a `[[source]]` to an input.

use std::sync::Arc;

use tidewatch_connectors::format::{
    Ambiguity, Csv, Format, Framing, Json, Layout, Missing, TimeField, TimeFormat,
};
use tidewatch_connectors::ingest::Pace;
use tidewatch_connectors::{recording, Input, Schema};
use tidewatch_dataflows::record::Dictionary;

use crate::config::{Ambiguous, FormatKind, LimitsSpec, Policy, SourceSpec, TimeUnit};
use crate::registry::{ReadBy, Registry, SourceContext};
use crate::Error;

/// So few that forgetting them would save nothing.
const FEW_KEYS: usize = 4096;

/// Makes the input that a pipeline file describes.
pub(super) fn open(
    spec: &SourceSpec,
    limits: LimitsSpec,
    read_by: ReadBy,
    registry: &Registry,
) -> Result<Input, Error> {
    let info = registry.sources.get(spec.connector.as_str());
    let info = info.ok_or_else(|| Error::unknown("source connector", &spec.connector))?;
    let format = format(spec)?;
    let framing = format.as_ref().map_or_else(Framing::lines, |format| format.framing());
    let max_record = usize::try_from(limits.record).unwrap_or(usize::MAX);
    let context = SourceContext { framing, max_record, read_by };
    let source = (info.construct)(&spec.options, &context)?;
    let schema = match &format {
        Some(format) => format.schema(),
        None => Schema::new(spec.key.clone(), spec.values.clone()),
    };
    // A worker need not remember many more keys than there may be.
    let keys = usize::try_from(limits.keys).unwrap_or(usize::MAX);
    let dictionary = keys.clamp(FEW_KEYS, Dictionary::GENERATION);
    let mut input = Input::new(source, format, schema)
        .named(&spec.name)
        .lateness(spec.lateness)
        .ahead(usize::try_from(limits.ahead).unwrap_or(usize::MAX))
        .quarantine(spec.quarantine.iter())
        .pace(Pace { dictionary, ..Pace::default() });
    if let Some(max_future) = spec.max_future {
        input = input.max_future(max_future);
    }
    if let Some(idle) = spec.idle {
        input = input.idle(idle.into());
    }
    Ok(input)
}

/// What stands for all that the rows of a source depend on beside its payloads, this program included.
pub(super) fn fingerprint(spec: &SourceSpec) -> u64 {
    let SourceSpec { format, time, key, labels, values, missing, non_finite, .. } = spec;
    let version = env!("CARGO_PKG_VERSION");
    recording::fingerprint(&format!(
        "{version} {format:?} {time:?} {key:?} {labels:?} {values:?} {missing:?} {non_finite:?}"
    ))
}

fn format(spec: &SourceSpec) -> Result<Option<Arc<dyn Format>>, Error> {
    let Some(time) = &spec.time else { return Ok(None) };
    let missing = |policy| match policy {
        Policy::Reject => Missing::Reject,
        Policy::Keep => Missing::Keep,
    };
    let layout = Layout {
        time: TimeField { field: time.field.clone(), parse: time_format(&time.unit)? },
        key: spec.key.clone(),
        labels: spec.labels.clone(),
        values: spec.values.clone(),
        missing: missing(spec.missing),
        non_finite: missing(spec.non_finite),
    };
    let format: Option<Arc<dyn Format>> = match spec.format.kind {
        FormatKind::Csv => {
            let csv = if spec.format.header { Csv::header() } else { Csv::columns() };
            let csv = csv.delimiter(spec.format.delimiter).multiline(spec.format.multiline);
            Some(Arc::new(csv.layout(layout)))
        }
        FormatKind::Json => Some(Arc::new(Json::lines().layout(layout))),
        FormatKind::None => None,
    };
    if let Some(format) = &format {
        format.check()?;
    }
    Ok(format)
}

fn time_format(unit: &TimeUnit) -> Result<TimeFormat, Error> {
    Ok(match unit {
        TimeUnit::Seconds => TimeFormat::EpochSeconds,
        TimeUnit::Millis => TimeFormat::EpochMillis,
        TimeUnit::Micros => TimeFormat::EpochMicros,
        TimeUnit::Nanos => TimeFormat::EpochNanos,
        TimeUnit::Rfc3339 => TimeFormat::Rfc3339,
        TimeUnit::Format { format, zone, ambiguous } => {
            let ambiguity = match ambiguous {
                Ambiguous::Earlier => Ambiguity::Earlier,
                Ambiguous::Later => Ambiguity::Later,
                Ambiguous::Reject => Ambiguity::Reject,
            };
            TimeFormat::civil(format, zone.as_deref().unwrap_or("UTC"), ambiguity)?
        }
    })
}
