//! What this node holds, as reads need it: its store, pinned under the epochs of the ring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::leaves::{HeadSums, LEAVES, Leaf, Leaves, SUB_ARCS, Summing, WindowSums, slot_of};
use super::messages::{Asked, NamesKind, NamesRequest, PartitionAnswer, State};
use super::protocol::HeldHere;
use crate::cluster::control::{Control, ControlState, MemberId};
use crate::cluster::quorum::{Role, Sets};
use crate::model::{
    Epoch, Fingerprint, Incarnation, LabelSet, RingArc, Samples, TenantId, TimeRange, TimestampMs,
    Window, fingerprint,
};
use crate::runtime::{Rule, holds};
use crate::source::{
    FamilyMetadata, LabelPairs, ReadContext, Selection, SeriesExemplars, SeriesStream, Source,
    SourceError,
};
use crate::store::{self, ContentHasher, ContentSum, Pinned, Store};

/// Changes of the ring while a view is taken; more in a row is not what a ring does.
const ATTEMPTS_MAX: usize = 16;

/// The newest windows of a partition of which each leaf is said: two days. Of those before, where
/// mostly nothing is held any more, one sum.
const DETAILED_WINDOWS: usize = 24;
/// All sums of one answer together: 1.5 MiB. With many partitions fewer windows are said in detail.
const DETAILED_SUMS: usize = 96 << 10;

/// This node's store and its place in the ring.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) control: Arc<dyn Control>,
    pub(super) store: Arc<Store>,
    pub(super) me: Incarnation,
    /// Drawn when the process started.
    pub(super) run: u64,
}

/// A view of some partitions, and what is to be said of it: versions, and epochs of the partitions
/// that were asked for under another one and are not in it.
pub(super) struct Viewed {
    pub(super) state: State,
    pub(super) pinned: Pinned,
    /// The partitions that others hold too.
    shared: BTreeSet<RingArc>,
    cluster_id: u128,
}

/// What has no samples.
pub(super) enum Names {
    Series(Vec<LabelSet>),
    /// Label names or values.
    Texts(Vec<String>),
    Metadata(Vec<FamilyMetadata>),
    Exemplars(Vec<SeriesExemplars>),
    LabelPairs(LabelPairs),
}

/// What a node is in the ring: its incarnation with the life that the control state knows.
pub(super) fn member_of(state: &ControlState, node: Incarnation) -> MemberId {
    MemberId {
        incarnation: node,
        life: state.members.get(&node).map_or(0, |member| member.life),
    }
}

/// Whether a question under an epoch is one under this node's own.
fn is_current(mine: Epoch, asked: Epoch) -> bool {
    mine == asked || !holds(Rule::ReadsAreOfOneEpoch)
}

/// The sets in which a member is: 1 the old (or only) one, 2 the new one, 3 both.
fn sets_of(state: &ControlState, arc: RingArc, member: MemberId) -> u32 {
    let role = state
        .partition(arc)
        .map(|found| Sets::of(found).role(member));
    match role {
        None | Some(Role::Outside) => 0,
        Some(Role::Leaving) => 1,
        Some(Role::Joining) => 2,
        Some(Role::Member) => 3,
    }
}

impl Holder {
    /// Whether somebody asks under an epoch that is not yet known here.
    pub(super) fn is_behind(&self, asked: &[Asked]) -> bool {
        let state = self.control.state();
        let mut asked = asked.iter();
        asked.any(|one| self.epoch_of(&state, one.arc) < one.epoch)
    }

    /// A node's own epoch of a partition; 0 when there is no such partition, or when the store is
    /// not divided yet as the ring is: what it holds of a half cannot be said before.
    fn epoch_of(&self, state: &ControlState, arc: RingArc) -> Epoch {
        let found = state.partition(arc).filter(|_| self.store.has_arc(arc));
        found.map_or(Epoch(0), |found| found.epoch)
    }

