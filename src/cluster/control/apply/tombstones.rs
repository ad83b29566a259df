//! Tombstones: what is deleted, from the moment it is hidden to the moment nobody holds it.
//!
//! A partition is settled once all its members hold nothing of it, each by its own word: writes into
//! the range are refused, so that nothing of it can come back by a seal or a move.

use std::sync::Arc;

use crate::cluster::control::command::Refusal;
use crate::cluster::control::state::ControlState;
use crate::cluster::control::tombstone::{
    MATCHERS_BYTES_MAX, Standing, TOMBSTONE_LEVEL, TOMBSTONES_MAX, Tombstone, TombstoneDone,
    TombstoneId,
};
use crate::model::{RingArc, TimeRange};
use crate::runtime::{Rule, holds};

/// Samples are hidden from now on.
pub(super) fn stand(state: &mut ControlState, tombstone: &Tombstone) -> Result<(), Refusal> {
    if state.feature_level < TOMBSTONE_LEVEL {
        return Err(Refusal::BadLevel {
            current: state.feature_level,
            understood: TOMBSTONE_LEVEL,
        });
    }
    let deletion = &tombstone.deletion;
    let matchers = deletion.matchers.iter();
    let bytes: usize = matchers.map(|m| m.name().len() + m.value().len()).sum();
    let fits = !deletion.matchers.is_empty()
        && bytes <= MATCHERS_BYTES_MAX
        && !deletion.range.is_empty()
        && deletion.range.end <= tombstone.at;
    if !fits {
        return Err(Refusal::BadTombstone);
    }
    if state.tombstones.contains_key(&tombstone.id) {
        return Ok(());
    }
    if state.tombstones.len() >= TOMBSTONES_MAX {
        return Err(Refusal::TooManyTombstones);
    }
    let standing = Standing::new(tombstone.clone(), false);
    Arc::make_mut(&mut state.tombstones).insert(tombstone.id, standing);
    Ok(())
}

/// Blocks may be rewritten from now on.
pub(super) fn begin(state: &mut ControlState, id: TombstoneId) -> Result<(), Refusal> {
    standing(state, id)?.begun = true;
    Ok(())
}

/// It is taken back: what it hid is shown again.
pub(super) fn undo(state: &mut ControlState, id: TombstoneId) -> Result<(), Refusal> {
    if standing(state, id)?.begun {
        return Err(Refusal::TombstoneBegun(id));
    }
    Arc::make_mut(&mut state.tombstones).remove(&id);
    Ok(())
}

/// A member holds nothing of it any more. What it says counts for the partitions of which nothing has
/// changed since it looked.
pub(super) fn done(state: &mut ControlState, done: &TombstoneDone) -> Result<(), Refusal> {
    if !standing(state, done.id)?.begun {
        return Err(Refusal::BadTombstone);
    }
    let partitions = state.partitions.clone();
    let standing = standing(state, done.id)?;
    for (arc, partition) in &partitions {
        let joins = partition.moving.and_then(|moving| moving.join);
        if joins != Some(done.by) && !partition.members.contains(&done.by) {
            continue;
        }
        let removal = standing.arcs.entry(*arc).or_default();
        if removal.settled || done.seen < removal.since {
            continue;
        }
        removal.clean.insert(done.by);
        let mut members = partition.members.iter();
        let all = members.all(|member| removal.clean.contains(member))
            || !holds(Rule::DeletesAskAllMembers);
        if partition.moving.is_none() && all {
            removal.settled = true;
            removal.clean.clear();
        }
    }
    let is_settled = |arc| {
        standing
            .arcs
            .get(arc)
            .is_some_and(|removal| removal.settled)
    };
    if partitions.keys().all(is_settled) {
        Arc::make_mut(&mut state.tombstones).remove(&done.id);
    }
    Ok(())
}

/// Something came to a partition: a block of a range, or members (`None`). What was said of it before
/// counts no more, unless it is settled: then nothing that is hidden can have come.
pub(super) fn touched(state: &mut ControlState, arc: RingArc, range: Option<TimeRange>) {
    if state.tombstones.is_empty() {
        return;
    }
    let at = state.applied;
    for standing in Arc::make_mut(&mut state.tombstones).values_mut() {
        let hidden = standing.tombstone.deletion.range;
        if range.is_none_or(|range| hidden.overlaps(range)) {
            let removal = standing.arcs.entry(arc).or_default();
            if !removal.settled {
                removal.since = at;
                removal.clean.clear();
            }
        }
    }
}

fn standing(state: &mut ControlState, id: TombstoneId) -> Result<&mut Standing, Refusal> {
    if !state.tombstones.contains_key(&id) {
        return Err(Refusal::NoTombstone(id));
    }
    let all = Arc::make_mut(&mut state.tombstones);
    all.get_mut(&id).ok_or(Refusal::NoTombstone(id))
}
