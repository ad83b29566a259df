//! Moves: how the members of a partition change (the replication protocol's section 8).
//!
//! Between begin and end both sets count; every step raises the epoch, so that answers given under
//! the step before are void. Whether the newcomer has gathered what it must is the proposer's to
//! know: `apply` checks what all nodes can check.

use std::collections::BTreeSet;

use super::partitions::{current, next_epoch};
use super::tombstones::touched;
use crate::cluster::control::command::{MemberId, MoveAbort, MoveBegin, MoveFinish, Refusal};
use crate::cluster::control::state::{ControlState, Liveness, Move};
use crate::runtime::{Rule, holds};

/// Old and new set count from here on.
pub(super) fn begin(state: &mut ControlState, begin: &MoveBegin) -> Result<(), Refusal> {
    let joins = begin.join.map(|join| known(state, begin, join)).transpose();
    let partition = current(state, begin.arc, begin.epoch)?;
    if partition.moving.is_some() {
        return Err(Refusal::Moving(begin.arc));
    }
    joins?;
    let moving = Move {
        join: begin.join,
        leave: begin.leave,
    };
    let after = moving.after(&partition.members);
    // One data directory counts once, in whichever of its lives.
    let distinct: BTreeSet<_> = after.iter().map(|member| member.incarnation).collect();
    let leaves = begin.leave.is_none_or(|l| partition.members.contains(&l));
    let changes = begin.join.is_some() || begin.leave.is_some();
    let fits = leaves && changes && begin.join != begin.leave;
    if !fits || after.is_empty() || distinct.len() < after.len() {
        return Err(Refusal::BadMove(begin.arc));
    }
    partition.epoch = next_epoch(partition.epoch)?;
    partition.moving = Some(moving);
    touched(state, begin.arc, None);
    Ok(())
}

/// Only a node that has announced itself can join, in its present life.
fn known(state: &ControlState, begin: &MoveBegin, join: MemberId) -> Result<(), Refusal> {
    let member = state.members.get(&join.incarnation);
    let member = member.ok_or(Refusal::NoNode(join.incarnation))?;
    if member.liveness == Liveness::Gone {
        return Err(Refusal::Gone(join.incarnation));
    }
    if member.life != join.life {
        return Err(Refusal::BadMove(begin.arc));
    }
    Ok(())
}

/// The new set stands alone, if the catalog has not gone on since it was applied.
pub(super) fn finish(state: &mut ControlState, finish: &MoveFinish) -> Result<(), Refusal> {
    let partition = current(state, finish.arc, finish.epoch)?;
    let moving = partition.moving.ok_or(Refusal::NotMoving(finish.arc))?;
    if finish.version != partition.version && holds(Rule::MovesEndAtTheVersion) {
        return Err(Refusal::WrongVersion {
            current: partition.version,
        });
    }
    partition.epoch = next_epoch(partition.epoch)?;
    partition.members = moving.after(&partition.members);
    partition.moving = None;
    touched(state, finish.arc, None);
    Ok(())
}

/// The old set stands alone again.
pub(super) fn abort(state: &mut ControlState, abort: &MoveAbort) -> Result<(), Refusal> {
    let partition = current(state, abort.arc, abort.epoch)?;
    if partition.moving.is_none() {
        return Err(Refusal::NotMoving(abort.arc));
    }
    partition.epoch = next_epoch(partition.epoch)?;
    partition.moving = None;
    Ok(())
}
