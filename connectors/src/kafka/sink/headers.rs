//! What a message carries beside key and payload.

use rdkafka::message::{Header as Written, OwnedHeaders};

use super::Topic;
use crate::Header;

/// What every message of a topic carries; further headers follow.
pub(super) fn common(pipeline: &str, topic: &Topic) -> OwnedHeaders {
    let headers = OwnedHeaders::new().insert(Written { key: "pipeline", value: Some(pipeline) });
    match &topic.schema {
        Some(schema) => headers.insert(Written { key: "schema", value: Some(schema.as_str()) }),
        None => headers,
    }
}

/// The same with those of a message.
pub(super) fn with(common: &OwnedHeaders, headers: &[Header<'_>]) -> OwnedHeaders {
    let insert = |all: OwnedHeaders, header: &Header<'_>| {
        all.insert(Written { key: header.name, value: Some(header.value) })
    };
    headers.iter().fold(common.clone(), insert)
}
