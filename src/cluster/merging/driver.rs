//! Does what the plan says: builds, stages, commits, applies, one merge at a time.
//!
//! Every step is a matter of state: what a crash, a lost majority or another's merge interrupts
//! leaves a file that nobody names, which is swept, and the plan asks for the merge again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::downsampling::Downsampling;
use super::metrics::{MergeMetrics, MergeResult};
use super::outlived::Outlived;
use super::plan::{self, Job, Limits};
use super::repacking::{Moment, Repacking};
use super::rewriting::Rewriting;
use crate::cluster::blocks::PackUse;
use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::{
    Command, Compacted, Control, ControlState, MemberId, Outcome, Partition, Refusal,
};
use crate::cluster::data::{DataPeers, StageRequest};
use crate::cluster::error::Error;
use crate::cluster::history::Historian;
use crate::cluster::manifests::{Listed, listed};
use crate::cluster::moves::Follower;
use crate::cluster::quorum::Sets;
use crate::cluster::seal::Busy;
use crate::cluster::version::pages_of;
use crate::model::{BlockEntry, BlockId, Epoch, Incarnation, RingArc};
use crate::runtime::{CancelToken, Clock, Throttle};
use crate::store::{self, MergedFile, RetentionSettings, Store};

/// A merge is given so long, so that disk and processor see a trickle.
const GENTLY: Duration = Duration::from_secs(600);
/// Bytes a second, read and written together, that cost nobody anything: small merges take less.
const RATE_MIN: u64 = 512 << 10;
/// And what is never exceeded, however much is due.
const RATE_MAX: u64 = 32 << 20;

/// The epoch may change while a file is staged; it is staged again under the new one.
const ATTEMPTS_MAX: usize = 4;

/// What has failed is not tried again for so long, and each time for twice as long.
const PAUSE: Duration = Duration::from_secs(300);
/// But at least so often.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// How fast to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// So that nobody notices.
    Gentle,
    /// As fast as it can.
    Fast,
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Merges {
    /// Merges that are in the catalog and applied here.
    pub merged: usize,
    /// Merges that somebody else was faster with.
    pub outdated: usize,
    /// Merges that will be tried again.
    pub failed: usize,
}

/// Merges this node's blocks.
pub struct Merger {
    store: Arc<Store>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    me: Incarnation,
    limits: Limits,
    metrics: MergeMetrics,
    follower: Arc<Follower>,
    /// `None` on a node that has no peers.
    peers: Option<Arc<DataPeers>>,
    /// Held while the catalog changes under a seal's feet.
    busy: Busy,
    historian: Arc<Historian>,
    jobs: Mutex<BTreeMap<Vec<BlockId>, Seen>>,
    rewriting: Rewriting,
    outlived: Outlived,
    repacking: Repacking,
    downsampling: Downsampling,
}

/// What is remembered of a merge that is due.
#[derive(Clone, Copy)]
struct Seen {
    since: Duration,
    failures: u32,
    not_before: Duration,
}

/// What a merger is made from.
pub(in crate::cluster) struct MergerParts {
    pub(in crate::cluster) store: Arc<Store>,
    pub(in crate::cluster) control: Arc<dyn Control>,
    pub(in crate::cluster) clock: Arc<dyn Clock>,
    pub(in crate::cluster) me: Incarnation,
    /// How long a window waits for its first seal.
    pub(in crate::cluster) grace: Duration,
    /// How long what is kept.
    pub(in crate::cluster) retention: RetentionSettings,
    /// By which it is known to be over.
    pub(in crate::cluster) deletion_clock: DeletionClock,
    pub(in crate::cluster) metrics: MergeMetrics,
    pub(in crate::cluster) follower: Arc<Follower>,
    pub(in crate::cluster) peers: Option<Arc<DataPeers>>,
    pub(in crate::cluster) busy: Busy,
    pub(in crate::cluster) historian: Arc<Historian>,
    /// `None` where there is no bucket.
    pub(in crate::cluster) packs: Option<Arc<PackUse>>,
}

/// How a merge went.
enum End {
    /// With how many samples others stand for now.
    Merged(Option<BlockEntry>, u64),
    Outdated,
}

