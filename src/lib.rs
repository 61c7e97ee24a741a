//! Streaming anomaly detection as a dataflow engine, on timely and differential dataflow.
//!
//! [`dataflows`] is what is computed, [`connectors`] where records come from and go, and the modules here are how
//! it runs. A program starts from the [`prelude`].
#![deny(clippy::print_stderr)]
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod config;
pub mod error;
pub mod evaluate;
mod exit;
pub mod job;
mod log;
pub mod mesh;
pub mod mutes;
pub mod progress;
pub mod recovery;
pub mod registry;
pub mod replay;
mod said;
mod supervisor;

#[doc(inline)]
pub use {tidewatch_connectors as connectors, tidewatch_dataflows as dataflows};

pub use cluster::execute;
pub use error::Error;

/// What a program with dataflows of its own needs.
pub mod prelude {
    pub use std::time::Duration;

    pub use tidewatch_connectors::egress::{Announce, Egress, Output};
    pub use tidewatch_connectors::file::FileSource as File;
    pub use tidewatch_connectors::format::{Csv, Json};
    pub use tidewatch_connectors::stdio::{Stderr, Stdout};
    pub use tidewatch_connectors::{Input, Schema};
    pub use tidewatch_dataflows::detectors::{
        Bounds, Detector, EwmaZ, RateOfChange, RunningRange, Score, WindowedGaussian,
    };
    pub use tidewatch_dataflows::logic::{above, silent_for, window, Detect, Gap, Threshold, Verdict};
    pub use tidewatch_dataflows::operators::{Accumulate, CollectStates, CountOpen, Eager, Keyed, Limits};
    pub use tidewatch_dataflows::state::{self, StateError};
    pub use tidewatch_dataflows::{Describe, Emission, EventTime, Fields, Key, Logic, Ranked, Record, Span};
    pub use timely::dataflow::operators::vec::Map;
    pub use timely::dataflow::operators::Concat;

    pub use crate::{execute, Error};
}
