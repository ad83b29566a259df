//! Whether this node takes writes now, and under which ring.
//!
//! A write holds the gate while it takes its log position; whoever changes the ring or closes the
//! gate waits for the writes that are inside. So no write can be split by a change of epochs, and
//! after [`Gate::set_ring`] returns, everything that was let in under the old epochs is in the head.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::error::WriteError;
use crate::cluster::control::{ControlState, MemberId};
use crate::cluster::quorum::{Role, Sets};
use crate::model::{Epoch, Incarnation, RingArc};
use crate::runtime::{Rule, holds};

/// A reason for which writes are refused. Several may hold at once; each comes and goes alone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusing {
    /// The node is starting or stopping.
    NotReady,
    /// The disk is nearly full.
    Disk,
    /// More unsealed samples are in memory than may be.
    Memory,
    /// The clock cannot be believed.
    Clock,
}

impl Refusing {
    /// Whether a node that refuses for this cannot coordinate writes to others either: it does not
    /// know what to tell senders, or is about to go.
    const fn is_of_coordinators(self) -> bool {
        matches!(self, Self::NotReady | Self::Clock)
    }
}

/// What a write under some epoch of a partition meets here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is taken.
    Taken,
    /// The writer's ring is older, or this node is no member: its own epoch.
    WrongEpoch(Epoch),
    /// The writer's ring is newer than what this node has applied.
    Ahead,
}

/// This node's part in the ring.
#[derive(Debug, Default)]
struct Part {
    /// The depths of arcs that occur, so that an arc that was split is recognised.
    arcs: BTreeMap<RingArc, (Epoch, Role)>,
    /// Nobody else is a member of anything.
    alone: bool,
    /// The commands that the ring's control state had applied.
    applied: u64,
}

impl Part {
    fn of(state: &ControlState, me: Incarnation) -> Self {
        let life = state.members.get(&me).map_or(0, |member| member.life);
        let me = MemberId {
            incarnation: me,
            life,
        };
        let mut part = Self {
            arcs: BTreeMap::new(),
            alone: true,
            applied: state.applied,
        };
        for (arc, partition) in &state.partitions {
            let sets = Sets::of(partition);
            part.alone &= sets.everyone().iter().eq([&me]);
            part.arcs.insert(*arc, (partition.epoch, sets.role(me)));
        }
        part
    }

    fn verdict(&self, arc: RingArc, epoch: Epoch) -> Verdict {
        let Some((mine, role)) = self.arcs.get(&arc) else {
            return self.of_unknown(arc);
        };
        if !holds(Rule::WritesAreOfOneEpoch) && *role != Role::Outside {
            return Verdict::Taken;
        }
        match epoch.cmp(mine) {
            std::cmp::Ordering::Less => Verdict::WrongEpoch(*mine),
            std::cmp::Ordering::Greater => Verdict::Ahead,
            std::cmp::Ordering::Equal if *role == Role::Outside => Verdict::WrongEpoch(*mine),
            std::cmp::Ordering::Equal => Verdict::Taken,
        }
    }

    /// An arc that was split here already is an old one; any other is one of a ring to come.
    fn of_unknown(&self, arc: RingArc) -> Verdict {
        let Some(halves) = arc.halves() else {
            return Verdict::Ahead;
        };
        let parts = halves.map(|half| match self.arcs.get(&half) {
            Some((epoch, _)) => Verdict::WrongEpoch(*epoch),
            None if half.depth() < self.depth_max() => self.of_unknown(half),
            None => Verdict::Ahead,
        });
        match parts {
            [Verdict::WrongEpoch(one), Verdict::WrongEpoch(other)] => {
                Verdict::WrongEpoch(one.max(other))
            }
            _ => Verdict::Ahead,
        }
    }

    fn depth_max(&self) -> u8 {
        self.arcs.keys().map(|arc| arc.depth()).max().unwrap_or(0)
    }
}

/// The gate of all writes of this node.
#[derive(Debug)]
pub struct Gate {
    state: RwLock<State>,
    /// Counts the changes of the ring.
    changes: watch::Sender<u64>,
}

