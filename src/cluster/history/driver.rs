//! Does what the plan says: stages a manifest on W members, commits it, follows it.
//!
//! Every step is a matter of state: a manifest that was staged and never named is swept, and what
//! is refused because the catalog has gone on is planned anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::metrics::{HistoryMetrics, ManifestResult};
use super::plan::{Change, Situation, bring_back, due};
use crate::cluster::control::{
    Command, Control, MANIFEST_BYTES_MAX, MANIFEST_LEVEL, Manifest, ManifestChanged, MemberId,
    Outcome, Partition,
};
use crate::cluster::data::DataPeers;
use crate::cluster::error::Error;
use crate::cluster::moves::Follower;
use crate::cluster::quorum::Sets;
use crate::cluster::seal::Busy;
use crate::cluster::turns::is_first;
use crate::model::{BlockId, Digest, Incarnation, RingArc};
use crate::runtime::{CancelToken, Clock};
use crate::store::Store;

/// Seals and uploads go on while a manifest is staged: then it is made again.
const ATTEMPTS_MAX: usize = 4;
/// A manifest that has changed is left alone for so long.
const REST: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps the control state small.
pub(in crate::cluster) struct Historian {
    parts: HistorianParts,
    seen: Mutex<BTreeMap<RingArc, Seen>>,
}

/// The manifest of a partition, and since when, as far as this process has seen it come.
type Seen = (Option<Digest>, Option<Duration>);

/// What it is made from.
pub(in crate::cluster) struct HistorianParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) me: Incarnation,
    pub(in crate::cluster) follower: Arc<Follower>,
    /// `None` on a node that has no peers.
    pub(in crate::cluster) peers: Option<Arc<DataPeers>>,
    /// Held while the catalog changes under a seal's feet.
    pub(in crate::cluster) busy: Busy,
    /// Whether there is a bucket.
    pub(in crate::cluster) bucket: bool,
    pub(in crate::cluster) metrics: HistoryMetrics,
}

impl Historian {
    pub(in crate::cluster) fn new(parts: HistorianParts) -> Self {
        Self {
            parts,
            seen: Mutex::default(),
        }
    }

    /// Moves what is due of the partitions of which this node is the first live member. Errors are
    /// logged: nobody waits for it, and it is tried again.
    pub(in crate::cluster) fn pass(&self, cancel: &CancelToken) {
        let state = self.parts.control.state();
        let partitions = state.partitions.values();
        let histories = partitions.clone().filter_map(|p| p.history);
        self.parts.metrics.entries(
            partitions.map(|partition| partition.recent.len()).sum(),
            histories.map(|history| u64::from(history.blocks)).sum(),
        );
        for (arc, partition) in &state.partitions {
            let here = self.parts.store.has_arc(*arc) && partition.moving.is_none();
            let mine = here && is_first(&state, (*arc, partition), self.parts.me);
            if !mine || cancel.check().is_err() {
                continue;
            }
            let rested = self.is_rested(*arc, partition);
            let plan = |partition: &Partition, manifest: Option<&Manifest>| {
                due(&Situation {
                    arc: *arc,
                    partition,
                    manifest,
                    now: self.parts.clock.now(),
                    rested,
                    bucket: self.parts.bucket,
                })
            };
            if let Err(error) = self.change(*arc, &plan, cancel) {
                self.parts.metrics.ended(ManifestResult::Failed);
                tracing::warn!(
                    partition = %arc, %error,
                    "older blocks could not be moved to the partition's manifest: it will be tried again"
                );
            }
        }
    }

    /// Has the state list blocks again that the manifest lists, so that they can be merged. Whether
    /// it does.
    ///
    /// # Errors
    /// When too few members keep the new manifest, or the control group cannot decide.
    pub(in crate::cluster) fn bring_back(
        &self,
        arc: RingArc,
        blocks: &[BlockId],
        cancel: &CancelToken,
    ) -> Result<bool, Error> {
        let plan = |partition: &Partition, manifest: Option<&Manifest>| {
            let older = blocks.iter().copied();
            let older = older.filter(|id| !partition.recent.contains_key(id));
            bring_back(arc, manifest, &older.collect())
        };
        self.change(arc, &plan, cancel)?;
        let state = self.parts.control.state();
        let lists =
            |partition: &Partition| blocks.iter().all(|id| partition.recent.contains_key(id));
        Ok(state.partition(arc).is_some_and(lists))
    }