    /// Takes one view of the partitions whose epoch is the one asked under: it was so before and
    /// after the view was taken.
    pub(super) fn view(&self, asked: &[Asked]) -> Result<Viewed, SourceError> {
        for _ in 0..ATTEMPTS_MAX {
            let state = self.control.state();
            let current = asked
                .iter()
                .filter(|one| is_current(self.epoch_of(&state, one.arc), one.epoch));
            let arcs: Vec<RingArc> = current.map(|one| one.arc).collect();
            let pinned = self.store.pin(&arcs);
            let after = self.control.state();
            if arcs
                .iter()
                .any(|arc| self.epoch_of(&after, *arc) != self.epoch_of(&state, *arc))
            {
                continue;
            }
            let member = member_of(&state, self.me);
            let is_shared = |arc: &RingArc| {
                let found = state.partition(*arc);
                found.is_none_or(|found| Sets::of(found).everyone().len() > 1)
            };
            let shared = arcs.iter().copied().filter(is_shared).collect();
            let answer = |one: &Asked| {
                let answer = PartitionAnswer {
                    epoch: match self.epoch_of(&state, one.arc) {
                        mine if is_current(mine, one.epoch) => one.epoch,
                        mine => mine,
                    },
                    held: HeldHere {
                        version: pinned.version(one.arc),
                        ..HeldHere::default()
                    },
                    sets: sets_of(&state, one.arc, member),
                };
                (one.arc, answer)
            };
            let state = State {
                member,
                applied: state.applied,
                run: self.run,
                partitions: asked.iter().map(answer).collect(),
            };
            return Ok(Viewed {
                state,
                pinned,
                shared,
                cluster_id: after.cluster.map_or(0, |cluster| cluster.0),
            });
        }
        Err(SourceError::Unavailable(
            "the ring changes faster than it can be read: try again".to_owned(),
        ))
    }
}

impl Viewed {
    /// Sums up what the head holds of the selected series of some partitions: of the leaves that are
    /// asked for, or of all; `encoded`: as the series stand there. To be done before their data are
    /// read from the view: what is read later has at least what was summed up.
    pub(super) fn sum_up(
        &mut self,
        asked: &[Asked],
        encoded: bool,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        // What nobody else holds is compared with nothing.
        let shared = asked.iter().filter(|one| self.shared.contains(&one.arc));
        let (narrow, wide): (Vec<&Asked>, Vec<&Asked>) =
            shared.partition(|one| !one.leaves.is_empty());
        if !narrow.is_empty() {
            let leaves = narrow.iter().map(|one| (one.arc, one.leaves.clone()));
            let leaves: BTreeMap<RingArc, Leaves> = leaves.collect();
            self.sum_samples(&self.only(&narrow), Some(&leaves), selection, context)?;
        }
        if wide.is_empty() {
            return Ok(());
        }
        let pinned = self.only(&wide);
        if encoded {
            self.sum_encoded(&pinned, selection, context)
        } else {
            self.sum_samples(&pinned, None, selection, context)
        }
    }

    fn only(&self, asked: &[&Asked]) -> Pinned {
        let arcs: Vec<RingArc> = asked.iter().map(|one| one.arc).collect();
        self.pinned.only(&arcs)
    }

    fn sum_encoded(
        &mut self,
        pinned: &Pinned,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        let sums = pinned.encoded_sums(selection, context)?;
        let windows_max = DETAILED_SUMS / (usize::from(SUB_ARCS) * pinned.arcs().count().max(1));
        for arc in pinned.arcs() {
            let mut heads = HeadSums::default();
            for (window, sums) in sums.get(&arc).into_iter().flatten() {
                let each = (0..SUB_ARCS).zip(sums).filter(|(_, sum)| sum.0 != 0);
                let leaf = |(sub_arc, sum): (u8, &ContentSum)| Some((Leaf::new(0, sub_arc)?, *sum));
                let leaves = each.filter_map(leaf).collect();
                heads.0.insert(*window, WindowSums::Leaves(leaves));
            }
            heads.flatten_older(windows_max);
            self.hold(arc, heads, true);
        }
        Ok(())
    }

