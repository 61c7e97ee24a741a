//! Stdio.
