//! The integration tests, one binary.

mod config;
mod readme;
mod ingest;
