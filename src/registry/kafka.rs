//! The connector `kafka`. Without the feature of this name its options are known, but it cannot be made.

use std::sync::Arc;

use tidewatch_connectors::{Error, Source};
use tidewatch_dataflows::params::{Kind, Literal, Parameter, Params};

use super::{SourceContext, SourceInfo};

pub(super) fn source() -> SourceInfo {
    let never = Literal::Text("never");
    SourceInfo {
        name: "kafka",
        parameters: vec![
            Parameter::required("brokers", Kind::Text, "where brokers are, as in \"one:9092,two:9092\""),
            Parameter::optional("topics", Kind::Texts, "the topics, by name"),
            Parameter::optional("pattern", Kind::Text, "the topics, as a regular expression of whole names"),
            Parameter::with_default(
                "start",
                Kind::Text,
                Literal::Text("earliest"),
                "where a partition starts: \"earliest\", \"latest\" or a time like \"2024-01-31T00:00:00Z\"",
            ),
            Parameter::optional(
                "offsets",
                Kind::Table,
                "where partitions start instead, as in { \"requests/0\" = 42 }",
            ),
            Parameter::with_default(
                "stop_at",
                Kind::Choice(&["never", "end"]),
                never,
                "whether a partition ends where it ended when it was opened",
            ),
            Parameter::with_default(
                "on_lost",
                Kind::Choice(&["stop", "continue"]),
                Literal::Text("stop"),
                "what to do when records are gone before they were read",
            ),
            Parameter::optional(
                "librdkafka",
                Kind::Table,
                "further settings of the client, as in { \"fetch.min.bytes\" = 1 }",
            ),
        ],
        rows: false,
        envelopes: true,
        append_times: true,
        falls_silent: |options| options.value::<&str>("stop_at") == "never",
        construct: Arc::new(construct),
    }
}

#[cfg(not(feature = "kafka"))]
fn construct(_: &Params, _: &SourceContext) -> Result<Arc<dyn Source>, Error> {
    let reason = "connector \"kafka\" needs the feature \"kafka\", without which this program was built";
    Err(Error::Configuration(reason.to_owned()))
}

#[cfg(feature = "kafka")]
fn construct(options: &Params, context: &SourceContext) -> Result<Arc<dyn Source>, Error> {
    use std::collections::BTreeMap;

    use tidewatch_connectors::format::TimeFormat;
    use tidewatch_connectors::kafka::{KafkaSource, OnLost, Settings, Start, Topics};

    use super::built_in::conflict;

    type Texts = BTreeMap<String, String>;

    if context.framing.header {
        let reason = "a topic has no header line: say format = { kind = \"csv\", header = false }";
        return Err(Error::Configuration(reason.to_owned()));
    }
    let topics = match (options.optional::<&[String]>("topics"), options.optional("pattern")) {
        (Some([]), None) => return Err(conflict("topics", "is empty; name the topics").into()),
        (Some(names), None) => Topics::Named(names.to_vec()),
        (None, Some(pattern)) => Topics::matching(pattern)
            .map_err(|error| conflict("pattern", &format!("cannot be used: {error}")))?,
        (None, None) => return Err(conflict("topics", "is missing, and so is \"pattern\"; give one").into()),
        (Some(_), Some(_)) => {
            return Err(conflict("pattern", "says which topics, as \"topics\" does; give one of them").into())
        }
    };
    let start = match options.value("start") {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        text => TimeFormat::Rfc3339.parse(text).map(Start::At).map_err(|_| {
            let reason = "takes \"earliest\", \"latest\" or a time like \"2024-01-31T00:00:00Z\"";
            conflict("start", reason)
        })?,
    };
    let offset = |(name, offset): (&String, &String)| match offset.parse::<u64>() {
        Ok(offset) => Ok((name.clone(), offset)),
        Err(_) => Err(conflict("offsets", &format!("says of \"{name}\" what is not a whole number"))),
    };
    let offsets = options.optional::<&Texts>("offsets").into_iter().flatten().map(offset);
    let offsets = offsets.collect::<Result<Vec<_>, _>>()?;
    let further = options.optional::<&Texts>("librdkafka").into_iter().flatten();
    let further = further.map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = Settings::new(options.value("brokers"), further)?;
    let on_lost = match options.value("on_lost") {
        "continue" => OnLost::Continue,
        _ => OnLost::Stop,
    };
    let source = KafkaSource::new(settings, topics)
        .start(start)
        .offsets(offsets)
        .on_lost(on_lost)
        .bounded(options.value::<&str>("stop_at") == "end")
        .max_record(context.max_record);
    Ok(Arc::new(source))
}
