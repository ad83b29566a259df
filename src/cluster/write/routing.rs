//! The ring as writes need it: from a place to its partition, and who takes part there.
//!
//! Made from a control state and never changed; whoever writes takes one and keeps it for the
//! whole attempt.

use std::collections::BTreeSet;

use crate::cluster::control::{ControlState, MemberId};
use crate::cluster::quorum::Sets;
use crate::model::{Epoch, Fingerprint, Incarnation, RingArc};

use super::majority::{MEMBERS_MAX, Tally};

/// The leading bits of a fingerprint: no arc is deeper.
pub(super) type Place = u32;

/// The place of a fingerprint.
#[allow(
    clippy::cast_possible_truncation,
    reason = "the upper 32 bits of 128 are left"
)]
pub(super) const fn place_of(fingerprint: Fingerprint) -> Place {
    (fingerprint.0 >> 96) as u32
}

/// Bits of a place that choose where the search for its partition begins.
const TABLE_BITS_MAX: u8 = 12;

/// Says that nothing is there.
const NOWHERE: u32 = u32::MAX;

/// One partition.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) arc: RingArc,
    pub(super) epoch: Epoch,
    /// The first place that is not in it any more; `None`: it ends with the ring.
    end: Option<Place>,
    /// Everybody in its sets; a member's position is its bit in the tally.
    pub(super) members: Vec<MemberId>,
    /// A count of its sets in which nobody has said anything, but for those who never will: members
    /// in a life that is over.
    pub(super) tally: Tally,
    gone: u32,
    /// This node's bit.
    pub(super) me: Option<u8>,
}

/// The ring of one control state.
#[derive(Debug, Default)]
pub(super) struct RoutingTable {
    /// In the order of their arcs.
    partitions: Vec<Routed>,
    /// By the leading bits of a place: the first partition that it can be in.
    starts: Vec<u32>,
    bits: u8,
    /// All others that take part anywhere.
    peers: BTreeSet<Incarnation>,
}

impl RoutingTable {
    /// The ring of a control state, as the node `me` uses it. Partitions with more members than
    /// there can be are left out: nothing can be written to them.
    pub(super) fn of(state: &ControlState, me: Incarnation) -> Self {
        let mut partitions = Vec::with_capacity(state.partitions.len());
        let mut peers = BTreeSet::new();
        for (arc, partition) in &state.partitions {
            let sets = Sets::of(partition);
            let members: Vec<MemberId> = sets.everyone().into_iter().collect();
            if members.len() > MEMBERS_MAX {
                continue;
            }
            let is_present = |member: &MemberId| {
                let known = state.members.get(&member.incarnation);
                known.is_none_or(|known| known.life == member.life)
            };
            let mine = |member: &MemberId| member.incarnation == me && is_present(member);
            let mine = members.iter().position(mine);
            let mut tally = Tally::of(&partition.sets(), &members);
            let mut gone = 0u32;
            for (bit, member) in (0u8..).zip(&members) {
                if !is_present(member) {
                    tally.note(bit, false);
                    gone |= 1 << bit;
                }
            }
            peers.extend(members.iter().map(|member| member.incarnation));
            let end = 1u64 << (32 - u32::from(arc.depth()));
            partitions.push(Routed {
                arc: *arc,
                epoch: partition.epoch,
                end: u32::try_from(u64::from(arc.prefix()) + end).ok(),
                tally,
                gone,
                members,
                me: mine.and_then(|at| u8::try_from(at).ok()),
            });
        }
        partitions.sort_by_key(|partition| partition.arc.prefix());
        peers.remove(&me);
        let deepest = partitions.iter().map(|partition| partition.arc.depth());
        let bits = deepest.max().unwrap_or(0).min(TABLE_BITS_MAX);
        let mut table = Self {
            starts: Vec::new(),
            partitions,
            bits,
            peers,
        };
        let starts = (0..1u32 << bits).map(|number| {
            let place = if bits == 0 { 0 } else { number << (32 - bits) };
            let first = |partition: &Routed| partition.end.is_none_or(|end| end > place);
            let found = table.partitions.iter().position(first);
            found
                .and_then(|at| u32::try_from(at).ok())
                .unwrap_or(NOWHERE)
        });
        table.starts = starts.collect();
        table
    }

    /// The partition of a place: its position and itself.
    #[inline]
    pub(super) fn find(&self, place: Place) -> Option<(usize, &Routed)> {
        let number = if self.bits == 0 {
            0
        } else {
            place >> (32 - self.bits)
        };
        let mut at = *self.starts.get(number as usize)? as usize;
        loop {
            let partition = self.partitions.get(at)?;
            if partition.end.is_none_or(|end| place < end) {
                return (place >= partition.arc.prefix()).then_some((at, partition));
            }
            at += 1;
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&Routed> {
        self.partitions.get(at)
    }

    pub(super) fn partitions(&self) -> &[Routed] {
        &self.partitions
    }

    pub(super) const fn peers(&self) -> &BTreeSet<Incarnation> {
        &self.peers
    }
}

impl Routed {
    /// Those who are sent writes, with their bits.
    pub(super) fn present(&self) -> impl Iterator<Item = (u8, &MemberId)> {
        let all = (0u8..).zip(&self.members);
        all.filter(|(bit, _)| self.gone >> *bit & 1 == 0)
    }

    /// The bit of a node, if it takes part.
    pub(super) fn bit_of(&self, node: Incarnation) -> Option<u8> {
        let mut present = self.present();
        let found = present.find(|(_, member)| member.incarnation == node);
        found.map(|(bit, _)| bit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::control::Partition;

    #[test]
    fn every_place_is_in_the_partition_of_its_arc() {
        let member = |number| MemberId {
            incarnation: Incarnation(number),
            life: 0,
        };
        let mut state = ControlState::default();
        // A ring with arcs of different depths, one of them deeper than the table.
        let mut arcs: Vec<RingArc> = RingArc::all(2).collect();
        for _ in 0..12 {
            let last = arcs.pop().unwrap();
            arcs.extend(last.halves().unwrap());
        }
        for (number, arc) in arcs.iter().enumerate() {
            let partition = Partition::new(Epoch(number as u64), vec![member(1), member(2)]);
            state.partitions.insert(*arc, Arc::new(partition));
        }
        let table = RoutingTable::of(&state, Incarnation(2));
        assert_eq!(table.partitions().len(), arcs.len());
        assert!(table.peers().iter().eq([&Incarnation(1)]));
        let edges = arcs.iter().flat_map(|arc| {
            let first = arc.prefix();
            [first.wrapping_sub(1), first, first + 1]
        });
        for place in edges.chain((0..2000u32).map(|n| n.wrapping_mul(0x9e37_79b9))) {
            let fingerprint = Fingerprint(u128::from(place) << 96);
            assert_eq!(place_of(fingerprint), place);
            let (at, found) = table.find(place).unwrap();
            assert!(
                found.arc.contains(fingerprint),
                "{place:x} in {}",
                found.arc
            );
            assert_eq!(table.get(at).unwrap().arc, found.arc);
            assert_eq!(found.me, found.bit_of(Incarnation(2)));
        }
        assert!(RoutingTable::default().find(7).is_none());
        state.partitions.remove(&arcs[1]);
        let table = RoutingTable::of(&state, Incarnation(2));
        assert!(table.find(arcs[1].prefix()).is_none());
        assert!(table.find(arcs[0].prefix()).is_some() && table.find(arcs[2].prefix()).is_some());
    }
}
