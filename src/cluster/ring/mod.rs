//! Who should hold what: the control state and a wish in, what the control leader would propose out.
//!
//! Pure and deterministic: no clock, no chance, no I/O, no order of a hash map. The plan is made
//! anew from the state whenever it changes; nothing of it is kept. Not here: how a move is carried
//! out, how many run at once, and who has been away for too long.
//!
//! `docs/decisions/0004-ring-placement.md` has the algorithm, its proof and its figures.

mod diff;
mod flow;
mod mean;
mod placement;
mod roster;
mod share;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use diff::{DesiredMove, Why};
pub use roster::Wish;
pub use share::Share;

use super::control::{ControlState, MemberId, MoveAbort, Split};
use crate::model::RingArc;
use diff::Row;
use placement::{Problem, Seat};
use roster::Roster;

/// What a node holds beside what it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holding {
    /// Its fair share of the ring, in replicas.
    pub share: Share,
    /// Replicas that it holds, with those that are being moved to it.
    pub holds: u32,
    /// Replicas that it holds when all is done.
    pub will_hold: u32,
}

/// What the control leader would propose, most urgent first, and where it leads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Arcs to halve, because the ring is too coarse for so many nodes.
    pub splits: Vec<Split>,
    /// Moves under way that lead nowhere, because who joins is gone or to be emptied.
    pub aborts: Vec<MoveAbort>,
    /// Moves to begin, one per partition at most, and none where one is under way.
    pub moves: Vec<DesiredMove>,
    /// Copies still to be made, over all partitions, beside those under way.
    pub copies: usize,
    /// The members that every partition is to have.
    pub target: BTreeMap<RingArc, BTreeSet<MemberId>>,
    /// What each node that takes part holds and should hold.
    pub holdings: BTreeMap<MemberId, Holding>,
}

/// What should change in the ring of a state so that it is as a wish wants it.
#[must_use]
pub fn plan(state: &ControlState, wish: &Wish) -> Plan {
    let roster = Roster::of(state, wish);
    let replicas = wish.replication_factor.max(1).min(roster.seats.len());
    if replicas == 0 {
        return Plan::default();
    }
    let rows: Vec<Row<'_>> = state
        .partitions
        .iter()
        .map(|(arc, partition)| Row::of(*arc, partition, &roster))
        .collect();
    let problem = Problem {
        seats: rows.iter().map(|row| seat(row, &roster, wish)).collect(),
        nodes: &roster.seats,
        replicas,
    };
    let placement = placement::place(&problem);
    let targets = placement.sets.iter().map(|set| roster.members(set));
    let wanted = if wish.keep_arcs {
        0
    } else {
        mean::depth(state, roster.seats.len(), replicas)
    };
    let mut plan = Plan {
        splits: mean::splits(state, wanted),
        holdings: holdings(&roster, &rows, &placement),
        ..Plan::default()
    };
    // A ring of arcs of different sizes cannot be balanced: until all are halved, only what is
    // lost or lacking is copied.
    let uneven = state.partitions.keys().any(|arc| arc.depth() < wanted);
    for (row, target) in rows.iter().zip(targets) {
        plan.copies += target.difference(&row.base).count();
        plan.aborts.extend(row.abort());
        let wanted = row.step(&target, &roster, replicas, &wish.preparing);
        let now = wanted.filter(|step| !uneven || step.why <= Why::Short);
        plan.moves.extend(now);
        plan.target.insert(row.arc, target);
    }
    plan.moves.sort_by_key(|step| (step.why, step.begin.arc));
    plan
}

/// A partition as placement sees it: the places of those who hold it or are being prepared to.
fn seat(row: &Row<'_>, roster: &Roster, wish: &Wish) -> Seat {
    let prepared = wish.preparing.range(from(row.arc)..);
    let prepared = prepared.take_while(|(arc, _)| *arc == row.arc);
    Seat {
        arc: row.arc,
        present: roster.heirs(&row.base),
        prepared: prepared
            .filter_map(|(_, member)| roster.place(*member))
            .collect(),
    }
}

/// The least pair of an arc and a member.
fn from(arc: RingArc) -> (RingArc, MemberId) {
    let incarnation = crate::model::Incarnation(0);
    let member = MemberId {
        incarnation,
        life: 0,
    };
    (arc, member)
}

fn holdings(
    roster: &Roster,
    rows: &[Row<'_>],
    placement: &placement::Placement,
) -> BTreeMap<MemberId, Holding> {
    let mut holdings: Vec<Holding> = placement
        .shares
        .iter()
        .map(|share| Holding {
            share: *share,
            ..Holding::default()
        })
        .collect();
    let held = rows.iter().flat_map(|row| &row.base);
    for place in held.filter_map(|member| roster.place(*member)) {
        if let Some(holding) = holdings.get_mut(place) {
            holding.holds += 1;
        }
    }
    for place in placement.sets.iter().flatten() {
        if let Some(holding) = holdings.get_mut(*place) {
            holding.will_hold += 1;
        }
    }
    let members = roster.seats.iter().map(|node| node.member);
    members.zip(holdings).collect()
}
