//! The integration tests, one binary.

#[cfg(target_os = "linux")]
mod broker;
#[cfg(all(feature = "kafka", target_os = "linux"))]
mod chaos;
mod cli;
#[cfg(target_os = "linux")]
mod cluster;
mod commit;
mod config;
mod determinism;
mod examples;
mod harness;
mod ingest;
mod interrupted;
#[cfg(all(feature = "kafka", target_os = "linux"))]
mod kafka;
#[cfg(all(feature = "kafka", target_os = "linux"))]
mod kafka_sink;
mod layering;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod mutes;
mod provisional;
mod readme;
#[cfg(target_os = "linux")]
mod recovery;
mod registered;
mod replay;
mod schemas;
mod simulation;
mod underway;
