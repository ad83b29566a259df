//! How many of n members count as what, and who counts while a set changes (the replication
//! protocol's sections 2, 4 and 8).

use std::collections::BTreeSet;

use super::control::{MemberId, Partition};
use crate::runtime::{Rule, holds};

/// The numbers of a set of members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Quorum {
    members: usize,
}

impl Quorum {
    /// The numbers of a set of so many members.
    pub(super) const fn of(members: usize) -> Self {
        Self { members }
    }

    /// W = R: so many acknowledge a write or answer a read.
    pub(super) const fn majority(self) -> usize {
        self.members / 2 + 1
    }

    /// C: the least that meets every write majority; what a seal or a newcomer gathers from.
    pub(super) const fn meeting(self) -> usize {
        self.members.saturating_sub(self.majority()) + 1
    }
}

/// Whether W of a set are among some members.
pub(super) fn has_majority(set: &[MemberId], among: &BTreeSet<MemberId>) -> bool {
    count(set, among) >= Quorum::of(set.len()).majority()
}

fn count(set: &[MemberId], among: &BTreeSet<MemberId>) -> usize {
    set.iter().filter(|member| among.contains(member)).count()
}

/// What a member is to a partition under its present epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// In no set: takes no writes and never counts.
    Outside,
    /// In the new set only: takes writes and counts towards the new set.
    Joining,
    /// In the only set, or in both.
    Member,
    /// In the old set only: counts towards it until the move has finished.
    Leaving,
}

/// From whom a head is gathered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatherFrom {
    /// Those who count.
    pub members: BTreeSet<MemberId>,
    /// So many of them must give.
    pub least: usize,
    /// Acknowledged samples may be missing in all of them together.
    pub remains: bool,
}

impl GatherFrom {
    /// Whether what these gave is enough.
    #[must_use]
    pub fn is_enough(&self, given: &BTreeSet<MemberId>) -> bool {
        self.members.intersection(given).count() >= self.least
    }
}

/// The sets whose majorities a write or a read of one epoch needs: one, and two during a move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sets {
    old: Vec<MemberId>,
    new: Option<Vec<MemberId>>,
}

impl Sets {
    /// The sets of a partition under its present epoch.
    #[must_use]
    pub fn of(partition: &Partition) -> Self {
        Self {
            old: partition.members.clone(),
            new: partition.moving.map(|m| m.after(&partition.members)),
        }
    }

    fn new_set(&self) -> &[MemberId] {
        self.new.as_deref().unwrap_or(&self.old)
    }

    /// Everybody who is sent writes, each once.
    #[must_use]
    pub fn everyone(&self) -> BTreeSet<MemberId> {
        self.old.iter().chain(self.new_set()).copied().collect()
    }

    /// What a member is here.
    #[must_use]
    pub fn role(&self, member: MemberId) -> Role {
        match (self.old.contains(&member), self.new_set().contains(&member)) {
            (true, true) => Role::Member,
            (true, false) => Role::Leaving,
            (false, true) => Role::Joining,
            (false, false) => Role::Outside,
        }
    }

    /// Whether a write that these acknowledged is acknowledged, or a read that these answered is
    /// answered: W of the old set and W of the new one. All must have done so under one epoch.
    #[must_use]
    pub fn have_majority(&self, members: &BTreeSet<MemberId>) -> bool {
        has_majority(&self.old, members)
            && (!holds(Rule::ChangesAreJoint) || has_majority(self.new_set(), members))
    }

    /// The same of a read: R is W.
    #[must_use]
    pub fn have_answered(&self, members: &BTreeSet<MemberId>) -> bool {
        if !holds(Rule::ReadsNeedAMajority) {
            return count(&self.old, members) >= Quorum::of(self.old.len()).meeting();
        }
        self.have_majority(members)
    }

    /// Who gathers heads before the move can finish: who joins and, when the set shrinks, all who
    /// stay. Nobody when nothing moves.
    #[must_use]
    pub fn gatherers(&self) -> BTreeSet<MemberId> {
        let new = self.new.iter().flatten().copied();
        let shrinks = self.new_set().len() < self.old.len() && holds(Rule::StayersGather);
        new.filter(|member| shrinks || !self.old.contains(member))
            .collect()
    }

