//! When a write of one partition is acknowledged, and when it cannot be any more: a plain value,
//! fed with what members say.
//!
//! One tally counts one attempt under one epoch; a further attempt starts from zero. During a move
//! a majority of the old and of the new set is needed.

use std::fmt;

use super::gate::Refusing;
use crate::cluster::control::MemberId;
use crate::cluster::quorum::Quorum;
use crate::model::Epoch;
use crate::runtime::{Rule, holds};

/// The most members that a partition has in its sets together: one bit each.
pub(super) const MEMBERS_MAX: usize = 32;

/// What a member says to an append, or what is said in its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Said {
    /// It has it durably.
    Appended,
    /// It is under another epoch, which is higher than the write's, or no member.
    WrongEpoch(Epoch),
    /// Its control log is behind the writer's.
    Behind,
    /// It takes nothing now.
    Refused(Refusing),
    /// It has forgotten series that the stream had defined: they must be defined again.
    Undefined,
    /// The stream broke before it answered.
    Lost,
    /// There is no connection to it.
    Unreachable,
    /// More is waiting for it than may.
    Slow,
    /// What it was sent could not be read there.
    Garbled,
}

impl Said {
    /// Whether another attempt a moment later may go better.
    pub(super) const fn may_change_soon(self) -> bool {
        matches!(
            self,
            Self::WrongEpoch(_) | Self::Behind | Self::Undefined | Self::Lost | Self::Slow
        )
    }

    /// Its name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::WrongEpoch(_) => "wrong_epoch",
            Self::Behind => "behind",
            Self::Refused(_) => "refused",
            Self::Undefined => "undefined",
            Self::Lost => "lost",
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Garbled => "garbled",
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended => f.write_str("has it"),
            Self::WrongEpoch(epoch) => write!(f, "is under epoch {}", epoch.0),
            Self::Behind => f.write_str("has not heard of the present ring yet"),
            Self::Refused(Refusing::NotReady) => f.write_str("is starting or stopping"),
            Self::Refused(Refusing::Disk) => f.write_str("has a full disk"),
            Self::Refused(Refusing::Memory) => f.write_str("has no memory left for samples"),
            Self::Refused(Refusing::Clock) => f.write_str("has a clock that cannot be believed"),
            Self::Undefined => f.write_str("has forgotten some of the series"),
            Self::Lost => f.write_str("lost the connection"),
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::Slow => f.write_str("is too slow"),
            Self::Garbled => f.write_str("could not read what it was sent"),
        }
    }
}

/// How an attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Members have yet to answer.
    Open,
    /// A majority of every set has it.
    Acknowledged,
    /// Too many have failed.
    Short,
}

/// Who has said what of one partition. Members are bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    old: u32,
    new: u32,
    appended: u32,
    failed: u32,
}

impl Tally {
    /// Nobody has said anything yet. `sets` are the one or two sets whose majorities count;
    /// `members` gives each member its bit.
    pub(super) fn of(sets: &[Vec<MemberId>], members: &[MemberId]) -> Self {
        let bits = |set: &Vec<MemberId>| {
            let chosen = (0..32u32).zip(members);
            let chosen = chosen.filter(|(_, member)| set.contains(member));
            chosen.fold(0u32, |bits, (at, _)| bits | 1 << at)
        };
        let old = sets.first().map_or(0, bits);
        Self {
            old,
            new: match sets.get(1) {
                Some(new) if holds(Rule::ChangesAreJoint) => bits(new),
                _ => old,
            },
            appended: 0,
            failed: 0,
        }
    }

    /// A member has answered, or somebody has given up on it. The first word counts.
    pub(super) const fn note(&mut self, bit: u8, appended: bool) {
        let bit = 1u32.wrapping_shl(bit as u32) & !(self.appended | self.failed);
        if appended {
            self.appended |= bit;
        } else {
            self.failed |= bit;
        }
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        let majority = |set: u32| Quorum::of(set.count_ones() as usize).majority();
        let has = |set: u32| (set & self.appended).count_ones() as usize >= majority(set);
        let can = |set: u32| (set & !self.failed).count_ones() as usize >= majority(set);
        if has(self.old) && has(self.new) {
            Standing::Acknowledged
        } else if can(self.old) && can(self.new) {
            Standing::Open
        } else {
            Standing::Short
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::control::{Move, Partition};
    use crate::cluster::quorum::Sets;
    use crate::model::Incarnation;

    fn member(number: u128) -> MemberId {
        MemberId {
            incarnation: Incarnation(number),
            life: 0,
        }
    }

    fn partition(members: u128, moving: Option<(Option<u128>, Option<u128>)>) -> Partition {
        let mut partition = Partition::new(Epoch(1), (1..=members).map(member).collect());
        partition.moving = moving.map(|(join, leave)| Move {
            join: join.map(member),
            leave: leave.map(member),
        });
        partition
    }

    /// Every way in which members can answer (appended, failed, silent), in every order of two
    /// directions: against `Sets`, which is checked against the protocol's table.
    fn check(partition: &Partition) {
        let sets = Sets::of(partition);
        let members: Vec<MemberId> = sets.everyone().into_iter().collect();
        let ways = 3usize.pow(u32::try_from(members.len()).unwrap());
        for way in 0..ways {
            let says: Vec<usize> = (0..members.len())
                .map(|at| way / 3usize.pow(u32::try_from(at).unwrap()) % 3)
                .collect();
            let with = |wanted: &[usize]| -> BTreeSet<MemberId> {
                let chosen = members.iter().zip(&says);
                let chosen = chosen.filter(|(_, said)| wanted.contains(said));
                chosen.map(|(member, _)| *member).collect()
            };
            let want = if sets.have_majority(&with(&[1])) {
                Standing::Acknowledged
            } else if sets.have_majority(&with(&[0, 1])) {
                Standing::Open
            } else {
                Standing::Short
            };
            let mut order: Vec<usize> = (0..members.len()).collect();
            for _ in 0..2 {
                let tally = Tally::of(&partition.sets(), &members);
                let got = after_all(tally, &order, &says);
                assert_eq!(got, want, "{says:?} of {partition:?}");
                order.reverse();
            }
        }
    }

    /// How it stands when all have said what they say: once decided it never changes.
    fn after_all(mut tally: Tally, order: &[usize], says: &[usize]) -> Standing {
        let mut decided = None;
        for at in order.iter().filter(|at| says[**at] > 0) {
            let bit = u8::try_from(*at).unwrap();
            tally.note(bit, says[*at] == 1);
            // A second word changes nothing.
            tally.note(bit, says[*at] != 1);
            let standing = tally.standing();
            assert!(decided.is_none_or(|before| before == standing));
            decided = (standing != Standing::Open).then_some(standing);
        }
        tally.standing()
    }

    #[test]
    fn majorities_of_one_set_and_of_two() {
        for members in 1..=5 {
            check(&partition(members, None));
            check(&partition(members, Some((Some(9), None))));
            check(&partition(members, Some((Some(9), Some(1)))));
            if members > 1 {
                check(&partition(members, Some((None, Some(members)))));
            }
        }
    }

    #[test]
    fn nobody_is_no_majority() {
        assert_eq!(Tally::of(&[vec![]], &[]).standing(), Standing::Short);
    }
}
