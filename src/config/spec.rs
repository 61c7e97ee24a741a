//! What a pipeline file describes.

use tidewatch_connectors::format::Framing;
use tidewatch_connectors::ingest::Quarantine;
use tidewatch_connectors::Schema;
use tidewatch_dataflows::params::{Params, Value};
use tidewatch_dataflows::pipelines::Rules;
use tidewatch_dataflows::Span;

/// A pipeline, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineFile {
    /// The file, as it was named.
    pub path: String,
    /// What it is called.
    pub name: String,
    /// Where records come from; at least one, all with the same names of key parts and values.
    pub sources: Vec<SourceSpec>,
    /// What happens to records before detection, in order.
    pub steps: Vec<StepSpec>,
    /// What looks for anomalies; at least one.
    pub detects: Vec<DetectSpec>,
    /// Which alerts are one incident, if that is wanted.
    pub alerts: Option<AlertsSpec>,
    /// Which alerts nobody wants to hear of, if there are such.
    pub mutes: Option<MutesSpec>,
    /// Where results go; if there is none, the anomalies go to standard output.
    pub sinks: Vec<SinkSpec>,
    /// What the pipeline may use.
    pub limits: LimitsSpec,
    /// How state and output survive a crash, if they do.
    pub checkpoint: Option<CheckpointSpec>,
}

impl PipelineFile {
    /// The names of key parts and values that the records of every source have.
    pub fn schema(&self) -> Schema {
        self.sources.first().map(SourceSpec::schema).unwrap_or_default()
    }

    /// The table that a stream needs and the pipeline does not have.
    pub fn lacks(&self, stream: Stream) -> Option<&'static str> {
        match stream {
            Stream::Incidents | Stream::ProvisionalIncidents if self.alerts.is_none() => Some("[alerts]"),
            Stream::Muted if self.mutes.is_none() => Some("[mutes]"),
            _ => None,
        }
    }

    /// The names of what the events of a stream carry: the keys of incidents are labels.
    pub fn schema_of(&self, stream: Stream) -> Schema {
        let schema = self.schema();
        match (&self.alerts, stream) {
            (Some(alerts), Stream::Incidents | Stream::ProvisionalIncidents) => {
                let name = |part: &usize| schema.key[*part].clone();
                Schema { key: alerts.group_by.iter().map(name).collect(), ..schema }
            }
            _ => schema,
        }
    }
}

/// A source of records: a `[[source]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSpec {
    /// What it is called; unique among the sources.
    pub name: String,
    /// What reads it.
    pub connector: String,
    /// The connector's options.
    pub options: Params,
    /// How payloads become rows.
    pub format: FormatSpec,
    /// How the time of a record is read; `None` exactly if the connector gives rows.
    pub time: Option<TimeSpec>,
    /// The fields that make the key, with `@file`, `@partition` and `@topic`.
    pub key: Vec<String>,
    /// Further parts of the key, after the fields of `key`.
    pub labels: Vec<String>,
    /// The fields that are observed; at least one.
    pub values: Vec<String>,
    /// How far a record may lie behind the latest one of its partition without being late.
    pub lateness: Span,
    /// How far a record may lie ahead of the time at which it was appended.
    pub max_future: Option<Span>,
    /// After how long without a record a partition no longer holds back the others.
    pub idle: Option<Span>,
    /// The records that are dead letters whatever they say.
    pub quarantine: Quarantine,
    /// What happens to a record that lacks a value.
    pub missing: Policy,
    /// What happens to a record with a value that is infinite or not a number.
    pub non_finite: Policy,
}

impl SourceSpec {
    /// The names of key parts and values that its records have; those of provided parts without the `@`.
    pub fn schema(&self) -> Schema {
        let partition = self.key.is_empty().then_some("@partition");
        let key = self.key.iter().chain(&self.labels).map(String::as_str);
        Schema::new(
            partition.into_iter().chain(key).map(|part| part.strip_prefix('@').unwrap_or(part)),
            self.values.iter().map(String::as_str),
        )
    }
}