impl Default for Gate {
    /// An open gate of a node that is alone.
    fn default() -> Self {
        Self {
            state: RwLock::new(State {
                part: Arc::new(Part {
                    arcs: BTreeMap::new(),
                    alone: true,
                    applied: 0,
                }),
                refusing: BTreeMap::new(),
            }),
            changes: watch::Sender::new(0),
        }
    }
}

#[derive(Debug)]
struct State {
    part: Arc<Part>,
    refusing: BTreeMap<Refusing, String>,
}

/// Leave to take a log position; to be held while that is done.
pub(super) struct Inside<'a>(RwLockReadGuard<'a, State>);

impl fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

impl Inside<'_> {
    /// Whether this node is the only member of every partition.
    pub(super) fn is_alone(&self) -> bool {
        self.0.part.alone
    }

    /// What a write under an epoch of a partition meets.
    pub(super) fn verdict(&self, arc: RingArc, epoch: Epoch) -> Verdict {
        self.0.part.verdict(arc, epoch)
    }

    /// Why this node takes nothing as a replica, if so. Its clock is no such reason: what a sample's
    /// time means was decided by who coordinates the write.
    pub(super) fn refusing(&self) -> Option<(Refusing, &str)> {
        let mut reasons = self.0.refusing.iter();
        let first = reasons.find(|(why, _)| **why != Refusing::Clock);
        first.map(|(why, reason)| (*why, reason.as_str()))
    }
}

impl Gate {
    /// A gate that is closed until the node is ready.
    #[must_use]
    pub fn closed(reason: &str) -> Self {
        let gate = Self::default();
        gate.refuse(Refusing::NotReady, Some(reason.to_owned()));
        gate
    }

    /// Begins or ends refusing writes for one reason; waits for the writes that are inside.
    pub fn refuse(&self, why: Refusing, reason: Option<String>) {
        let mut state = self.state.write();
        match reason {
            Some(reason) => state.refusing.insert(why, reason),
            None => state.refusing.remove(&why),
        };
    }

    /// Puts the epochs of a control state into force, as far as they concern the node `me`; waits
    /// for the writes that are inside. What is read or handed to others under the new epochs must
    /// be read after this has returned. A state that is older than the one in force changes
    /// nothing: an epoch that is over never counts again.
    pub fn set_ring(&self, state: &ControlState, me: Incarnation) {
        let part = Arc::new(Part::of(state, me));
        {
            let mut inside = self.state.write();
            if part.applied < inside.part.applied {
                return;
            }
            inside.part = part;
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether a control state has other epochs than those in force, or other members.
    pub(in crate::cluster) fn would_change(&self, state: &ControlState, me: Incarnation) -> bool {
        let part = Part::of(state, me);
        part.arcs != self.state.read().part.arcs
    }

    /// The epoch of a partition that is in force here; `None`: there is no such partition.
    pub(in crate::cluster) fn epoch_of(&self, arc: RingArc) -> Option<Epoch> {
        let state = self.state.read();
        state.part.arcs.get(&arc).map(|(epoch, _)| *epoch)
    }

    /// Whether this node takes part in a partition under the epoch that is in force.
    pub(in crate::cluster) fn is_member_of(&self, arc: RingArc) -> bool {
        let state = self.state.read();
        let found = state.part.arcs.get(&arc);
        found.is_some_and(|(_, role)| *role != Role::Outside)
    }

    /// Why writes are refused now, if they are.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.state.read().refusing.values().next().cloned()
    }

    /// Lets a write in that this node answers to its sender. It may still be refused as a
    /// replica's: see [`Inside::refusing`].
    pub(super) fn enter(&self) -> Result<Inside<'_>, WriteError> {
        let state = self.state.read();
        let mut reasons = state.refusing.iter();
        match reasons.find(|(why, _)| state.part.alone || why.is_of_coordinators()) {
            Some((_, reason)) => Err(WriteError::Unavailable {
                reason: reason.clone(),
            }),
            None => Ok(Inside(state)),
        }
    }

