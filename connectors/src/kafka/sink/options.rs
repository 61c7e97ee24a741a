//! Sinks from the options of pipeline files: `brokers`, `topic`, `create`, `shards`, `progress_topic` and `librdkafka`.

use std::collections::BTreeMap;

use tidewatch_dataflows::params::{ParamError, Params};
use tidewatch_dataflows::Span;

use super::{Brokers, Create, KafkaSink, Topic, TransactionalKafka};
use crate::Error;

/// What is given as a table of texts.
type Texts = BTreeMap<String, String>;

impl KafkaSink {
    /// Opens the sink that `options` describe, for messages of a pipeline that have this schema.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] or [`Error::Configuration`] if the options are wrong; else as [`KafkaSink::open`].
    pub fn from_params(pipeline: &str, schema: Option<&str>, options: &Params) -> Result<Self, Error> {
        Self::open(pipeline, &brokers(options)?, topic(schema, options)?)
    }
}

impl TransactionalKafka {
    /// The sink that the options of its streams describe, each with the schema of the stream; what concerns all streams,
    /// they must have in common. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] or [`Error::Configuration`] if the options are wrong.
    ///
    /// # Panics
    ///
    /// If there is no stream.
    pub fn from_params(
        job: &str,
        incarnation: u64,
        streams: &[(Option<&str>, &Params)],
    ) -> Result<Self, Error> {
        let (_, first) = streams.first().expect("a sink has a stream");
        for name in ["brokers", "shards", "progress_topic", "librdkafka"] {
            if streams.iter().any(|(_, options)| options.get(name) != first.get(name)) {
                let reason = "is not the same for all sinks of these brokers, which share transactions";
                return Err(conflict(name, reason.to_owned()).into());
            }
        }
        let topics = streams.iter().map(|(schema, options)| topic(*schema, options));
        let sink = Self::new(job, incarnation, brokers(first)?, topics.collect::<Result<Vec<_>, _>>()?);
        let sink = sink.sharded(first.value("shards"));
        Ok(match first.optional::<&str>("progress_topic") {
            Some(name) => sink.progress_topic(name),
            None => sink,
        })
    }
}

fn brokers(options: &Params) -> Result<Brokers, Error> {
    let further = options.optional::<&Texts>("librdkafka").into_iter().flatten();
    Brokers::new(options.value::<&str>("brokers"), further)
}

fn topic(schema: Option<&str>, options: &Params) -> Result<Topic, ParamError> {
    let create = options.optional::<&Texts>("create").map(create).transpose()?;
    Ok(Topic { name: options.value::<&str>("topic").to_owned(), schema: schema.map(str::to_owned), create })
}

fn create(given: &Texts) -> Result<Create, ParamError> {
    let mut create = Create::default();
    for (name, text) in given {
        let wrong = |takes| conflict("create", format!("takes {takes} as \"{name}\""));
        let number = || {
            let number = text.parse().ok().filter(|number| *number > 0);
            number.map(Some).ok_or_else(|| wrong("a whole number above zero"))
        };
        match name.as_str() {
            "partitions" => create.partitions = number()?,
            "replication" => create.replication = number()?,
            "retention" => {
                let span = text.parse::<Span>().map_err(|_| wrong("a length of time, like 7d,"))?;
                create.retention = Some(span);
            }
            _ => {
                let reason = "takes \"partitions\", \"replication\" and \"retention\"";
                return Err(conflict("create", format!("{reason}, not \"{name}\"")));
            }
        }
    }
    Ok(create)
}

fn conflict(name: &'static str, reason: String) -> ParamError {
    ParamError::Conflict { name, reason }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflows::params::{Given, Kind, Literal, Parameter};

    use super::*;
    use crate::TransactionalSink;

    const DECLARED: [Parameter; 6] = [
        Parameter::required("brokers", Kind::Text, ""),
        Parameter::required("topic", Kind::Text, ""),
        Parameter::with_default("shards", Kind::Integer(1, 1024), Literal::Integer(4), ""),
        Parameter::optional("progress_topic", Kind::Text, ""),
        Parameter::optional("create", Kind::Table, ""),
        Parameter::optional("librdkafka", Kind::Table, ""),
    ];

    fn options(topic: &str, further: &[(&str, Given)]) -> Params {
        let text = |name: &str, text: &str| (name.to_owned(), Given::Text(text.to_owned()));
        let further = further.iter().map(|(name, given)| ((*name).to_owned(), given.clone()));
        let given = [text("brokers", "a:1"), text("topic", topic)].into_iter().chain(further);
        Params::check(&DECLARED, given).unwrap()
    }

    fn table(entries: &[(&str, &str)]) -> Given {
        Given::Table(entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn how_topics_are_made_is_read_or_refused() {
        let create = |entries: &[(&str, &str)]| topic(None, &options("t", &[("create", table(entries))]));
        let made = create(&[("partitions", "3"), ("retention", "7d")]).unwrap().create;
        let expected =
            Create { partitions: Some(3), replication: None, retention: Some(Span::from_secs(604_800)) };
        assert_eq!(Some(expected), made);
        for (name, text, reason) in [
            ("partitions", "0", "\"create\" takes a whole number above zero as \"partitions\""),
            ("retention", "long", "\"create\" takes a length of time, like 7d, as \"retention\""),
            ("size", "1", "\"create\" takes \"partitions\", \"replication\" and \"retention\", not \"size\""),
        ] {
            assert_eq!(reason, create(&[(name, text)]).unwrap_err().to_string());
        }
    }

    #[test]
    fn streams_share_what_concerns_all_of_them() {
        let shards = |count| options("other", &[("shards", Given::Integer(count))]);
        let made = |other: &Params| {
            TransactionalKafka::from_params(
                "job",
                1,
                &[(Some("verdict.v1"), &options("t", &[])), (None, other)],
            )
        };
        assert_eq!(4, made(&shards(4)).unwrap().shards());
        assert_eq!(
            "\"shards\" is not the same for all sinks of these brokers, which share transactions",
            made(&shards(2)).unwrap_err().to_string()
        );
    }
}