    /// From whom heads are gathered, if `over` says which members' lives are over, and who is gone
    /// for ever. C of the old set, each of which has applied the present epoch: nobody outside the
    /// old set counts, and nobody who has lost a part of what it acknowledged. Where so many
    /// have that waiting for C is in vain, what is left is united: everybody who is not gone gives.
    #[must_use]
    pub fn sources(
        &self,
        over: impl Fn(MemberId) -> bool,
        gone: impl Fn(MemberId) -> bool,
    ) -> GatherFrom {
        let (lost, whole): (BTreeSet<MemberId>, BTreeSet<MemberId>) =
            self.old.iter().copied().partition(|member| over(*member));
        let least = if holds(Rule::SourcesAreEnough) {
            Quorum::of(self.old.len()).meeting()
        } else {
            1
        };
        if whole.len() >= least || lost.is_empty() {
            return GatherFrom {
                members: whole,
                least,
                remains: false,
            };
        }
        let there = self.old.iter().copied().filter(|member| !gone(*member));
        let members: BTreeSet<MemberId> = there.collect();
        GatherFrom {
            least: members.len(),
            members,
            remains: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::Move;
    use crate::model::{Epoch, Incarnation};

    fn member(number: u128) -> MemberId {
        MemberId {
            incarnation: Incarnation(number),
            life: 0,
        }
    }

    fn sets(members: u128, moving: Option<(Option<u128>, Option<u128>)>) -> Sets {
        let members = (1..=members).map(member).collect();
        let mut partition = Partition::new(Epoch(1), members);
        partition.moving = moving.map(|(join, leave)| Move {
            join: join.map(member),
            leave: leave.map(member),
        });
        Sets::of(&partition)
    }

    fn subsets(of: &BTreeSet<MemberId>) -> Vec<BTreeSet<MemberId>> {
        (0..1u32 << of.len())
            .map(|mask| {
                let chosen = of.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
                chosen.map(|(_, member)| *member).collect()
            })
            .collect()
    }

    #[test]
    fn the_table_of_the_protocol_holds() {
        let rows = [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3)];
        for (n, w, c) in rows {
            let quorum = Quorum::of(n);
            assert_eq!((quorum.majority(), quorum.meeting()), (w, c), "n = {n}");
            // Any C members meet any W members.
            assert!(c + w > n);
        }
    }

    /// Would catch a write that a finished, an aborted or a begun move loses: whoever acknowledged
    /// it before, during or after, whoever reads or gathers then meets one who has it.
    #[test]
    fn whoever_acknowledges_is_met_by_whoever_reads_or_gathers_next() {
        for n in 1..=5 {
            let moves = [
                (Some(9), None),
                (Some(9), Some(n)),
                (None, (n > 1).then_some(1)),
            ];
            for moving in moves.into_iter().filter(|m| *m != (None, None)) {
                let joint = sets(n, Some(moving));
                let before = Sets {
                    old: joint.old.clone(),
                    new: None,
                };
                let after = Sets {
                    old: joint.new_set().to_vec(),
                    new: None,
                };
                let all = subsets(&joint.everyone());
                let that = |test: &dyn Fn(&BTreeSet<MemberId>) -> bool| {
                    let chosen = all.iter().filter(|members| test(members));
                    chosen.cloned().collect::<Vec<_>>()
                };
                let meet = |one: &[BTreeSet<MemberId>], other: &[BTreeSet<MemberId>]| {
                    one.iter().all(|a| other.iter().all(|b| !a.is_disjoint(b)))
                };
                let (old, both) = (
                    that(&|m| before.have_majority(m)),
                    that(&|m| joint.have_majority(m)),
                );
                let new = that(&|m| after.have_majority(m));
                let sources = joint.sources(|_| false, |_| false);
                let gathered = that(&|m| sources.is_enough(m));
                assert!(meet(&old, &gathered) && meet(&old, &both));
                assert!(meet(&both, &both) && meet(&both, &new) && meet(&both, &old));
                // What W of the old set held, W of the new one hold once those who must have
                // gathered it.
                let gatherers = joint.gatherers();
                for holders in &old {
                    let then: BTreeSet<_> = holders | &gatherers;
                    assert!(
                        new.iter().all(|reader| !reader.is_disjoint(&then)),
                        "{joint:?}"
                    );
                }
            }
        }
    }

    /// Would catch a newcomer that gathers from members that have forgotten, and a partition that
    /// can never be moved after the whole house lost power.
    #[test]
    fn who_has_lost_memory_counts_only_when_too_many_have() {
        let three = sets(3, Some((Some(4), Some(1))));
        let all: BTreeSet<MemberId> = (1..=3).map(member).collect();
        let of = |lost: &[u128], gone: &[u128]| {
            let has = |set: &[u128], m: MemberId| set.contains(&m.incarnation.0);
            three.sources(|m| has(lost, m), |m| has(gone, m))
        };
        let one = of(&[1], &[]);
        assert_eq!((one.least, one.remains), (2, false));
        assert!(one.is_enough(&BTreeSet::from([member(2), member(3)])));
        assert!(!one.is_enough(&BTreeSet::from([member(1), member(2)])));
        let two = of(&[1, 2], &[]);
        assert_eq!(
            (two.members, two.least, two.remains),
            (all.clone(), 3, true)
        );
        // Who is gone is not waited for, but only when nobody else is left to wait for.
        let gone = of(&[1, 2], &[1]);
        assert_eq!((gone.least, gone.remains), (2, true));
        let none = of(&[], &[1, 2]);
        assert_eq!((none.members, none.least), (all, 2));
    }

    #[test]
    fn roles_and_who_gathers() {
        let check = |sets: &Sets, roles: [Role; 4], gatherers: &[u128]| {
            for (number, role) in (1..).zip(roles) {
                assert_eq!(sets.role(member(number)), role, "{number} in {sets:?}");
            }
            assert!(
                sets.gatherers()
                    .into_iter()
                    .eq(gatherers.iter().copied().map(member))
            );
        };
        use Role::{Joining, Leaving, Member, Outside};
        check(&sets(3, None), [Member, Member, Member, Outside], &[]);
        let replaced = sets(3, Some((Some(4), Some(1))));
        check(&replaced, [Leaving, Member, Member, Joining], &[4]);
        let shrinking = sets(3, Some((None, Some(3))));
        check(&shrinking, [Member, Member, Leaving, Outside], &[1, 2]);
        let growing = sets(2, Some((Some(4), None)));
        check(&growing, [Member, Member, Outside, Joining], &[4]);
    }
}