    /// Lets a write in for this node's own copy, whatever it may say to it.
    pub(super) fn enter_as_replica(&self) -> Inside<'_> {
        Inside(self.state.read())
    }

    /// Notes changes of the ring from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::control::{Move, Partition};

    fn member(number: u128) -> MemberId {
        MemberId {
            incarnation: Incarnation(number),
            life: 0,
        }
    }

    /// Would catch a write that is taken under an epoch that is over, or by a node outside.
    #[test]
    fn only_members_under_the_present_epoch_take_writes() {
        let gate = Gate::default();
        assert!(gate.enter().unwrap().is_alone());
        let mut state = ControlState::default();
        let arcs: Vec<RingArc> = RingArc::all(2).collect();
        for (arc, members) in arcs.iter().zip([vec![1, 2], vec![2, 3], vec![1], vec![1]]) {
            let members = members.into_iter().map(member).collect();
            let partition = Partition::new(Epoch(5), members);
            state.partitions.insert(*arc, Arc::new(partition));
        }
        let mut moving = Partition::new(Epoch(6), vec![member(2)]);
        moving.moving = Some(Move {
            join: Some(member(1)),
            leave: Some(member(2)),
        });
        state.partitions.insert(arcs[2], Arc::new(moving));
        gate.set_ring(&state, Incarnation(1));
        let inside = gate.enter().unwrap();
        assert!(!inside.is_alone());
        let wrong = |epoch| Verdict::WrongEpoch(Epoch(epoch));
        for (arc, epoch, want) in [
            (arcs[0], 5, Verdict::Taken),
            (arcs[0], 4, wrong(5)),
            (arcs[0], 6, Verdict::Ahead),
            (arcs[1], 5, wrong(5)),
            (arcs[1], 6, Verdict::Ahead),
            (arcs[2], 6, Verdict::Taken),
            (arcs[2], 5, wrong(6)),
            // Split here already, and not yet.
            (RingArc::new(0, 1).unwrap(), 4, wrong(5)),
            (RingArc::new(0, 0).unwrap(), 4, wrong(6)),
            (arcs[3].halves().unwrap()[0], 6, Verdict::Ahead),
        ] {
            assert_eq!(inside.verdict(arc, Epoch(epoch)), want, "{arc} {epoch}");
        }
    }

    #[test]
    fn a_full_disk_is_the_replicas_matter_and_a_wrong_clock_the_coordinators() {
        let gate = Gate::default();
        gate.refuse(Refusing::Disk, Some("full".to_owned()));
        assert!(gate.enter().is_err(), "alone, the replica is all there is");
        let mut state = ControlState::default();
        let partition = Partition::new(Epoch(1), vec![member(1), member(2)]);
        let arc = RingArc::new(0, 0).unwrap();
        state.partitions.insert(arc, Arc::new(partition));
        gate.set_ring(&state, Incarnation(1));
        let refusing = gate.enter().unwrap().refusing().map(|(why, _)| why);
        assert_eq!(refusing, Some(Refusing::Disk));
        gate.refuse(Refusing::Clock, Some("1970".to_owned()));
        assert!(gate.enter().is_err());
        assert!(gate.enter_as_replica().refusing().is_some());
        gate.refuse(Refusing::Disk, None);
        assert_eq!(gate.enter_as_replica().refusing(), None);
    }

    /// Would catch a start that captured the state, was overtaken by a change, and put the old
    /// epochs into force again.
    #[test]
    fn an_older_state_never_comes_back_into_force() {
        let gate = Gate::default();
        let arc = RingArc::new(0, 0).unwrap();
        let at = |applied, epoch| {
            let mut state = ControlState {
                applied,
                ..ControlState::default()
            };
            let partition = Partition::new(Epoch(epoch), vec![member(1), member(2)]);
            state.partitions.insert(arc, Arc::new(partition));
            state
        };
        gate.set_ring(&at(7, 3), Incarnation(1));
        assert!(gate.would_change(&at(8, 4), Incarnation(1)));
        assert!(!gate.would_change(&at(8, 3), Incarnation(1)));
        gate.set_ring(&at(6, 2), Incarnation(1));
        assert_eq!(gate.epoch_of(arc), Some(Epoch(3)));
        gate.set_ring(&at(8, 4), Incarnation(1));
        assert_eq!(gate.epoch_of(arc), Some(Epoch(4)));
    }
}
