//! tidewatch.
fn main() {}
