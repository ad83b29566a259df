//! Who takes part in the ring, and who comes in whose place.

use std::collections::{BTreeMap, BTreeSet};

use super::share::WEIGHT_MAX;
use crate::cluster::control::{ControlState, Liveness, Member, MemberId};
use crate::model::{Incarnation, RingArc};

/// What the ring should be like, beside what the control state says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wish {
    /// Replicas of every arc, as far as there are nodes; 0 counts as 1.
    pub replication_factor: usize,
    /// Nodes to be emptied: they keep what they have until others have it.
    pub draining: BTreeSet<Incarnation>,
    /// Nodes that have been down for longer than is waited for them.
    pub replaced: BTreeSet<Incarnation>,
    /// Moves that have not begun, but for which blocks are being fetched: of two equally good
    /// plans, the one that goes on with them is made.
    pub preparing: BTreeSet<(RingArc, MemberId)>,
    /// Arcs stay as large as they are: nodes' heads do not follow a split yet.
    pub keep_arcs: bool,
}

/// A node that replicas can be placed on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) member: MemberId,
    /// Counted from 0; a node without a zone is one of its own.
    pub(super) zone: usize,
    /// Its capacity beside that of the largest, 1 to `WEIGHT_MAX`.
    pub(super) weight: u64,
    /// Keeps what it holds and is given nothing more.
    pub(super) away: bool,
}

/// Everybody who takes part, in the order of their incarnations.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) seats: Vec<Node>,
    places: BTreeMap<Incarnation, usize>,
    draining: BTreeSet<Incarnation>,
    successors: BTreeMap<Incarnation, Incarnation>,
}

impl Roster {
    pub(super) fn of(state: &ControlState, wish: &Wish) -> Self {
        let successors = successors(state);
        let stays = |incarnation: &Incarnation, member: &Member| {
            member.liveness != Liveness::Gone
                && !wish.draining.contains(incarnation)
                && !wish.replaced.contains(incarnation)
                && !successors.contains_key(incarnation)
        };
        let members = state.members.iter();
        let stay: Vec<(&Incarnation, &Member)> =
            members.filter(|(who, member)| stays(who, member)).collect();
        let weights = weights(&stay);
        let zones = zones(&stay);
        let seats =
            stay.iter()
                .zip(weights)
                .zip(zones)
                .map(|(((incarnation, member), weight), zone)| Node {
                    member: MemberId {
                        incarnation: **incarnation,
                        life: member.life,
                    },
                    zone,
                    weight,
                    away: member.liveness != Liveness::Live,
                });
        let seats: Vec<Node> = seats.collect();
        let places = seats.iter().enumerate();
        let places = places.map(|(at, node)| (node.member.incarnation, at));
        let reached = |who: &Incarnation| {
            let member = state.members.get(who);
            member.is_some_and(|member| member.liveness == Liveness::Live)
        };
        let draining = wish.draining.iter().copied();
        Self {
            places: places.collect(),
            draining: draining.filter(reached).collect(),
            seats,
            successors,
        }
    }

    /// The place of a member, if it takes part in its present life.
    pub(super) fn place(&self, member: MemberId) -> Option<usize> {
        let place = self.places.get(&member.incarnation).copied()?;
        let node = self.seats.get(place)?;
        (node.member == member).then_some(place)
    }

    /// The node of a member, if it takes part.
    pub(super) fn node(&self, member: MemberId) -> Option<&Node> {
        self.seats.get(self.place(member)?)
    }

    /// Whether a member is to be emptied and can still hand over what it has.
    pub(super) fn is_draining(&self, member: MemberId) -> bool {
        self.draining.contains(&member.incarnation)
    }

    /// The places of those who hold an arc: who takes part himself, or whoever comes in his place.
    pub(super) fn heirs(&self, members: &BTreeSet<MemberId>) -> BTreeSet<usize> {
        let mut places: BTreeSet<usize> = members.iter().filter_map(|m| self.place(*m)).collect();
        let left = members.iter().filter(|m| self.place(**m).is_none());
        let heirs = left.filter_map(|member| {
            let who = member.incarnation;
            let heir = self.successors.get(&who).unwrap_or(&who);
            self.places.get(heir).copied()
        });
        places.extend(heirs);
        places
    }

    pub(super) fn members(&self, places: &[usize]) -> BTreeSet<MemberId> {
        let nodes = places.iter().filter_map(|place| self.seats.get(*place));
        nodes.map(|node| node.member).collect()
    }
}

/// A node whose name another incarnation bears now, when that is the only live one of the name: a
/// wiped or replaced disk. Two live nodes of one name are two nodes.
fn successors(state: &ControlState) -> BTreeMap<Incarnation, Incarnation> {
    let mut live: BTreeMap<&str, Vec<Incarnation>> = BTreeMap::new();
    for (incarnation, member) in &state.members {
        if member.liveness == Liveness::Live && !member.name.is_empty() {
            live.entry(&member.name).or_default().push(*incarnation);
        }
    }
    let away = state.members.iter();
    let away = away.filter(|(_, member)| member.liveness != Liveness::Live);
    away.filter_map(|(incarnation, member)| {
        let [heir] = live.get(member.name.as_str())?.as_slice() else {
            return None;
        };
        Some((*incarnation, *heir))
    })
    .collect()
}

/// Capacities beside the largest; who has not said any counts as the mean of those who have.
fn weights(nodes: &[(&Incarnation, &Member)]) -> Vec<u64> {
    let said = || nodes.iter().map(|(_, m)| u128::from(m.capacity_bytes));
    let count = said().filter(|bytes| *bytes > 0).count() as u128;
    let sum: u128 = said().sum();
    let largest = said().max().unwrap_or(0);
    let beside = |bytes: u128, largest: u128| {
        let weight = (bytes * u128::from(WEIGHT_MAX)).checked_div(largest);
        let weight = u64::try_from(weight.unwrap_or(1)).unwrap_or(WEIGHT_MAX);
        weight.clamp(1, WEIGHT_MAX)
    };
    let mean = beside(sum, count * largest);
    said()
        .map(|bytes| {
            if bytes == 0 {
                mean
            } else {
                beside(bytes, largest)
            }
        })
        .collect()
}

/// The number of each node's zone.
fn zones(nodes: &[(&Incarnation, &Member)]) -> Vec<usize> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = 0;
    let mut next = || {
        count += 1;
        count - 1
    };
    nodes
        .iter()
        .map(|(_, member)| {
            if member.zone.is_empty() {
                next()
            } else {
                *numbers.entry(&member.zone).or_insert_with(&mut next)
            }
        })
        .collect()
}
