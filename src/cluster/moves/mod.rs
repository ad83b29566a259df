//! Changing who replicates a partition, and bringing members up to the catalog.
//!
//! The leader of the control group conducts (`conductor.rs`, pure; `conducting.rs` carries it
//! out): it compares the ring with the plan, lets newcomers fetch blocks, begins, finishes and
//! aborts moves. Every node does its own part (`mover.rs`): it follows the catalog
//! (`follower.rs`), gathers heads when it must (`gather.rs`), and forgets what it is no longer a
//! member of.

mod conducting;
mod conductor;
mod follower;
mod gather;
mod mover;
mod service;
mod wire;

pub(super) use conducting::Conducting;
pub use conductor::{Progress, Report};
pub(super) use follower::{Follower, role_of};
pub(super) use mover::{Mover, MoverParts};
pub(super) use service::MoveService;
