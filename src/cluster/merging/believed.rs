//! Whether the time is right, before something goes because of it.

use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::{ControlState, Liveness};

/// Whether a majority of the nodes is within a minute. Who votes is known to the leader alone, and
/// any member may have to rewrite.
pub(super) fn is_believed(clock: &DeletionClock, state: &ControlState) -> bool {
    let nodes = state.members.iter();
    let nodes = nodes.filter(|(_, member)| member.liveness != Liveness::Gone);
    let nodes = nodes.map(|(who, _)| *who).collect();
    let believed = clock.now(&nodes);
    if let Err(error) = &believed {
        tracing::warn!(%error, "what is past its retention or its age stays as it is for now");
    }
    believed.is_ok()
}
