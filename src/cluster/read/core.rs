//! What all reads of a node share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
use super::metrics::ReadMetrics;
use super::peers::{PeerBook, is_away};
use super::protocol::PartitionRead;
use super::settings::ReadSettings;
use super::view::Holder;
use crate::cluster::control::{ControlState, MemberId};
use crate::model::{Epoch, Incarnation, RingArc};
use crate::runtime::{Budget, Clock};
use crate::source::{ReadContext, SourceError};

/// A member is at a later epoch: this node's control log has so long to get there.
const EPOCH_WAIT: Duration = Duration::from_millis(500);
const EPOCH_LOOK: Duration = Duration::from_millis(10);
/// The first pause before a read is begun anew; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(40);
/// Partitions that an error names.
const NAMED_MAX: usize = 3;

pub(super) struct Core {
    pub(super) link: Link,
    pub(super) holder: Holder,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: ReadSettings,
    pub(super) metrics: ReadMetrics,
    pub(super) book: PeerBook,
}

/// What a partial answer's warning says.
pub(super) fn lacking(error: &SourceError) -> String {
    format!("the answer may lack samples: {error}")
}

impl Core {
    /// What summing up heads may use: an account of its own, because the query's says what was
    /// read for its answer.
    pub(super) fn summing(&self, context: &ReadContext) -> ReadContext {
        ReadContext {
            cancel: context.cancel.clone(),
            budget: Budget::new(self.settings.limits),
            partial: context.partial.clone(),
            coarsest: context.coarsest.clone(),
        }
    }

    /// Whom to ask of a partition. In the first round those whom the control state does not count
    /// on are left out, where the others are enough; nobody asks those who are gone for good.
    pub(super) fn worth_asking(
        &self,
        ring: &ControlState,
        read: &PartitionRead,
        round: u32,
    ) -> BTreeSet<MemberId> {
        let everyone = read.sets().everyone();
        let there = everyone.iter().filter(|m| !is_away(ring, m.incarnation));
        let there: BTreeSet<MemberId> = there.copied().collect();
        if round == 0 && read.sets().have_majority(&there) {
            there
        } else {
            everyone
        }
    }

    /// Whom to ask of a partition first: in the first round the best that are a majority together,
    /// of equal ones those who are asked anyway, so that few nodes are asked.
    pub(super) fn asked_first<T>(
        &self,
        ring: &ControlState,
        (arc, read): (RingArc, &PartitionRead),
        round: u32,
        anyway: &BTreeMap<MemberId, T>,
    ) -> BTreeSet<MemberId> {
        let worth = self.worth_asking(ring, read, round);
        if round > 0 {
            return worth;
        }
        let now = self.clock.elapsed();
        let mut ranked: Vec<MemberId> = worth.into_iter().collect();
        ranked.sort_by_cached_key(|member| {
            let rank = self.book.rank(ring, self.holder.me, now, arc, *member);
            rank.if_equal(anyway.contains_key(member))
        });
        let mut first = BTreeSet::new();
        for member in ranked {
            if read.sets().have_majority(&first) {
                break;
            }
            first.insert(member);
        }
        first
    }

    /// Before a read is begun anew: waits for the control log when somebody is ahead of it, and a
    /// little in any case.
    pub(super) fn rest(
        &self,
        round: u32,
        reads: &BTreeMap<RingArc, PartitionRead>,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        let later = |(arc, read): (&RingArc, &PartitionRead)| Some((*arc, read.later_epoch()?));
        let later: Vec<(RingArc, Epoch)> = reads.iter().filter_map(later).collect();
        if later.is_empty() {
            let pause = PAUSE.saturating_mul(1 << round.min(6));
            return self.link.pause(&context.cancel, pause);
        }
        let mut waited = Duration::ZERO;
        while waited < EPOCH_WAIT {
            let ring = self.holder.control.state();
            let epoch = |arc: &RingArc| ring.partition(*arc).map_or(Epoch(u64::MAX), |p| p.epoch);
            if later.iter().all(|(arc, later)| epoch(arc) >= *later) {
                break;
            }
            self.link.pause(&context.cancel, EPOCH_LOOK)?;
            waited += EPOCH_LOOK;
        }
        Ok(())
    }

    /// Why a read fails: which partitions, and what is wrong with which nodes.
    pub(super) fn short(
        &self,
        ring: &ControlState,
        reads: &BTreeMap<RingArc, PartitionRead>,
        arcs: &BTreeSet<RingArc>,
        trouble: &BTreeMap<Incarnation, String>,
    ) -> SourceError {
        let name = |peer: Incarnation| {
            let known = ring.members.get(&peer).map(|member| member.name.clone());
            known.unwrap_or_else(|| peer.to_string())
        };
        let mut text = String::new();
        for (arc, read) in arcs
            .iter()
            .filter_map(|arc| reads.get_key_value(arc))
            .take(NAMED_MAX)
        {
            let silent = read.silent();
            let mut nodes = Vec::new();
            for member in read.sets().everyone() {
                let peer = member.incarnation;
                match trouble.get(&peer) {
                    Some(what) => nodes.push(format!("{} ({what})", name(peer))),
                    None if silent.contains(&member) => {
                        nodes.push(format!("{} (no answer under this epoch)", name(peer)));
                    }
                    None => {}
                }
            }
            let what = if read.has_majority() {
                "enough members answered, but not with their data"
            } else {
                "not enough members answered"
            };
            text.push_str(&format!("partition {arc}: {what}: {}; ", nodes.join(", ")));
        }
        if arcs.len() > NAMED_MAX {
            text.push_str(&format!("{} more partitions; ", arcs.len() - NAMED_MAX));
        }
        text.push_str("try again when these nodes are back");
        SourceError::Unavailable(text)
    }
}
