//! One round of a select: the partitions that are left under one ring, what their members say, and
//! the groups of partitions whose data come from one member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::core::Core;
use super::leaves::Leaves;
use super::link::Opened;
use super::messages::{Asked, State};
use super::protocol::{Choice, HeldHere, PartitionRead, Verdict};
use super::view::Viewed;
use crate::cluster::control::{ControlState, MemberId};
use crate::cluster::quorum::Sets;
use crate::model::{Epoch, RingArc};
use crate::source::SourceError;

/// Who is asked of which partitions.
pub(super) type Asks = BTreeMap<MemberId, Vec<Asked>>;

/// One attempt at the partitions that are left.
pub(super) struct Round {
    pub(super) number: u32,
    pub(super) ring: Arc<ControlState>,
    pub(super) reads: BTreeMap<RingArc, PartitionRead>,
    pub(super) local: Option<Viewed>,
    /// The process that said what a member holds.
    pub(super) runs: BTreeMap<MemberId, u64>,
}

/// Partitions whose data come from one member.
pub(super) struct Group {
    pub(super) from: MemberId,
    pub(super) choices: BTreeMap<RingArc, Choice>,
    /// The view's helds, once it is there.
    pub(super) data: BTreeMap<RingArc, HeldHere>,
    /// What other heads may have beyond it.
    pub(super) fetch: BTreeMap<MemberId, BTreeMap<RingArc, Leaves>>,
    /// `None`: this node's own view.
    pub(super) opened: Option<Opened>,
}

/// The partitions of which a raw answer does not make the data complete.
pub(super) fn unfit(
    round: &Round,
    state: &State,
    member: MemberId,
    arcs: &[RingArc],
    data: &BTreeMap<RingArc, &HeldHere>,
) -> Vec<RingArc> {
    let fits = |arc: &RingArc| {
        let answer = state.partitions.get(arc);
        state.member == member
            && state.answers(&round.asked(*arc))
            && answer
                .zip(data.get(arc))
                .is_some_and(|(answer, data)| PartitionRead::may_merge(data, answer.held.version))
    };
    arcs.iter().copied().filter(|arc| !fits(arc)).collect()
}

/// Keeps the groups whose views are new enough, with what has to be fetched beside them.
pub(super) fn judge(
    round: &Round,
    groups: Vec<Group>,
    again: &mut BTreeSet<RingArc>,
) -> Vec<Group> {
    let mut kept = Vec::new();
    for mut group in groups {
        if group.judge(round) {
            kept.push(group);
        } else {
            again.extend(group.choices.into_keys());
        }
    }
    kept
}

impl Group {
    /// The view from which the data will come is there. It has at least what the member said
    /// before that its head holds, if it is still the same process: what has left the head since
    /// is in a block of the view, whose version it says.
    pub(super) fn saw(&mut self, round: &Round, state: &State) -> bool {
        for arc in self.choices.keys() {
            let before = round.reads.get(arc).and_then(|read| read.held(self.from));
            let now = state.partitions.get(arc);
            let is_current = state.answers(&round.asked(*arc));
            let (Some(before), Some(now), true) = (before, now, is_current) else {
                return false;
            };
            let data = HeldHere {
                version: now.held.version,
                heads: before.heads.clone(),
                encoded: before.encoded,
            };
            self.data.insert(*arc, data);
        }
        round.runs.get(&self.from) == Some(&state.run)
    }

    /// Whether the view can be used for all its partitions.
    pub(super) fn judge(&mut self, round: &Round) -> bool {
        for (arc, choice) in &self.choices {
            let (Some(data), Some(read)) = (self.data.get(arc), round.reads.get(arc)) else {
                return false;
            };
            match read.judge(choice, data) {
                Verdict::Again => return false,
                Verdict::Fetch(fetch) => {
                    for (member, leaves) in fetch {
                        self.fetch.entry(member).or_default().insert(*arc, leaves);
                    }
                }
            }
        }
        true
    }
}

impl Round {
    /// The partitions of the ring as it is now, or those of them that are left.
    pub(super) fn new(
        number: u32,
        ring: Arc<ControlState>,
        left: Option<&BTreeSet<RingArc>>,
    ) -> Result<Self, SourceError> {
        if ring.partitions.is_empty() {
            return Err(SourceError::Unavailable(
                "this node knows no ring yet: try again in a moment".to_owned(),
            ));
        }
        let is_left = |arc: &RingArc| left.is_none_or(|left| left.iter().any(|l| holds(*l, *arc)));
        let wanted = ring.partitions.iter().filter(|(arc, _)| is_left(arc));
        let reads = wanted
            .map(|(arc, found)| (*arc, PartitionRead::new(found.epoch, Sets::of(found))))
            .collect();
        Ok(Self {
            number,
            ring,
            reads,
            local: None,
            runs: BTreeMap::new(),
        })
    }

