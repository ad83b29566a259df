//! The manifests that this node keeps, and the catalog that a partition's state and manifest are
//! together. Whoever wants to know which blocks a partition has asks here, never the state alone.
//!
//! Not here: who writes a manifest and when (`history`), how a missing one is fetched (`moves`,
//! `blocks`).

mod kept;
mod listed;

pub(super) use kept::Manifests;
pub(super) use listed::{Listed, listed, named};
