//! The connectors and operators that every build has.

use std::sync::Arc;

use tidewatch_connectors::blackhole::Blackhole;
use tidewatch_connectors::file::{pattern, FileSink, FileSource, TransactionalFile};
use tidewatch_connectors::generator::{self, Generator, Profile};
use tidewatch_connectors::recording::RecordingSource;
use tidewatch_connectors::stdio::{Stderr, Stdin, Stdout};
use tidewatch_connectors::{Error, Sink};
use tidewatch_dataflows::params::{Kind, Literal, ParamError, Parameter, Params};
use tidewatch_dataflows::Catalogue;

use super::{kafka, SinkInfo, SourceInfo, Transactional};

pub(super) fn sources() -> Catalogue<SourceInfo> {
    let infos = [
        SourceInfo {
            name: "file",
            parameters: vec![
                Parameter::required(
                    "path",
                    Kind::Texts,
                    "the files, as paths or patterns like \"data/*.csv\"",
                ),
                flag("follow", "whether to wait for more at the end of a file"),
            ],
            rows: false,
            envelopes: false,
            append_times: false,
            falls_silent: |options| options.value("follow"),
            construct: Arc::new(|options, context| {
                let patterns = options.value::<&[String]>("path").to_vec();
                if patterns.is_empty() {
                    return Err(conflict("path", "is empty; name the files").into());
                }
                for pattern in &patterns {
                    pattern::check(pattern).map_err(|reason| conflict("path", &reason))?;
                }
                let source = FileSource::new(patterns)
                    .follow(options.value("follow"))
                    .framing(context.framing.clone())
                    .max_record(context.max_record);
                Ok(Arc::new(source))
            }),
        },
        SourceInfo {
            name: "stdio",
            parameters: vec![],
            rows: false,
            envelopes: false,
            append_times: false,
            falls_silent: |_| true,
            construct: Arc::new(|_, context| {
                let source = Stdin::new().framing(context.framing.clone()).max_record(context.max_record);
                Ok(Arc::new(source))
            }),
        },
        SourceInfo {
            name: "recording",
            parameters: vec![
                Parameter::required("path", Kind::Text, "the recording"),
                Parameter::optional(
                    "source",
                    Kind::Text,
                    "the name that the source had, if there are several",
                ),
            ],
            rows: false,
            envelopes: false,
            append_times: true,
            falls_silent: |_| false,
            construct: Arc::new(|options, _| {
                let source = options.optional::<&str>("source").map(str::to_owned);
                Ok(Arc::new(RecordingSource::new(options.value::<&str>("path"), source)))
            }),
        },
        SourceInfo {
            name: "generator",
            parameters: generator::PARAMETERS.to_vec(),
            rows: true,
            envelopes: false,
            append_times: false,
            falls_silent: |_| false,
            construct: Arc::new(|options, _| Ok(Arc::new(Generator::new(Profile::from_params(options)?)?))),
        },
        kafka::source(),
    ];
    infos.into_iter().collect()
}

pub(super) fn sinks() -> Catalogue<SinkInfo> {
    let path = Parameter::required("path", Kind::Text, "the file to write");
    let file =
        sink("file", vec![path], |options| Ok(Box::new(FileSink::create(options.value::<&str>("path"))?)));
    let transactional = Transactional {
        together_by: None,
        construct: Arc::new(|streams, context| {
            let [(_, options)] = streams else { unreachable!("each stream has a file of its own") };
            let path = options.value::<&str>("path");
            Ok(Arc::new(TransactionalFile::new(path, context.store.clone(), "")))
        }),
    };
    let infos = [
        SinkInfo { transactional: Some(transactional), ..file },
        sink("stdout", vec![], |_| Ok(Box::new(Stdout::new()))),
        sink("stderr", vec![], |_| Ok(Box::new(Stderr::new()))),
        sink("blackhole", vec![], |_| Ok(Box::new(Blackhole::default()))),
        kafka::sink(),
    ];
    infos.into_iter().collect()
}

fn sink(
    name: &'static str,
    parameters: Vec<Parameter>,
    construct: fn(&Params) -> Result<Box<dyn Sink>, Error>,
) -> SinkInfo {
    SinkInfo {
        name,
        parameters,
        check: |_| Ok(()),
        construct: Arc::new(move |options, _| construct(options)),
        transactional: None,
    }
}

const fn flag(name: &'static str, doc: &'static str) -> Parameter {
    Parameter::with_default(name, Kind::Flag, Literal::Flag(false), doc)
}

pub(super) fn conflict(name: &'static str, reason: &str) -> ParamError {
    ParamError::Conflict { name, reason: reason.to_owned() }
}
