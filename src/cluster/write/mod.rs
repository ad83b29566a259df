//! Writes: samples go to the replicas of their partitions and are acknowledged by a majority.
//!
//! On one node the majority is this node: a request is acknowledged when its log position is
//! durable here. Validation and limits of content are over when samples come here (`ingest` has
//! them); what is refused here is refused for the node's state alone, and senders retry it.

mod error;
mod gate;
mod replica;
mod writer;

pub use error::WriteError;
pub use gate::{Gate, Refusing};
pub use replica::{Durable, Replica};
pub use writer::{Pending, Writer};
