//! At what resolution merged blocks are, and which blocks are rewritten only for a coarser one.
//!
//! Whatever is rewritten anyway is brought to the resolution of its age. The rest is rewritten when its
//! age comes, together with all that overlaps it in time: what was folded by itself could not be told from
//! what others have folded of the same times. So a late block waits until it is merged into the folded one
//! that it overlaps, and what that one stands for already goes then.

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
                let planned = by_arc.remove(arc).unwrap_or_default();
                let of = (*arc, partition.as_ref());
                all.extend(due_in(of, &listed, planned, policy, now));
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

fn due_in(
    (arc, partition): (RingArc, &Partition),
    listed: &Listed<'_>,
    planned: Vec<Job>,
    policy: &DownsamplePolicy,
    now: TimestampMs,
) -> Vec<Job> {
    let blocks = listed.blocks();
    let taken = planned.iter().flat_map(|job| job.order.inputs.clone());
    let taken: BTreeSet<BlockId> = taken.collect();
    let mut jobs = Vec::new();
    for mut job in planned {
        let inputs = job.order.inputs.iter().filter_map(|id| blocks.get(id));
        let inputs: Vec<Resolution> = inputs.map(|entry| entry.level.resolution()).collect();
        let wanted = policy.resolution_of(job.order.range.end, now);
        // Nothing becomes finer again, and what is young stays.
        if let Some(resolution) = common(&inputs, wanted) {
            job.order.resolution = resolution;
            jobs.push(job);
        }
    }
    if policy.is_off() {
        return jobs;
    }
    let kept = blocks.values();
    let kept = kept.filter(|entry| entry.range.end >= partition.expired_before);
    for group in overlapping(kept.collect()) {
        let Some(first) = group.first().filter(|_| group.len() <= INPUTS_MAX) else {
            continue;
        };
        let end = group.iter().map(|entry| entry.range.end).max();
        let wanted = policy.resolution_of(end.unwrap_or(now), now);
        let is_finer = |entry: &&BlockEntry| entry.level.resolution() < wanted;
        if !group.iter().all(is_finer) || group.iter().any(|one| taken.contains(&one.id)) {
            continue;
        }
        let mut job = rewrite(arc, partition, first, Vec::new());
        job.order.resolution = wanted;
        for entry in group.iter().skip(1) {
            let range = job.order.range;
            let (start, end) = (
                range.start.min(entry.range.start),
                range.end.max(entry.range.end),
            );
            job.order.range = TimeRange::new(start, end);
            job.order.level = job.order.level.max(entry.level.at(Resolution::Raw));
            job.order.round = job.order.round.max(entry.round);
            job.order.inputs.push(entry.id);
            job.bytes = job.bytes.saturating_add(entry.size);
        }
        if group.len() > 1 {
            job.order.level = job.order.level.merged();
        }
        job.order.inputs.sort_unstable();
        jobs.push(job);
    }
    jobs
}

/// What blocks become together: the resolution of their age, or the one that all have. `None`: neither
/// would do.
fn common(inputs: &[Resolution], wanted: Resolution) -> Option<Resolution> {
    let coarsest = inputs.iter().copied().max().unwrap_or_default();
    if wanted >= coarsest {
        return Some(wanted);
    }
    let alike = inputs.iter().all(|one| *one == coarsest);
    alike.then_some(coarsest)
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
