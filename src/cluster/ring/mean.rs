//! How finely the ring is divided: at least eight replicas per node in the mean, so that shares
//! can be even; it is never made coarser again.

use crate::cluster::control::{ControlState, Split};

/// Replicas that a node holds at least in the mean (the replication protocol's section 8).
const REPLICAS_MEAN_MIN: usize = 8;

/// A ring is not made finer than 2^16 arcs, whatever the number of nodes: 24,000 nodes at three
/// replicas.
const DEPTH_MAX: u8 = 16;

/// The depth that all arcs should have: that of the deepest, or more if there are many nodes.
pub(super) fn depth(state: &ControlState, nodes: usize, replicas: usize) -> u8 {
    let deepest = state.partitions.keys().map(|arc| arc.depth()).max();
    let mut depth = deepest.unwrap_or(0);
    while depth < DEPTH_MAX && (replicas << depth) < REPLICAS_MEAN_MIN * nodes {
        depth += 1;
    }
    depth
}

/// The arcs that can be halved now: too large, and not moving.
pub(super) fn splits(state: &ControlState, wanted: u8) -> Vec<Split> {
    state
        .partitions
        .iter()
        .filter(|(arc, partition)| arc.depth() < wanted && partition.moving.is_none())
        .map(|(arc, partition)| Split {
            arc: *arc,
            epoch: partition.epoch,
        })
        .collect()
}
