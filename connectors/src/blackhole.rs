//! Blackhole.
