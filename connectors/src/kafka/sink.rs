//! Writes to topics of Kafka.
//!
//! [`TransactionalKafka`] is the sink whose output becomes visible in transactions, together with how far it is complete: a
//! run that goes on after a crash adds exactly what is missing. [`KafkaSink`] writes each message at least once, as what is
//! not final is written, and what has no checkpoint.
//!
//! A message goes to the partition to which Java's default partitioner would take its key (murmur2), so that it can be joined
//! with what others write.

mod brokers;
mod failure;
mod headers;
mod hearing;
mod options;
mod plain;
mod producer;
mod progress;
mod shard;
mod topics;
mod transactional;

pub use brokers::Brokers;
pub use plain::KafkaSink;
pub use topics::{Create, Topic};
pub use transactional::TransactionalKafka;
