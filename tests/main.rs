//! The integration tests, one binary.

mod config;
mod ingest;
mod layering;
