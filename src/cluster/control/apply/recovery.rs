//! What a person decides when too much is lost for the ordinary ways: a partition goes on with
//! whoever is left of it, and a control group with whoever is left of that.
//!
//! Both give something up, so both ask that those who are given up never come back as who they
//! were: they are gone for ever, or the command is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::partitions::{current, next_epoch};
use super::tombstones::touched;
use crate::cluster::control::command::{ControlGeneration, MemberId, Recovered, Refusal};
use crate::cluster::control::state::{ControlState, Liveness};
use crate::model::{Epoch, Incarnation};

/// Epochs of a new generation begin at the next multiple of this: what the lost majority may have
/// decided beyond what is known here can have no epoch of the new generation.
const EPOCHS_OF_A_GENERATION: u64 = 1 << 32;

/// A partition goes on with the members that are left, and without the blocks that nobody has.
/// Refused while an ordinary move can still do it: while C of the members could come back.
pub(super) fn recovered(state: &mut ControlState, recovered: &Recovered) -> Result<(), Refusal> {
    let members = &state.members;
    let stands = |member: &MemberId| {
        let known = members.get(&member.incarnation);
        known.is_some_and(|known| known.liveness == Liveness::Live && known.life == member.life)
    };
    let fits = recovered.members.iter().all(stands);
    let distinct: BTreeSet<_> = recovered.members.iter().map(|m| m.incarnation).collect();
    // Gone for ever: the data directory, or the life in which it was a member.
    let over: BTreeMap<Incarnation, Option<u32>> = members
        .iter()
        .map(|(incarnation, member)| {
            let stands = member.liveness != Liveness::Gone;
            (*incarnation, stands.then_some(member.life))
        })
        .collect();
    let is_over = |member: &MemberId| {
        let life = over.get(&member.incarnation);
        life.is_some_and(|life| *life != Some(member.life))
    };
    let partition = current(state, recovered.arc, recovered.epoch)?;
    let size = partition.members.len();
    let left = partition.members.iter().filter(|m| !is_over(m)).count();
    if left >= size.saturating_sub(size / 2) {
        return Err(Refusal::NotLost(recovered.arc));
    }
    // Whoever is left of the members stays one.
    let mut stays = partition.members.iter();
    let all_stay = stays.all(|m| is_over(m) || recovered.members.contains(m));
    if distinct.is_empty() || distinct.len() < recovered.members.len() || !fits || !all_stay {
        return Err(Refusal::BadMove(recovered.arc));
    }
    let manifest = partition.history.map(|history| history.digest);
    if recovered
        .history
        .is_some_and(|left| manifest != Some(left.base))
    {
        return Err(Refusal::BadManifest(recovered.arc));
    }
    partition.epoch = next_epoch(partition.epoch)?;
    partition.members.clone_from(&recovered.members);
    partition.moving = None;
    let before = partition.recent.len();
    for block in &recovered.lost_blocks {
        partition.recent.remove(block);
    }
    if let Some(left) = recovered.history {
        partition.history = left.left;
    }
    if partition.recent.len() < before || recovered.history.is_some() {
        partition.version = partition.version.saturating_add(1);
    }
    touched(state, recovered.arc, None);
    Ok(())
}

/// The control group goes on without a majority of its voters.
pub(super) fn generation(
    state: &mut ControlState,
    generation: &ControlGeneration,
) -> Result<(), Refusal> {
    if generation.generation <= state.generation {
        return Err(Refusal::OldGeneration {
            current: state.generation,
        });
    }
    state.generation = generation.generation;
    for lost in &generation.lost {
        if let Some(member) = state.members.get_mut(lost) {
            member.liveness = Liveness::Gone;
        }
    }
    for partition in state.partitions.values_mut() {
        let partition = Arc::make_mut(partition);
        let next = partition.epoch.0 / EPOCHS_OF_A_GENERATION + 1;
        partition.epoch = Epoch(next.saturating_mul(EPOCHS_OF_A_GENERATION));
    }
    Ok(())
}