impl Merger {
    pub(in crate::cluster) fn new(parts: MergerParts) -> Self {
        let rewriting = Rewriting::new(Arc::clone(&parts.store));
        let total_longest = parts.retention.total_longest();
        let store = Arc::clone(&parts.store);
        let policy = parts.retention.downsample.clone();
        let downsampling = Downsampling::new(policy, parts.deletion_clock.clone());
        let retention = parts.retention.clone();
        let outlived = Outlived::new(store, retention, parts.deletion_clock);
        let store = Arc::clone(&parts.store);
        let repacking = Repacking::new(store, parts.packs, parts.retention);
        Self {
            store: parts.store,
            control: parts.control,
            clock: parts.clock,
            me: parts.me,
            limits: Limits {
                grace: parts.grace,
                retention: total_longest,
            },
            metrics: parts.metrics,
            follower: parts.follower,
            peers: parts.peers,
            busy: parts.busy,
            historian: parts.historian,
            jobs: Mutex::default(),
            rewriting,
            outlived,
            repacking,
            downsampling,
        }
    }

    /// Does what is due and this node's turn.
    pub fn pass(&self, pace: Pace, cancel: &CancelToken) -> Merges {
        let state = self.control.state();
        let jobs = self.due(&state, cancel);
        self.metrics.due(jobs.len());
        let mine = self.take_turns(&jobs);
        let rate = match pace {
            Pace::Gentle => rate(&mine),
            Pace::Fast => 0,
        };
        let throttle = Arc::new(Throttle::new(rate));
        let mut pass = Merges::default();
        for job in mine {
            if cancel.check().is_err() {
                break;
            }
            let begun = self.clock.elapsed();
            let end = self.merge(job, &throttle, cancel);
            if end.is_err() && cancel.check().is_err() {
                break;
            }
            let took = self.clock.elapsed().saturating_sub(begun);
            self.note(job, end, took, &mut pass);
        }
        pass
    }

    /// All that is due, whoever's turn it is.
    fn due(&self, state: &ControlState, cancel: &CancelToken) -> Vec<Job> {
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let jobs = plan::due(state, |arc, of| self.list(arc, of), &self.limits, now);
        // Before deletes are looked at: what is folded loses what is deleted first, or it would be counted for ever.
        let downsampling = &self.downsampling;
        let mut jobs = downsampling.complete(state, jobs, |arc, of| self.list(arc, of));
        let rewriting = &self.rewriting;
        let rewrites = rewriting.due(state, &mut jobs, |arc, of| self.list(arc, of), cancel);
        jobs.extend(rewrites);
        let outlived = &self.outlived;
        let outlived = outlived.due(state, &jobs, |arc, of| self.list(arc, of), cancel);
        jobs.extend(outlived);
        let at = Moment { now, elapsed };
        let repacking = &self.repacking;
        let left = repacking.due(state, &jobs, |arc, of| self.list(arc, of), at, cancel);
        jobs.extend(left);
        jobs
    }