    pub(super) fn answered(&mut self, state: &State) {
        // Who has started anew meanwhile may hold less than it said before.
        if *self.runs.entry(state.member).or_insert(state.run) != state.run {
            return;
        }
        for (arc, answer) in &state.partitions {
            if let Some(read) = self.reads.get_mut(arc) {
                let answer = answer.clone().under(read.epoch());
                read.answered(state.member, answer);
            }
        }
    }

    /// Of partitions without a majority whoever has answered will do; those of which nobody has are
    /// left out.
    pub(super) fn make_do(&mut self) {
        self.reads
            .retain(|_, read| read.has_majority() || read.settle_for_less());
    }

    /// Whom to ask first, partition by partition.
    pub(super) fn asked_first(&self, core: &Core) -> Asks {
        let mut asks = Asks::new();
        for (arc, read) in &self.reads {
            let first = core.asked_first(&self.ring, (*arc, read), self.number, &asks);
            for member in first {
                asks.entry(member).or_default().push(self.asked(*arc));
            }
        }
        asks
    }

    /// The best single member of a partition, of equal ones who is asked anyway. Who has
    /// failed is not the best for a while.
    pub(super) fn best(&self, core: &Core, arc: RingArc, anyway: &Asks) -> Option<MemberId> {
        let read = self.reads.get(&arc)?;
        let now = core.clock.elapsed();
        let worth = core.worth_asking(&self.ring, read, self.number);
        let mut ranked: Vec<MemberId> = worth.into_iter().collect();
        ranked.sort_by_cached_key(|member| {
            let rank = core
                .book
                .rank(&self.ring, core.holder.me, now, arc, *member);
            rank.if_equal(anyway.contains_key(member))
        });
        ranked.into_iter().next()
    }

    /// Whom to ask besides, of partitions of which too few have answered.
    pub(super) fn asked_besides(&self, core: &Core, asked: &Asks) -> Asks {
        let mut asks = Asks::new();
        let short = self.reads.iter().filter(|(_, read)| !read.has_majority());
        for (arc, read) in short {
            for member in core.worth_asking(&self.ring, read, self.number) {
                let before = asked.get(&member).into_iter().flatten();
                if !before.map(|one| one.arc).any(|before| before == *arc) {
                    asks.entry(member).or_default().push(self.asked(*arc));
                }
            }
        }
        asks
    }

    /// Where sums over encoded series differ, those that are compared have to say more: whom to ask
    /// of which leaves. What they said before is forgotten.
    pub(super) fn refine(&mut self, core: &Core) -> Asks {
        let now = core.clock.elapsed();
        let mut asks = Asks::new();
        for (arc, read) in &mut self.reads {
            let rank = |member| {
                core.book
                    .rank(&self.ring, core.holder.me, now, *arc, member)
            };
            let Some(choice) = read.choose(rank) else {
                continue;
            };
            let leaves = read.unsure(&choice);
            if leaves.is_empty() {
                continue;
            }
            read.refine(&choice);
            for member in choice.others.iter().chain([&choice.from]) {
                asks.entry(*member).or_default().push(Asked {
                    arc: *arc,
                    epoch: read.epoch(),
                    leaves: leaves.clone(),
                });
            }
        }
        asks
    }

    pub(super) fn asked(&self, arc: RingArc) -> Asked {
        Asked {
            arc,
            epoch: self.reads.get(&arc).map_or(Epoch(0), PartitionRead::epoch),
            leaves: Leaves::new(),
        }
    }

    /// Whom to take the data of each partition from; and those of which too few have answered.
    pub(super) fn groups(&self, core: &Core) -> (Vec<Group>, BTreeSet<RingArc>) {
        let now = core.clock.elapsed();
        let mut again = BTreeSet::new();
        let mut groups: BTreeMap<MemberId, Group> = BTreeMap::new();
        for (arc, read) in &self.reads {
            let rank = |member| {
                core.book
                    .rank(&self.ring, core.holder.me, now, *arc, member)
            };
            let Some(choice) = read.choose(rank) else {
                again.insert(*arc);
                continue;
            };
            let group = groups.entry(choice.from).or_insert_with(|| Group {
                from: choice.from,
                choices: BTreeMap::new(),
                data: BTreeMap::new(),
                fetch: BTreeMap::new(),
                opened: None,
            });
            group.choices.insert(*arc, choice);
        }
        (groups.into_values().collect(), again)
    }
}

/// Whether all fingerprints of one arc lie in another.
fn holds(outer: RingArc, inner: RingArc) -> bool {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(outer.depth()))
        .unwrap_or(0);
    outer.depth() <= inner.depth() && inner.prefix() & mask == outer.prefix()
}
