//! The control group: Raft among the nodes of the cluster. This folder alone names the library.
//!
//! [`RaftControl`] is the group as the rest of the node sees it ([`Control`](super::Control)).
//! Behind it: the log and the state machine in the engine's control space (`log_store.rs`,
//! `machine.rs`), messages over the transport of peers (`network.rs`, `serve.rs`), and how a node
//! comes to belong to a group at all (`joining.rs`, `founding.rs`).

mod aside;
mod decision;
mod duties;
mod founding;
mod group;
mod hello;
mod joining;
mod leaving;
mod liveness;
mod log_store;
mod machine;
mod metrics;
mod network;
mod open;
mod rebuild;
mod reply;
mod serve;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod types;
mod voters;
mod wire;

pub(in crate::cluster) use aside::why_aside;
pub use group::{Ending, RaftControl};
pub use hello::Greeting;
pub(in crate::cluster) use liveness::can_be_spared;
pub use metrics::ControlMetrics;
pub use open::GroupParts;
pub use rebuild::Survivor;
pub(in crate::cluster) use rebuild::rebuild;
pub use sessions::Position;
pub use settings::{FoundingLeave, Timings};
