//! The integration tests, one binary.

mod config;
mod determinism;
mod harness;
mod layering;
