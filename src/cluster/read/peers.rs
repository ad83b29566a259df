//! What reads remember of peers: who failed or was silent lately is asked last.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::cluster::control::{ControlState, Liveness, MemberId};
use crate::model::{Incarnation, RingArc};

/// So long a peer that failed is not preferred: about the time in which the control group notices.
const AVOID: Duration = Duration::from_secs(10);

/// Peers that failed, and until when they are avoided.
#[derive(Debug, Default)]
pub(super) struct PeerBook(Mutex<BTreeMap<Incarnation, Duration>>);

/// In which order members are preferred for data: the smallest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    class: u8,
    /// Whether others of the class are to be preferred.
    is_new: bool,
    /// Spreads the partitions over equal members.
    turn: u64,
}

impl Rank {
    /// Before those of its class of whom this is not true.
    pub(super) const fn if_equal(mut self, preferred: bool) -> Self {
        self.is_new = !preferred;
        self
    }
}

impl PeerBook {
    pub(super) fn failed(&self, peer: Incarnation, now: Duration) {
        let mut until = self.0.lock();
        until.retain(|_, until| *until > now);
        until.insert(peer, now.saturating_add(AVOID));
    }

    /// Saying what it holds is not enough: who is silent with data may well do that.
    pub(super) fn gave_data(&self, peer: Incarnation) {
        self.0.lock().remove(&peer);
    }

    /// This node first, then who is well, then who failed lately, then who is down.
    pub(super) fn rank(
        &self,
        state: &ControlState,
        me: Incarnation,
        now: Duration,
        arc: RingArc,
        member: MemberId,
    ) -> Rank {
        let peer = member.incarnation;
        let failed = self.0.lock().get(&peer).is_some_and(|until| *until > now);
        let class = if peer == me && !failed {
            0
        } else if peer != me && is_away(state, peer) {
            3
        } else {
            1 + u8::from(failed)
        };
        let mixed = (u64::from(arc.prefix()) << 8 ^ fold(peer) ^ fold(me))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Rank {
            class,
            is_new: false,
            turn: mixed >> 32,
        }
    }
}

fn fold(peer: Incarnation) -> u64 {
    let [low, high] = [peer.0, peer.0 >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or(0)
}

/// Whether the control state does not count on a node.
pub(super) fn is_away(state: &ControlState, peer: Incarnation) -> bool {
    let member = state.members.get(&peer);
    member.is_some_and(|member| member.liveness != Liveness::Live)
}
