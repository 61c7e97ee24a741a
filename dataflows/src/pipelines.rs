//! From a validated description to a logic.