/// How payloads become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatSpec {
    /// What the payloads are.
    pub kind: FormatKind,
    /// Whether the first line names the fields; CSV only.
    pub header: bool,
    /// What separates fields; CSV only.
    pub delimiter: u8,
    /// Whether a quoted field may contain line ends; CSV only.
    pub multiline: bool,
}

impl FormatSpec {
    /// The format with the usual settings of its kind.
    pub fn of(kind: FormatKind) -> Self {
        Self { kind, header: kind == FormatKind::Csv, delimiter: b',', multiline: false }
    }

    /// How bytes fall into payloads.
    pub fn framing(&self) -> Framing {
        Framing { header: self.header, multiline: self.multiline, delimiter: self.delimiter }
    }
}

/// What the payloads of a source are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatKind {
    /// Fields separated by a delimiter, one record per line.
    Csv,
    /// One object per line.
    Json,
    /// Nothing to decode: the connector gives rows.
    None,
}

/// How the time of a record is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSpec {
    /// The field that holds it.
    pub field: String,
    /// What the field says.
    pub unit: TimeUnit,
}

/// What a field with a time says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970 UTC.
    Seconds,
    /// Milliseconds since 1970 UTC.
    Millis,
    /// Microseconds since 1970 UTC.
    Micros,
    /// Nanoseconds since 1970 UTC.
    Nanos,
    /// A time with its offset from UTC.
    Rfc3339,
    /// A text in a format of its own.
    Format {
        /// The format, in the notation of `strptime`.
        format: String,
        /// The time zone of the local times; `None` only if the format has an offset or zone.
        zone: Option<String>,
        /// What a local time means that the zone has twice or never.
        ambiguous: Ambiguous,
    },
}

/// What a local time means that occurs twice, or never, when the clocks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// The earlier of the two instants.
    Earlier,
    /// The later of the two instants.
    Later,
    /// The record is malformed.
    Reject,
}

/// What happens to a record with a value that cannot be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It is a dead letter.
    Reject,
    /// It stays, with a value that no detector sees.
    Keep,
}

/// An operator before detection: a `[[step]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// What it does.
    pub operator: String,
    /// The operator's parameters.
    pub params: Params,
}

/// A detector with its threshold: a `[[detect]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectSpec {
    /// What it is called; unique among the detections.
    pub name: String,
    /// What scores the records.
    pub detector: String,
    /// The detector's parameters.
    pub params: Params,
    /// The values that it reads: indexes into [`SourceSpec::values`], at least one.
    pub values: Vec<usize>,
    /// How its scores become verdicts and alerts.
    pub rules: Rules,
}

/// Which alerts are one incident: `[alerts]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertsSpec {
    /// The parts of a key that its alerts have in common with those of others, by their places; at least one.
    pub group_by: Vec<usize>,
    /// For how long no alert may be open for the next one to belong to the same incident.
    pub gap: Span,
}

impl AlertsSpec {
    /// How long that is unless said otherwise.
    pub const GAP: Span = Span::from_secs(300);
}

/// Which alerts nobody wants to hear of: `[mutes]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutesSpec {
    /// The file with the list.
    pub path: String,
    /// How often it is read again; zero if it is read at the start alone.
    pub every: Span,
}

impl MutesSpec {
    /// How often that is unless said otherwise.
    pub const EVERY: Span = Span::from_secs(1);
    /// How often that is at most.
    pub const LEAST: Span = Span::from_millis(10);
}

/// A place for results: a `[[sink]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkSpec {
    /// Which results.
    pub stream: Stream,
    /// What writes them.
    pub connector: String,
    /// The connector's options.
    pub options: Params,
    /// How they are written.
    pub format: SinkFormat,
}

