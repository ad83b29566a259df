//! Partitions: the ring as it is founded, and as it deepens.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::control::command::{Found, MemberId, Refusal, Split};
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

/// A partition becomes two, each with all that it was; no byte moves, and answers are filtered by
/// arc. Never during a move.
pub(super) fn split(state: &mut ControlState, split: &Split) -> Result<(), Refusal> {
    let parent = current(state, split.arc, split.epoch)?;
    if parent.moving.is_some() {
        return Err(Refusal::Moving(split.arc));
    }
    let halves = split.arc.halves().ok_or(Refusal::TooDeep(split.arc))?;
    let mut child = parent.clone();
    child.epoch = next_epoch(parent.epoch)?;
    let child = Arc::new(child);
    state.partitions.remove(&split.arc);
    let children = halves.map(|half| (half, Arc::clone(&child)));
    state.partitions.extend(children);
    Ok(())
}

/// The partition of an arc.
pub(super) fn partition(state: &mut ControlState, arc: RingArc) -> Result<&mut Partition, Refusal> {
    let partition = state.partitions.get_mut(&arc);
    partition
        .map(Arc::make_mut)
        .ok_or(Refusal::NoPartition(arc))
}

/// The partition of an arc, if its epoch is still the one that the command names.
pub(super) fn current(
    state: &mut ControlState,
    arc: RingArc,
    epoch: Epoch,
) -> Result<&mut Partition, Refusal> {
    let partition = partition(state, arc)?;
    if partition.epoch != epoch {
        return Err(Refusal::WrongEpoch {
            current: partition.epoch,
        });
    }
    Ok(partition)
}

/// Every change of members raises the epoch.
pub(super) fn next_epoch(epoch: Epoch) -> Result<Epoch, Refusal> {
    epoch.0.checked_add(1).map(Epoch).ok_or(Refusal::Exhausted)
}
