//! The connector `kafka`. Without the feature of this name its options are known, but it cannot be made.

use std::sync::Arc;

use tidewatch_connectors::{Error, Sink, Source, TransactionalSink};
use tidewatch_dataflows::params::{Kind, Literal, Parameter, Params};

#[cfg(feature = "kafka")]
use super::ReadBy;
use super::{SinkContext, SinkInfo, SinkStream, SourceContext, SourceInfo, Transactional, Written};

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
            Parameter::with_default(
                "discover",
                Kind::Span,
                Literal::Text("30s"),
                "how often to look whether partitions or topics have appeared; \"0s\" for never",
            ),
            Parameter::optional(
                "group",
                Kind::Text,
                "the consumer group that is told how far reading is, for tools that show the lag; of a pipeline with a store by \
                 default its name, \"\" for none",
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

pub(super) fn sink() -> SinkInfo {
    SinkInfo {
        name: "kafka",
        parameters: vec![
            Parameter::required("brokers", Kind::Text, "where brokers are, as in \"one:9092,two:9092\""),
            Parameter::required("topic", Kind::Text, "the topic to write to"),
            Parameter::optional(
                "create",
                Kind::Table,
                "how to make the topic if it is not there, as in { partitions = 3, replication = 1, retention = \"7d\" }",
            ),
            Parameter::with_default(
                "shards",
                Kind::Integer(1, 1024),
                Literal::Integer(4),
                "how many transactions there are at a time; it stays the same as long as the job lives",
            ),
            Parameter::optional(
                "progress_topic",
                Kind::Text,
                "the compacted topic that holds how far output is complete, by default NAME-progress",
            ),
            Parameter::optional(
                "librdkafka",
                Kind::Table,
                "further settings of the clients, as in { \"compression.codec\" = \"zstd\" }",
            ),
        ],
        check: check_sink,
        construct: Arc::new(construct_sink),
        transactional: Some(Transactional {
            together_by: Some("brokers"),
            construct: Arc::new(construct_transactional),
        }),
    }
}

#[cfg(not(feature = "kafka"))]
fn check_sink(_: &Params) -> Result<(), Error> {
    Err(missing())
}

#[cfg(not(feature = "kafka"))]
fn construct_sink(_: &Params, _: &Written) -> Result<Box<dyn Sink>, Error> {
    Err(missing())
}

#[cfg(not(feature = "kafka"))]
fn construct_transactional(
    _: &[SinkStream<'_>],
    _: &SinkContext,
) -> Result<Arc<dyn TransactionalSink>, Error> {
    Err(missing())
}

#[cfg(feature = "kafka")]
fn check_sink(options: &Params) -> Result<(), Error> {
    use tidewatch_connectors::kafka::TransactionalKafka;
    TransactionalKafka::from_params("", 0, &[(None, options)]).map(drop)
}

#[cfg(feature = "kafka")]
fn construct_transactional(
    streams: &[SinkStream<'_>],
    context: &SinkContext,
) -> Result<Arc<dyn TransactionalSink>, Error> {
    use tidewatch_connectors::kafka::TransactionalKafka;
    Ok(Arc::new(TransactionalKafka::from_params(&context.job, context.incarnation, streams)?))
}

#[cfg(feature = "kafka")]
fn construct_sink(options: &Params, written: &Written) -> Result<Box<dyn Sink>, Error> {
    use tidewatch_connectors::kafka::KafkaSink;
    Ok(Box::new(KafkaSink::from_params(&written.pipeline, written.schema, options)?))
}

#[cfg(not(feature = "kafka"))]
fn missing() -> Error {
    Error::Unbuilt { what: "connector \"kafka\"".to_owned(), feature: "kafka" }
}

#[cfg(not(feature = "kafka"))]
fn construct(_: &Params, _: &SourceContext) -> Result<Arc<dyn Source>, Error> {
    Err(missing())
}

#[cfg(feature = "kafka")]
fn construct(options: &Params, context: &SourceContext) -> Result<Arc<dyn Source>, Error> {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tidewatch_connectors::format::TimeFormat;
    use tidewatch_connectors::kafka::{KafkaSource, OnLost, Settings, Start, Topics};
    use tidewatch_dataflows::Span;

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
        .discover(Some(Duration::from(options.value::<Span>("discover"))).filter(|every| !every.is_zero()))
        .bounded(options.value::<&str>("stop_at") == "end")
        .max_record(context.max_record);
    Ok(Arc::new(match group(options.optional("group"), &context.read_by) {
        Some(group) => source.group(group),
        None => source,
    }))
}

/// Which group is told how far reading is.
#[cfg(feature = "kafka")]
fn group(given: Option<&str>, read_by: &ReadBy) -> Option<String> {
    let group = match (read_by, given) {
        (ReadBy::Onlooker, _) | (ReadBy::Run, None) => None,
        (ReadBy::Job(name), None) => Some(name.as_str()),
        (ReadBy::Job(_) | ReadBy::Run, Some(group)) => Some(group),
    };
    group.filter(|group| !group.is_empty()).map(str::to_owned)
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn who_goes_on_where_it_stood_tells_a_group_of_its_name_and_an_onlooker_tells_none() {
        let told = |given| {
            let readers = [ReadBy::Job("job".to_owned()), ReadBy::Run, ReadBy::Onlooker];
            readers.map(|read_by| group(given, &read_by))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!([some("job"), None, None], told(None));
        assert_eq!([some("g"), some("g"), None], told(Some("g")));
        assert_eq!([None, None, None], told(Some("")));
    }
}
