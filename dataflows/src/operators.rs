//! Extension traits on streams.
