//! Partitions: the ring as it is founded. Moves and splits come with peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::control::command::{Found, MemberId, Refusal};
use crate::cluster::control::state::{ControlState, Partition};
use crate::model::{Epoch, RingArc};

/// The deepest ring that can be founded: 65,536 arcs; it deepens by splitting.
const FOUNDING_DEPTH_MAX: u8 = 16;

/// Founds the cluster. The same founding twice is founded once.
pub(super) fn found(state: &mut ControlState, found: &Found) -> Result<(), Refusal> {
    if let Some(cluster) = state.cluster {
        if cluster == found.cluster {
            return Ok(());
        }
        return Err(Refusal::Founded(cluster));
    }
    let distinct: BTreeSet<_> = found.founders.iter().collect();
    let fits = !distinct.is_empty() && distinct.len() == found.founders.len();
    if !fits || found.depth > FOUNDING_DEPTH_MAX {
        return Err(Refusal::BadFounding);
    }
    let members: Vec<MemberId> = found
        .founders
        .iter()
        .map(|incarnation| MemberId {
            incarnation: *incarnation,
            life: 0,
        })
        .collect();
    state.cluster = Some(found.cluster);
    state.partitions = RingArc::all(found.depth)
        .map(|arc| (arc, Arc::new(Partition::new(Epoch(1), members.clone()))))
        .collect();
    Ok(())
}