    fn is_rested(&self, arc: RingArc, partition: &Partition) -> bool {
        let digest = partition.history.map(|history| history.digest);
        let now = self.parts.clock.elapsed();
        let mut seen = self.seen.lock();
        let (known, since) = seen.entry(arc).or_insert((digest, None));
        if *known != digest {
            (*known, *since) = (digest, Some(now));
        }
        since.is_none_or(|since| now.saturating_sub(since) >= REST)
    }

    /// A change that was made here rests from now on.
    fn note(&self, arc: RingArc) {
        if let Some(partition) = self.parts.control.state().partition(arc) {
            self.is_rested(arc, partition);
        }
    }

    /// Makes one change; whether it was made. What was asked for and is not due is none.
    fn change(
        &self,
        arc: RingArc,
        plan: &dyn Fn(&Partition, Option<&Manifest>) -> Option<Change>,
        cancel: &CancelToken,
    ) -> Result<bool, Error> {
        let parts = &self.parts;
        for _ in 0..ATTEMPTS_MAX {
            let state = parts.control.state();
            let Some(partition) = state.partition(arc) else {
                return Ok(false);
            };
            if state.feature_level < MANIFEST_LEVEL {
                return Ok(false);
            }
            // Its manifest is here when this has succeeded.
            parts.follower.listed(&state, arc, partition, cancel)?;
            let base = partition.history.map(|history| history.digest);
            let manifest = match base {
                Some(base) => parts.follower.manifests().get(base)?,
                None => None,
            };
            let Some(change) = plan(partition, manifest.as_deref()) else {
                return Ok(false);
            };
            let command = self.command(arc, partition, change)?;
            // A seal that is under way here would have its blocks changed between cut and build.
            let _busy = parts.busy.lock();
            parts.store.reach("commit manifest")?;
            if parts.control.propose(&Command::ManifestChanged(command))? == Outcome::Applied {
                parts.store.reach("manifest committed")?;
                parts.metrics.ended(ManifestResult::Changed);
                self.note(arc);
                parts
                    .follower
                    .bring_up(&parts.control.state(), arc, cancel)?;
                return Ok(true);
            }
            parts.metrics.ended(ManifestResult::Outdated);
        }
        Ok(false)
    }

    /// The command of a change, its manifest staged.
    fn command(
        &self,
        arc: RingArc,
        partition: &Partition,
        change: Change,
    ) -> Result<ManifestChanged, Error> {
        let bytes = change.manifest.encode();
        if bytes.len() > MANIFEST_BYTES_MAX {
            let len = bytes.len();
            return Err(Error::Setting(format!(
                "the manifest of partition {arc} would have {len} bytes (bound {MANIFEST_BYTES_MAX}): the control state lists what has no room; see whether blocks are merged (cairn_merges_due)"
            )));
        }
        let base = partition.history;
        let history = match change.manifest.blocks.is_empty() {
            true => None,
            false => Some(change.manifest.history(&bytes)),
        };
        let digest = |of: Option<crate::cluster::control::History>| of.map(|h| h.digest);
        if let Some(history) = history.filter(|_| digest(history) != digest(base)) {
            self.stage(arc, partition, history.digest, &bytes)?;
        }
        Ok(ManifestChanged {
            arc,
            epoch: partition.epoch,
            base: digest(base),
            history,
            moved: change.moved,
            back: change.back,
            rounds_before: change.rounds_before,
        })
    }

    /// ▲ Has a manifest durably on W members of each set, this one included, or fails.
    fn stage(
        &self,
        arc: RingArc,
        partition: &Partition,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.parts.follower.manifests().put(digest, bytes)?;
        let sets = Sets::of(partition);
        let (mine, others): (Vec<MemberId>, Vec<MemberId>) = sets
            .everyone()
            .into_iter()
            .partition(|member| member.incarnation == self.parts.me);
        let mut on: BTreeSet<MemberId> = mine.into_iter().collect();
        if let (Some(peers), false) = (&self.parts.peers, others.is_empty()) {
            for (member, kept) in peers.stage_manifest(&others, arc, partition.epoch, digest) {
                match kept {
                    Ok(()) => {
                        on.insert(member);
                    }
                    Err(error) => tracing::debug!(
                        partition = %arc, %error, "a member did not keep a manifest"
                    ),
                }
            }
        }
        if sets.have_majority(&on) {
            return Ok(());
        }
        Err(Error::TooFew(format!(
            "a manifest of partition {arc} is on {} members and needs a majority of {}",
            on.len(),
            partition.members.len()
        )))
    }
}
