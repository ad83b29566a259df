//! Does PromQL answer like Prometheus'? Queries through the engine's door, over series in memory.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "a test program: a panic is how it fails"
)]

mod engine;
mod memory;
mod published;
