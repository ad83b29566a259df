//! At what resolution merged blocks are, and which blocks are rewritten only for a coarser one.
//!
//! Whatever is merged anyway is brought to the resolution of its age. The rest is rewritten when its
//! age comes. Both only together with all that overlaps it in time: what was folded by itself could not be told from
//! what others have folded of the same times. So a late block waits until it is merged into the folded one
//! that it overlaps, and what that one stands for already goes then.
//!
//! What a delete hides is not folded before the delete has begun and takes it away: in a fold it would be counted for
//! ever.

use std::collections::{BTreeMap, BTreeSet};

use super::believed::is_believed;
use super::plan::{INPUTS_MAX, Job};
use super::rewriting::rewrite;
use crate::cluster::clocks::DeletionClock;
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::manifests::Listed;
use crate::cluster::version::DOWNSAMPLED_FROM;
use crate::model::{BlockEntry, BlockId, Resolution, RingArc, TimeRange, TimestampMs};
use crate::store::DownsamplePolicy;

/// Says at what resolution what is.
pub(super) struct Downsampling {
    policy: DownsamplePolicy,
    clock: DeletionClock,
}

impl Downsampling {
    pub(super) const fn new(policy: DownsamplePolicy, clock: DeletionClock) -> Self {
        Self { policy, clock }
    }

    /// All jobs with their resolutions, and those that are only due for it.
    pub(super) fn complete(
        &self,
        state: &ControlState,
        jobs: Vec<Job>,
        list: impl for<'a> Fn(RingArc, &'a Partition) -> Option<Listed<'a>>,
    ) -> Vec<Job> {
        let now = self.clock.clock.now();
        let standing = state.tombstones.values().filter(|one| !one.begun);
        let undone: Vec<TimeRange> = standing.map(|one| one.tombstone.deletion.range).collect();
        let with = |policy: &DownsamplePolicy| {
            let mut all = Vec::new();
            let mut by_arc: BTreeMap<RingArc, Vec<Job>> = BTreeMap::new();
            for job in &jobs {
                by_arc.entry(job.order.arc).or_default().push(job.clone());
            }
            for (arc, partition) in &state.partitions {
                let Some(listed) = list(*arc, partition) else {
                    continue;
                };
                let due = Due {
                    arc: *arc,
                    partition: partition.as_ref(),
                    listed: &listed,
                    policy,
                    now,
                    undone: &undone,
                };
                all.extend(due.jobs(by_arc.remove(arc).unwrap_or_default()));
            }
            all
        };
        let off = DownsamplePolicy::default();
        if self.policy.is_off() || state.feature_level < DOWNSAMPLED_FROM {
            return with(&off);
        }
        let all = with(&self.policy);
        // Nobody can take it back, so it is asked whether the time is right.
        let coarser = all
            .iter()
            .any(|job| job.order.resolution != Resolution::Raw);
        match !coarser || is_believed(&self.clock, state) {
            true => all,
            false => with(&off),
        }
    }
}

/// What is due of a partition.
struct Due<'a> {
    arc: RingArc,
    partition: &'a Partition,
    listed: &'a Listed<'a>,
    policy: &'a DownsamplePolicy,
    now: TimestampMs,
    /// Times of which something is deleted that can still be taken back.
    undone: &'a [TimeRange],
}

impl Due<'_> {
    fn jobs(&self, planned: Vec<Job>) -> Vec<Job> {
        let taken = planned.iter().flat_map(|job| job.order.inputs.clone());
        let taken: BTreeSet<BlockId> = taken.collect();
        let mut jobs = Vec::new();
        for mut job in planned {
            if let Some(resolution) = self.resolution_of(&job) {
                job.order.resolution = resolution;
                jobs.push(job);
            }
        }
        if self.policy.is_off() {
            return jobs;
        }
        for group in overlapping(self.kept().collect()) {
            if group.iter().all(|one| !taken.contains(&one.id)) {
                jobs.extend(self.coarser(&group));
            }
        }
        jobs
    }

    fn kept(&self) -> impl Iterator<Item = &BlockEntry> {
        let kept = self.listed.blocks().values();
        kept.filter(|entry| entry.range.end >= self.partition.expired_before)
    }

    /// At what resolution the samples of some times are to be.
    fn wanted(&self, range: TimeRange) -> Resolution {
        match self.undone.iter().any(|undone| undone.overlaps(range)) {
            true => Resolution::Raw,
            false => self.policy.resolution_of(range.end, self.now),
        }
    }

    /// What blocks become that are merged anyway: the resolution of their age, where nothing else overlaps them, or the
    /// one that all have. `None`: neither would do. Nothing becomes finer again, and what is young stays.
    fn resolution_of(&self, job: &Job) -> Option<Resolution> {
        let blocks = self.listed.blocks();
        let inputs = job.order.inputs.iter().filter_map(|id| blocks.get(id));
        let inputs: Vec<Resolution> = inputs.map(|entry| entry.level.resolution()).collect();
        let coarsest = inputs.iter().copied().max().unwrap_or_default();
        if inputs.iter().all(|one| *one == coarsest) {
            let wanted = self.wanted(job.order.range);
            let alone = wanted > coarsest && self.is_alone(job);
            return Some(if alone { wanted } else { coarsest });
        }
        let wanted = self.wanted(job.order.range);
        (wanted >= coarsest && self.is_alone(job)).then_some(wanted)
    }

    /// Whether no other block has samples of a job's times.
    fn is_alone(&self, job: &Job) -> bool {
        let (range, inputs) = (job.order.range, &job.order.inputs);
        self.kept()
            .all(|entry| inputs.contains(&entry.id) || !entry.range.overlaps(range))
    }

    /// The job that makes a group coarser, if it is time for it.
    fn coarser(&self, group: &[&BlockEntry]) -> Option<Job> {
        let first = group.first().filter(|_| group.len() <= INPUTS_MAX)?;
        let end = group.iter().map(|entry| entry.range.end).max()?;
        let wanted = self.wanted(TimeRange::new(first.range.start, end));
        if group.iter().any(|one| one.level.resolution() >= wanted) {
            return None;
        }
        let mut job = rewrite(self.arc, self.partition, first, Vec::new());
        job.order.resolution = wanted;
        job.order.range.end = end;
        for entry in group.iter().skip(1) {
            job.order.level = job.order.level.max(entry.level.at(Resolution::Raw));
            job.order.round = job.order.round.max(entry.round);
            job.order.inputs.push(entry.id);
            job.bytes = job.bytes.saturating_add(entry.size);
        }
        if group.len() > 1 {
            job.order.level = job.order.level.merged();
        }
        job.order.inputs.sort_unstable();
        Some(job)
    }
}

/// Blocks in groups that overlap in time.
fn overlapping(mut blocks: Vec<&BlockEntry>) -> Vec<Vec<&BlockEntry>> {
    blocks.sort_unstable_by_key(|entry| (entry.range.start, entry.id));
    let mut groups: Vec<(TimestampMs, Vec<&BlockEntry>)> = Vec::new();
    for entry in blocks {
        match groups.last_mut() {
            Some((end, group)) if entry.range.start <= *end => {
                *end = entry.range.end.max(*end);
                group.push(entry);
            }
            _ => groups.push((entry.range.end, vec![entry])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests;
