//! The integration tests, one binary.

mod cli;
mod config;
mod determinism;
mod examples;
mod harness;
mod ingest;
mod layering;
mod readme;
mod replay;