impl SinkSpec {
    /// The name of the JSON schema of what is written, with its version, if it is JSON.
    pub fn schema(&self) -> Option<&'static str> {
        (self.format == SinkFormat::Json).then(|| self.stream.schema())
    }

    /// The file that it writes, if it writes one.
    pub fn path(&self) -> Option<&str> {
        match self.options.get("path") {
            Some(Value::Text(path)) => Some(path),
            _ => None,
        }
    }
}

/// What a pipeline puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// The anomalous verdicts.
    Anomalies,
    /// Every verdict.
    Verdicts,
    /// The anomalous verdicts before they are final, and what becomes of them.
    Provisional,
    /// The episodes of anomalies, as they open, become worse, and close.
    Alerts,
    /// The alerts before they are final, and what becomes of them.
    ProvisionalAlerts,
    /// The alerts that are kept back because they are muted.
    Muted,
    /// The alerts of several keys that belong together.
    Incidents,
    /// The incidents before they are final, and what becomes of them.
    ProvisionalIncidents,
    /// The records behind the watermark.
    Late,
    /// The payloads that are not records.
    DeadLetters,
    /// The keys whose state was given up.
    Evictions,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Anomalies,
        Self::Verdicts,
        Self::Provisional,
        Self::Alerts,
        Self::ProvisionalAlerts,
        Self::Muted,
        Self::Incidents,
        Self::ProvisionalIncidents,
        Self::Late,
        Self::DeadLetters,
        Self::Evictions,
    ];

    /// The name in pipeline files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anomalies => "anomalies",
            Self::Verdicts => "verdicts",
            Self::Provisional => "provisional",
            Self::Alerts => "alerts",
            Self::ProvisionalAlerts => "provisional_alerts",
            Self::Muted => "muted",
            Self::Incidents => "incidents",
            Self::ProvisionalIncidents => "provisional_incidents",
            Self::Late => "late",
            Self::DeadLetters => "dead_letters",
            Self::Evictions => "evictions",
        }
    }

    /// Whether what it says is not final, and so in no transaction.
    pub fn is_provisional(self) -> bool {
        matches!(self, Self::Provisional | Self::ProvisionalAlerts | Self::ProvisionalIncidents)
    }

    /// The name of the JSON schema of what it says, with its version: a file of the folder `schemas`.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Anomalies | Self::Verdicts => "verdict.v1",
            Self::Provisional => "provisional.v1",
            Self::Alerts => "alert.v1",
            Self::ProvisionalAlerts => "provisional_alert.v1",
            Self::Muted => "muted.v1",
            Self::Incidents => "incident.v1",
            Self::ProvisionalIncidents => "provisional_incident.v1",
            Self::Late | Self::DeadLetters => "rejected.v1",
            Self::Evictions => "eviction.v1",
        }
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SinkFormat {
    /// One JSON object per line.
    Json,
    /// Fields separated by commas, with a header.
    Csv,
    /// Aligned columns, for people.
    Table,
}

/// What a pipeline may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsSpec {
    /// The number of keys that have state at a time.
    pub keys: u64,
    /// The bytes of all state.
    pub state: u64,
    /// The bytes of the records that wait for event time.
    pub ahead: u64,
    /// The bytes of one record.
    pub record: u64,
}

impl Default for LimitsSpec {
    /// A million keys, 1 GiB of state, 512 MiB of waiting records, 1 MiB for a record.
    fn default() -> Self {
        Self { keys: 1_000_000, state: 1 << 30, ahead: 512 << 20, record: 1 << 20 }
    }
}

/// How state and output survive a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSpec {
    /// Where state survives, and what was committed is noted.
    pub store: String,
    /// How often state is saved.
    pub every: Span,
    /// How often output is committed.
    pub commit: Span,
    /// How many times the processes of `-n` are started again when they fail.
    pub restarts: u32,
}

impl CheckpointSpec {
    /// How often state is saved unless said otherwise.
    pub const EVERY: Span = Span::from_secs(10);
    /// How often output is committed unless said otherwise.
    pub const COMMIT: Span = Span::from_millis(50);
    /// How many times processes are started again unless said otherwise.
    pub const RESTARTS: u32 = 10;
}
