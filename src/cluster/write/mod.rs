//! Writes: samples go to the replicas of their partitions and are acknowledged by a majority.
//!
//! While this node is alone the majority is this node: a request is acknowledged when its log
//! position is durable here. Else it goes to all members of its partitions at once: into the local
//! head, and over a stream to each peer. Validation and limits of content are over when samples
//! come here (`ingest` has them); what is refused here is refused for the state of nodes alone, and
//! senders retry it.
//!
//! * [`Writer`], `coordinator.rs`: what `ingest` writes to; one attempt after the other;
//! * `routes.rs`, `routing.rs`: where a series goes;
//! * `attempt.rs`, `majority.rs`: who has it, and when that is enough;
//! * `local.rs`: the local copy;
//! * `link.rs`, `stream.rs`, `send.rs`, `hints.rs`: to one peer;
//! * `frame/`: the bytes between peers;
//! * [`AppendService`], [`Gate`]: as a replica.

mod attempt;
mod batch;
mod coordinator;
mod error;
mod frame;
mod gate;
mod hints;
mod link;
mod local;
mod majority;
mod metrics;
mod parts;
mod replica;
mod routes;
mod routing;
mod send;
mod service;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use error::WriteError;
pub use gate::{Gate, Refusing};
pub use metrics::WriteMetrics;
pub use parts::WriterParts;
pub use replica::{Durable, Replica};
pub use service::AppendService;
pub use settings::WriteSettings;
pub use writer::{Pending, Writer};