    /// The catalog of a partition that this node may have to merge, when its manifest is here.
    fn list<'a>(&self, arc: RingArc, partition: &'a Partition) -> Option<Listed<'a>> {
        let mut members = partition.members.iter();
        members.find(|member| member.incarnation == self.me)?;
        listed(self.follower.manifests(), arc, partition).ok()
    }

    /// The jobs that are this node's to do now. What is not due any more is forgotten.
    fn take_turns<'a>(&self, jobs: &'a [Job]) -> Vec<&'a Job> {
        let state = self.control.state();
        let now = self.clock.elapsed();
        let mut seen = self.jobs.lock();
        let due: BTreeSet<&Vec<BlockId>> = jobs.iter().map(|job| &job.order.inputs).collect();
        seen.retain(|inputs, _| due.contains(inputs));
        let mut mine = Vec::new();
        for job in jobs {
            let seen = seen.entry(job.order.inputs.clone()).or_insert(Seen {
                since: now,
                failures: 0,
                not_before: Duration::ZERO,
            });
            let waited = now.saturating_sub(seen.since);
            let turn = plan::is_my_turn(&job.order, &state, self.me, waited);
            let here = self.store.has_arc(job.order.arc);
            if turn && here && now >= seen.not_before {
                mine.push(job);
            }
        }
        mine
    }

    fn note(&self, job: &Job, end: Result<End, Error>, took: Duration, pass: &mut Merges) {
        let order = &job.order;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match end {
            Ok(End::Merged(entry, folded)) => {
                pass.merged += 1;
                self.metrics.ended(MergeResult::Merged, took);
                let written = entry.as_ref().map_or(0, |entry| entry.size);
                let samples = entry.as_ref().map_or(0, |entry| entry.samples);
                self.metrics.blocks(job.bytes, written, samples);
                self.metrics.folded(folded);
                tracing::info!(
                    partition = %order.arc, start = order.range.start.0, end = order.range.end.0,
                    blocks = order.inputs.len(), samples, resolution = %order.resolution, bytes_before = job.bytes,
                    bytes = written, took_ms, "blocks were merged into one"
                );
            }
            Ok(End::Outdated) => {
                pass.outdated += 1;
                self.metrics.ended(MergeResult::Outdated, took);
                tracing::debug!(
                    partition = %order.arc, start = order.range.start.0, took_ms,
                    "blocks that were to be merged have changed meanwhile"
                );
            }
            Err(error) => {
                pass.failed += 1;
                self.metrics.ended(MergeResult::Failed, took);
                self.pause(&order.inputs);
                tracing::warn!(
                    partition = %order.arc, start = order.range.start.0, %error,
                    "blocks could not be merged and stay as they are: it will be tried again"
                );
            }
        }
    }

    /// A merge that fails will mostly fail again.
    fn pause(&self, inputs: &Vec<BlockId>) {
        if let Some(seen) = self.jobs.lock().get_mut(inputs) {
            let factor = 1u32.checked_shl(seen.failures).unwrap_or(u32::MAX);
            seen.failures = seen.failures.saturating_add(1);
            let pause = PAUSE.saturating_mul(factor).min(PAUSE_MAX);
            seen.not_before = self.clock.elapsed().saturating_add(pause);
        }
    }

    fn merge(
        &self,
        job: &Job,
        throttle: &Arc<Throttle>,
        cancel: &CancelToken,
    ) -> Result<End, Error> {
        let arc = job.order.arc;
        let state = self.control.state();
        let version = state
            .partition(arc)
            .map_or(0, |partition| partition.version);
        if self.store.applied_version(arc) < version {
            let _busy = self.busy.lock();
            self.follower.bring_up(&state, arc, cancel)?;
        }
        // What is rewritten is named by the state: older blocks come back for it.
        let is_listed = |p: &Partition| job.order.inputs.iter().all(|id| p.recent.contains_key(id));
        if !state.partition(arc).is_some_and(is_listed)
            && !self.historian.bring_back(arc, &job.order.inputs, cancel)?
        {
            return Ok(End::Outdated);
        }
        let file = self.build(&state, job, throttle, cancel)?;
        let end = self.enter(job, &file, cancel);
        match (&end, &file.entry) {
            (Ok(End::Merged(..)), _) | (_, None) => {}
            // Whether a commit that failed was taken is open: then the file is needed, and else it
            // is swept.
            (Err(Error::Control(_)), _) => {}
            (_, Some(entry)) if self.is_named(entry.id) => {}
            (_, Some(entry)) => self.store.unstage(entry.id)?,
        }
        end
    }

    /// Builds the file. Inputs that are only in the bucket are fetched whole first, and their files
    /// go when it is built.
    fn build(
        &self,
        state: &ControlState,
        job: &Job,
        throttle: &Arc<Throttle>,
        cancel: &CancelToken,
    ) -> Result<MergedFile, Error> {
        let order = &job.order;
        let lacking = self.store.lacking(order.arc, &order.inputs)?;
        let mut fetched = Ok(());
        for entry in &lacking {
            throttle.take(entry.size);
            fetched = self.follower.fetch_file(state, order.arc, entry, cancel);
            if fetched.is_err() {
                break;
            }
        }
        let pages = pages_of(order.range, state.feature_level, self.clock.now());
        let file = match fetched {
            Ok(()) => self
                .store
                .merge(order, pages, throttle, cancel)
                .map_err(Error::from),
            Err(error) => Err(error),
        };
        self.store.unstage_elsewhere(order.arc, &order.inputs)?;
        file
    }

    fn is_named(&self, id: BlockId) -> bool {
        let state = self.control.state();
        let mut partitions = state.partitions.values();
        partitions.any(|partition| partition.recent.contains_key(&id))
    }

    /// Stages a file, commits it and applies it here.
    fn enter(&self, job: &Job, file: &MergedFile, cancel: &CancelToken) -> Result<End, Error> {
        let (arc, entry) = (job.order.arc, file.entry.as_ref());
        for _ in 0..ATTEMPTS_MAX {
            cancel.check().map_err(store::Error::from)?;
            let state = self.control.state();
            let Some(partition) = state.partition(arc) else {
                return Ok(End::Outdated);
            };
            let still_there = |id| partition.recent.contains_key(id);
            if !job.order.inputs.iter().all(still_there) {
                return Ok(End::Outdated);
            }
            self.stage(arc, partition, entry)?;
            let command = Command::Compacted(Compacted {
                arc,
                epoch: partition.epoch,
                inputs: job.order.inputs.clone(),
                outputs: entry.cloned().into_iter().collect(),
            });
            // A seal that is under way here would have its blocks changed between cut and build.
            let _busy = self.busy.lock();
            self.store.reach("commit merge")?;
            match self.control.propose(&command)? {
                Outcome::Applied => {
                    self.store.reach("merge committed")?;
                    self.follower.bring_up(&self.control.state(), arc, cancel)?;
                    return Ok(End::Merged(entry.cloned(), file.folded));
                }
                Outcome::Refused(Refusal::WrongEpoch { .. }) => {}
                Outcome::Refused(_) => return Ok(End::Outdated),
            }
        }
        Ok(End::Outdated)
    }

    /// ▲ Has the file durably on W members of each set, this one included, or fails.
    fn stage(
        &self,
        arc: RingArc,
        partition: &Partition,
        entry: Option<&BlockEntry>,
    ) -> Result<(), Error> {
        let sets = Sets::of(partition);
        let everyone = sets.everyone();
        let (mine, others): (Vec<MemberId>, Vec<MemberId>) = everyone
            .into_iter()
            .partition(|member| member.incarnation == self.me);
        let mut on: BTreeSet<MemberId> = mine.into_iter().collect();
        match (entry, &self.peers) {
            (None, _) => return Ok(()),
            (Some(entry), Some(peers)) if !others.is_empty() => {
                on.extend(stage_on(peers, &others, arc, partition.epoch, entry));
            }
            _ => {}
        }
        if sets.have_majority(&on) {
            return Ok(());
        }
        Err(Error::TooFew(format!(
            "a merged block of partition {arc} is on {} members and needs a majority of {}",
            on.len(),
            partition.members.len()
        )))
    }
}

/// Those of the members that have a block's file now.
fn stage_on(
    peers: &DataPeers,
    others: &[MemberId],
    arc: RingArc,
    epoch: Epoch,
    entry: &BlockEntry,
) -> Vec<MemberId> {
    let order = StageRequest {
        arc,
        epoch,
        entry: entry.clone(),
        release: Vec::new(),
    };
    let mut on = Vec::new();
    let orders: Vec<_> = others
        .iter()
        .map(|member| (*member, order.clone()))
        .collect();
    for (member, staged) in peers.stage(&orders) {
        match staged {
            Ok(()) => on.push(member),
            Err(error) => tracing::debug!(
                partition = %arc, block = %entry.id, %error,
                "a member did not stage a merged block"
            ),
        }
    }
    on
}

/// Bytes a second at which all that is due would be done in [`GENTLY`].
fn rate(jobs: &[&Job]) -> u64 {
    let bytes = jobs
        .iter()
        .fold(0u64, |sum, job| sum.saturating_add(job.bytes));
    // What is read is written too.
    let rate = bytes.saturating_mul(2) / GENTLY.as_secs().max(1);
    rate.clamp(RATE_MIN, RATE_MAX)
}
