//! Says when a key has fallen silent.
