//! Members: who has started, and what all of them understand.

use crate::cluster::control::command::{Drain, NodeUp, Refusal, Session};
use crate::cluster::control::state::{ControlState, Liveness, Member};
use crate::model::Incarnation;
use crate::runtime::{Rule, holds};

/// A node has started. A start that is not newer than the one known comes from a copy of the data
/// directory (or from its past) and is refused; the same start twice is the same node twice heard.
pub(super) fn node_up(state: &mut ControlState, node: &NodeUp) -> Result<(), Refusal> {
    if node.feature_level_max < state.feature_level {
        return Err(Refusal::TooOld {
            level: state.feature_level,
            understood: node.feature_level_max,
        });
    }
    let known = state.members.get(&node.incarnation);
    if let Some(member) = known {
        if member.liveness == Liveness::Gone {
            return Err(Refusal::Gone(node.incarnation));
        }
        check_session(member.session, node.session)?;
    }
    // A life that is over never comes back.
    let life = known.map_or(0, |member| member.life).max(node.life);
    let draining = known.is_some_and(|member| member.draining);
    let member = Member {
        name: node.name.clone(),
        life,
        session: node.session,
        addresses: node.addresses.clone(),
        zone: node.zone.clone(),
        capacity_bytes: node.capacity_bytes,
        version: node.version.clone(),
        feature_level_max: node.feature_level_max,
        liveness: Liveness::Live,
        draining,
    };
    state.members.insert(node.incarnation, member);
    Ok(())
}

/// Whether a node is reached is for the proposer to say; who is gone for ever stays gone.
pub(super) fn liveness(
    state: &mut ControlState,
    incarnation: Incarnation,
    liveness: Liveness,
) -> Result<(), Refusal> {
    let member = state.members.get_mut(&incarnation);
    let member = member.ok_or(Refusal::NoNode(incarnation))?;
    if member.liveness == Liveness::Gone && liveness != Liveness::Gone {
        return Err(Refusal::Gone(incarnation));
    }
    member.liveness = liveness;
    Ok(())
}

/// Whether a node is to be emptied. That anybody else could take what it has is not asked here:
/// the ring gives nothing away that nobody takes.
pub(super) fn drain(state: &mut ControlState, drain: Drain) -> Result<(), Refusal> {
    let member = state.members.get_mut(&drain.incarnation);
    let member = member.ok_or(Refusal::NoNode(drain.incarnation))?;
    if member.liveness == Liveness::Gone {
        return Err(Refusal::Gone(drain.incarnation));
    }
    member.draining = drain.drain;
    Ok(())
}

fn check_session(known: Session, new: Session) -> Result<(), Refusal> {
    if new.starts > known.starts || new == known || !holds(Rule::SessionsAreTheLatest) {
        return Ok(());
    }
    Err(Refusal::OldSession {
        known: known.starts,
    })
}

/// The feature level rises to what every node that is not gone understands, those away included.
pub(super) fn feature_level(state: &mut ControlState, level: u32) -> Result<(), Refusal> {
    let understood = state
        .members
        .values()
        .filter(|member| member.liveness != Liveness::Gone)
        .map(|member| member.feature_level_max)
        .min()
        .unwrap_or(0);
    let current = state.feature_level;
    if level < current || level > understood {
        return Err(Refusal::BadLevel {
            current,
            understood,
        });
    }
    state.feature_level = level;
    Ok(())
}