    fn sum_samples(
        &mut self,
        pinned: &Pinned,
        leaves: Option<&BTreeMap<RingArc, Leaves>>,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<(), SourceError> {
        let hasher = ContentHasher::new(self.cluster_id);
        let places = Places::new(pinned.arcs().collect(), selection.tenant.clone());
        let mut sums: BTreeMap<RingArc, Summing> = BTreeMap::new();
        let leaves = leaves.map(of_store);
        let mut stream = pinned.select_heads(leaves.as_ref(), selection, context)?;
        let mut samples = Samples::default();
        while let Some(labels) = stream.next(&mut samples)? {
            let Some((arc, fingerprint)) = places.find(&labels) else {
                continue;
            };
            let own = sums.entry(arc).or_default();
            add_up(
                &hasher,
                fingerprint,
                arc.sub_arc(fingerprint),
                &samples,
                own,
            );
        }
        let windows_max = DETAILED_SUMS / (usize::from(LEAVES) * places.arcs.len().max(1));
        for arc in pinned.arcs() {
            let mut heads = sums.remove(&arc).unwrap_or_default().finish();
            heads.flatten_older(windows_max.min(DETAILED_WINDOWS));
            self.hold(arc, heads, false);
        }
        Ok(())
    }

    fn hold(&mut self, arc: RingArc, heads: HeadSums, encoded: bool) {
        if let Some(answer) = self.state.partitions.get_mut(&arc) {
            answer.held.heads = heads;
            answer.held.encoded = encoded;
        }
    }
}

/// Adds the hashes of one series' samples, slot by slot.
fn add_up(
    hasher: &ContentHasher,
    fingerprint: Fingerprint,
    sub_arc: u8,
    samples: &Samples,
    sums: &mut Summing,
) {
    let mut slot: Option<(TimeRange, ContentSum)> = None;
    let mut close = |slot: Option<(TimeRange, ContentSum)>| {
        if let Some((range, sum)) = slot
            && let Some((window, leaf)) = Leaf::of(range.end, sub_arc)
        {
            sums.add(window, leaf, sum);
        }
    };
    let mut add = |at: i64, hash: u128| match &mut slot {
        Some((range, sum)) if at <= range.end.0 => sum.add(hash),
        other => {
            let at = TimestampMs(at);
            close(other.replace((slot_of(at), ContentSum(hash))));
        }
    };
    if samples.histograms.is_empty() {
        let none = samples.starts.iter().copied().chain(std::iter::repeat(0));
        let floats = samples.timestamps.iter().zip(&samples.values).zip(none);
        for ((at, value), start) in floats {
            let hash = hasher.float(fingerprint, TimestampMs(*at), *value, TimestampMs(start));
            add(*at, hash);
        }
    } else {
        for (at, value, start) in samples.iter() {
            add(at.0, hasher.sample(fingerprint, at, &value, start));
        }
    }
    let last = slot.take();
    close(last);
}

/// In which of a view's partitions series lie.
pub(super) struct Places {
    tenant: TenantId,
    /// Sorted: arcs do not overlap.
    arcs: Vec<RingArc>,
}

impl Places {
    pub(super) fn new(mut arcs: Vec<RingArc>, tenant: TenantId) -> Self {
        arcs.sort_unstable();
        Self { tenant, arcs }
    }

    /// The partition of a series, and its fingerprint; `None` when it lies in none of them.
    fn find(&self, labels: &LabelSet) -> Option<(RingArc, Fingerprint)> {
        let fingerprint = fingerprint(&self.tenant, labels);
        let top = RingArc::of(fingerprint, RingArc::DEPTH_MAX).prefix();
        let after = self.arcs.partition_point(|arc| arc.prefix() <= top);
        let arc = *self.arcs.get(after.checked_sub(1)?)?;
        arc.contains(fingerprint).then_some((arc, fingerprint))
    }
}

impl Viewed {
    /// What the head holds of the selected series in some leaves.
    pub(super) fn select_leaves(
        &self,
        leaves: &BTreeMap<RingArc, Leaves>,
        selection: &Selection,
        context: &ReadContext,
    ) -> Result<Box<dyn SeriesStream>, SourceError> {
        self.pinned
            .select_heads(Some(&of_store(leaves)), selection, context)
    }
}

/// Leaves as the store names them.
fn of_store(
    leaves: &BTreeMap<RingArc, Leaves>,
) -> BTreeMap<RingArc, BTreeMap<Window, store::Leaves>> {
    let of = |windows: &Leaves| {
        let each = windows.iter();
        each.map(|(window, set)| (*window, store::Leaves::new(*set.slots(), false)))
            .collect()
    };
    leaves
        .iter()
        .map(|(arc, windows)| (*arc, of(windows)))
        .collect()
}

impl Holder {
    /// What is held here of names in the partitions of a request.
    pub(super) fn names(
        &self,
        request: &NamesRequest,
        context: &ReadContext,
    ) -> Result<(State, Names), SourceError> {
        let viewed = self.view(&request.partitions)?;
        let (source, selection, limit) = (&viewed.pinned, &request.selection, request.limit);
        let found = match &request.kind {
            NamesKind::Series => Names::Series(source.series(selection, limit, context)?),
            NamesKind::LabelNames => Names::Texts(source.label_names(selection, limit, context)?),
            NamesKind::LabelValues(name) => {
                Names::Texts(source.label_values(name, selection, limit, context)?)
            }
            NamesKind::Metadata(family) => {
                let family = family.as_deref();
                Names::Metadata(source.metadata(&selection.tenant, family, context)?)
            }
            NamesKind::Exemplars => Names::Exemplars(source.exemplars(selection, context)?),
            NamesKind::LabelPairs => {
                Names::LabelPairs(source.label_pairs(&selection.tenant, context)?)
            }
        };
        Ok((viewed.state, found))
    }
}
