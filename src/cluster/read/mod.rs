//! Reads over the whole cluster: what a majority of each partition's members knows, as one source.
//!
//! A read asks members what they hold (epoch, version, digests of their heads), takes the data of
//! each partition from one view of the highest version among them, and fetches from the other
//! heads what that view may lack: section 7 of the replication protocol. It never misses silently.
//!
//! * `protocol.rs`: which answers count and what is complete, as a pure value;
//! * `assemble.rs`, `names.rs`, `counting.rs`: drivers of selects, of what has no samples, of numbers;
//! * `service.rs`: the answering side; `view.rs`: what it answers from;
//! * `messages.rs`, `answers.rs`, `batch.rs`: `proto/read.proto`; `link.rs`: calls of a thread that blocks.

mod answers;
mod assemble;
mod batch;
mod core;
mod counting;
mod effort;
mod leaves;
mod link;
mod merge;
mod messages;
mod metrics;
mod names;
mod peers;
mod protocol;
mod reread;
mod resume;
mod round;
mod service;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod view;

pub use metrics::{Completion, ReadMetrics};
pub use reread::reread;
pub use service::ReadService;
pub use settings::ReadSettings;
pub use source::{ClusterSource, ReadParts};
