//! From what a partition is to what it should be: the next step, one at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::roster::Roster;
use crate::cluster::control::{MemberId, MoveAbort, MoveBegin, Partition};
use crate::model::RingArc;

/// Why a move is wanted; the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// A member has lost what it had, or will not come back.
    Lost,
    /// There are fewer members than wanted.
    Short,
    /// A member is to be emptied.
    Drained,
    /// There are more members than wanted.
    Surplus,
    /// Another node has less than its share, or stands in a better zone.
    Uneven,
}

/// A move that should begin: first the newcomer fetches blocks, then this is proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DesiredMove {
    /// What to propose.
    pub begin: MoveBegin,
    /// Why.
    pub why: Why,
}

/// A partition with those who hold it, or will when the move under way is done.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) arc: RingArc,
    pub(super) base: BTreeSet<MemberId>,
    partition: &'a Partition,
    /// Whoever joins now takes no part (any more).
    hopeless: bool,
}

impl<'a> Row<'a> {
    pub(super) fn of(arc: RingArc, partition: &'a Partition, roster: &Roster) -> Self {
        let join = partition.moving.and_then(|moving| moving.join);
        let hopeless = join.is_some_and(|join| roster.place(join).is_none());
        let base = match partition.moving {
            Some(moving) if !hopeless => moving.after(&partition.members),
            _ => partition.members.clone(),
        };
        Self {
            arc,
            base: base.into_iter().collect(),
            partition,
            hopeless,
        }
    }

    /// The end of a move that leads nowhere.
    pub(super) fn abort(&self) -> Option<MoveAbort> {
        self.hopeless.then_some(MoveAbort {
            arc: self.arc,
            epoch: self.partition.epoch,
        })
    }

    /// The next move towards a set, if one can begin now. Who is away joins nothing.
    pub(super) fn step(
        &self,
        target: &BTreeSet<MemberId>,
        roster: &Roster,
        replicas: usize,
        preparing: &BTreeSet<(RingArc, MemberId)>,
    ) -> Option<DesiredMove> {
        if self.partition.moving.is_some() {
            return None;
        }
        let reached = |member: &MemberId| roster.node(*member).is_some_and(|node| !node.away);
        let come = target.difference(&self.base).copied().filter(reached);
        let come: Vec<MemberId> = come.collect();
        let go: Vec<MemberId> = self.base.difference(target).copied().collect();
        let lost = go
            .iter()
            .any(|member| urgency(*member, roster) == Why::Lost);
        // A set that is short grows before anybody leaves it who still has something.
        let grows = self.base.len() < replicas && !lost;
        let shrinks = self.base.len() > replicas;
        let pairs = pairs(&come, &go, grows, shrinks);
        let prepared = |join: Option<MemberId>| {
            join.is_some_and(|member| preparing.contains(&(self.arc, member)))
        };
        let best = pairs
            .into_iter()
            .filter(|(join, leave)| self.fits(*join, *leave))
            .min_by_key(|(join, leave)| {
                let why = leave.map(|member| urgency(member, roster));
                let crowded = self.crowded(*join, *leave, roster);
                (why, !prepared(*join), crowded, *join, *leave)
            });
        let (join, leave) = best?;
        Some(DesiredMove {
            begin: MoveBegin {
                arc: self.arc,
                epoch: self.partition.epoch,
                join,
                leave,
            },
            why: leave.map_or(Why::Short, |member| match urgency(member, roster) {
                Why::Uneven if join.is_none() => Why::Surplus,
                why => why,
            }),
        })
    }

    fn after(&self, join: Option<MemberId>, leave: Option<MemberId>) -> BTreeSet<MemberId> {
        let stay = self.base.iter().copied().filter(|m| Some(*m) != leave);
        stay.chain(join).collect()
    }

    /// One data directory counts once, in whichever of its lives.
    fn fits(&self, join: Option<MemberId>, leave: Option<MemberId>) -> bool {
        let after = self.after(join, leave);
        let distinct: BTreeSet<_> = after.iter().map(|member| member.incarnation).collect();
        distinct.len() == after.len() && !after.is_empty()
    }

    /// How crowded the zones are after a move.
    fn crowded(&self, join: Option<MemberId>, leave: Option<MemberId>, roster: &Roster) -> usize {
        let mut zones: BTreeMap<usize, usize> = BTreeMap::new();
        for member in self.after(join, leave) {
            if let Some(node) = roster.node(member) {
                *zones.entry(node.zone).or_default() += 1;
            }
        }
        zones.values().map(|count| count * count).sum()
    }
}

/// Who may join and who may leave in one move.
fn pairs(
    come: &[MemberId],
    go: &[MemberId],
    grows: bool,
    shrinks: bool,
) -> Vec<(Option<MemberId>, Option<MemberId>)> {
    if go.is_empty() || (grows && !come.is_empty()) {
        return come.iter().map(|join| (Some(*join), None)).collect();
    }
    if come.is_empty() && !shrinks {
        // Whoever should come is away: nobody leaves for nothing.
        return Vec::new();
    }
    go.iter()
        .flat_map(|leave| {
            let joins = come.iter().map(|join| Some(*join));
            let alone = come.is_empty().then_some(None);
            joins.chain(alone).map(move |join| (join, Some(*leave)))
        })
        .collect()
}

/// Why a member that is not in the target leaves.
fn urgency(member: MemberId, roster: &Roster) -> Why {
    if roster.place(member).is_some() {
        Why::Uneven
    } else if roster.is_draining(member) {
        Why::Drained
    } else {
        Why::Lost
    }
}
