//! The connectors and operators that every build has.

use tidewatch_dataflows::params::{Default, Kind, ParamError, Parameter, Params, Range};
use tidewatch_dataflows::Span;

use super::{ConnectorInfo, OperatorInfo};

pub(super) fn sources() -> Vec<ConnectorInfo> {
    vec![
        ConnectorInfo {
            name: "file",
            summary: "files, each a partition, plain or compressed",
            parameters: vec![
                Parameter::required(
                    "path",
                    Kind::Texts,
                    "the files, as paths or patterns like \"data/*.csv\"",
                ),
                flag("follow", "whether to wait for more at the end of a file"),
            ],
            rows: false,
            append_times: false,
            falls_silent: |options| options.flag("follow"),
        },
        ConnectorInfo {
            name: "stdio",
            summary: "standard input, one partition",
            parameters: vec![],
            rows: false,
            append_times: false,
            falls_silent: |_| true,
        },
        ConnectorInfo {
            name: "generator",
            summary: "synthetic seasonal series with known anomalies",
            parameters: generator(),
            rows: true,
            append_times: false,
            falls_silent: |_| false,
        },
    ]
}

pub(super) fn sinks() -> Vec<ConnectorInfo> {
    let path = Parameter::required("path", Kind::Text, "the file to write");
    let sink = |name, summary, parameters| ConnectorInfo {
        name,
        summary,
        parameters,
        rows: false,
        append_times: false,
        falls_silent: |_| false,
    };
    vec![
        sink("file", "a file, written once per result across restarts", vec![path]),
        sink("stdout", "standard output", vec![]),
        sink("stderr", "standard error", vec![]),
        sink("blackhole", "nowhere, for measurements", vec![]),
    ]
}

pub(super) fn operators() -> Vec<OperatorInfo> {
    let aggregates = &["count", "sum", "mean", "min", "max", "last", "rate", "quantile"];
    let policies = &["skip", "zero", "hold", "alert"];
    vec![OperatorInfo {
        name: "window",
        summary: "one record per key and window of time, with an aggregate of each value",
        parameters: vec![
            Parameter::required("every", Kind::Span, "how far apart windows start"),
            Parameter::optional("size", Kind::Span, "how long a window is, if they overlap"),
            choice("aggregate", aggregates, "mean", "what becomes of the values of a window"),
            Parameter::optional(
                "quantile",
                Kind::Number(Range { from: 0.0, to: 1.0, open: false }),
                "which quantile, if that is the aggregate",
            ),
            choice("missing", policies, "skip", "what becomes of a window without records"),
        ],
        check: window,
    }]
}

fn window(params: &Params) -> Result<(), ParamError> {
    let conflict = |name, reason: &str| Err(ParamError::Conflict { name, reason: reason.to_owned() });
    let every = params.span("every").unwrap_or_default();
    if every == Span::ZERO {
        return conflict("every", "must be longer than zero");
    }
    match params.span("size") {
        Some(size) if size < every => {
            return conflict("size", "must be at least \"every\", or records fall between windows")
        }
        Some(size) if size.micros() % every.micros() != 0 => {
            return conflict("size", "must be a multiple of \"every\", or windows end at odd times");
        }
        _ => {}
    }
    match (params.text("aggregate"), params.opt_number("quantile")) {
        (Some("quantile"), None) => {
            conflict("aggregate", "is \"quantile\", which needs \"quantile\", as in 0.99")
        }
        (Some("quantile"), _) | (_, None) => Ok(()),
        (_, Some(_)) => conflict("quantile", "goes with aggregate = \"quantile\" only"),
    }
}

fn generator() -> Vec<Parameter> {
    let fraction = Kind::Number(Range { from: 0.0, to: 1.0, open: false });
    let whole = |name, from, default, doc| {
        Parameter::with_default(name, Kind::Integer(from, i64::MAX), Default::Integer(default), doc)
    };
    let number = |name, range, default, doc| {
        Parameter::with_default(name, Kind::Number(range), Default::Number(default), doc)
    };
    let share =
        |name, default, doc| Parameter::with_default(name, fraction.clone(), Default::Number(default), doc);
    vec![
        whole("keys", 1, 100, "how many series there are"),
        Parameter::with_default(
            "partitions",
            Kind::Integer(1, 65_536),
            Default::Integer(1),
            "how many partitions the series are spread over",
        ),
        whole("records", 1, 1_000_000, "how many records there are in all partitions together"),
        number("rate", Range::POSITIVE, 1_000.0, "records per second of event time, all series together"),
        whole("seed", 0, 1, "what the random numbers start from"),
        Parameter::with_default(
            "start",
            Kind::Text,
            Default::Text("2024-01-01T00:00:00Z"),
            "the time of the first record, in RFC 3339",
        ),
        Parameter::with_default("season", Kind::Span, Default::Text("1h"), "how long a season is"),
        number("amplitude", Range::NON_NEGATIVE, 10.0, "how far a season swings from the mean"),
        number("noise", Range::NON_NEGATIVE, 1.0, "the standard deviation of the noise"),
        Parameter::with_default(
            "disorder",
            Kind::Span,
            Default::Text("0s"),
            "how far a record lies behind an earlier one at most, unless it is late",
        ),
        share("late", 0.0, "the share of records that are late"),
        share("anomalies", 0.001, "the share of records that are anomalies"),
        number(
            "magnitude",
            Range::NON_NEGATIVE,
            10.0,
            "how far an anomaly lies off, in standard deviations of the noise",
        ),
    ]
}

const fn flag(name: &'static str, doc: &'static str) -> Parameter {
    Parameter::with_default(name, Kind::Flag, Default::Flag(false), doc)
}

const fn choice(
    name: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> Parameter {
    Parameter::with_default(name, Kind::Choice(words), Default::Text(default), doc)
}
