//! Does PromQL answer like Prometheus'? Queries through the engine's door, over series in memory.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "a test program: a panic is how it fails"
)]

mod against_prometheus;
mod answer;
mod apart;
mod depth;
mod downsampled;
mod engine;
mod memory;
mod native;
mod notation;
mod published;
mod random_data;
mod random_native;
mod random_query;
#[allow(dead_code, reason = "what the end-to-end tests send with")]
#[path = "../e2e/remote_write.rs"]
mod remote_write;
#[allow(
    dead_code,
    unused_imports,
    reason = "what the end-to-end tests start servers with"
)]
#[path = "../e2e/servers/mod.rs"]
mod servers;
