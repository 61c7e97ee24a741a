//! tidewatch.
