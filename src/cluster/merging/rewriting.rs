//! Blocks that hold something deleted are rewritten without it: merges of one block each.
//!
//! It is done once a delete has begun, which is when nobody can take it back any more. What is
//! merged anyway is merged without what is deleted. A block is looked into once for each delete, by
//! its postings first: most have nothing of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::plan::Job;
use crate::cluster::control::{ControlState, Partition, Standing, TombstoneId};
use crate::cluster::manifests::Listed;
use crate::model::{BlockEntry, BlockId, Deletion, Level, Resolution, RingArc};
use crate::runtime::CancelToken;
use crate::store::{MergeOrder, Store};

/// A block as one partition shows it, and a delete.
type Look = (TombstoneId, RingArc, BlockId);

/// Finds what is to be rewritten.
pub(super) struct Rewriting {
    store: Arc<Store>,
    /// Whether something was found.
    looked: Mutex<BTreeMap<Look, bool>>,
}

impl Rewriting {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            looked: Mutex::default(),
        }
    }

    /// The blocks that are to be rewritten, except those that are merged; these merges leave out what
    /// is deleted.
    pub(super) fn due(
        &self,
        state: &ControlState,
        merges: &mut [Job],
        list: impl for<'a> Fn(RingArc, &'a Partition) -> Option<Listed<'a>>,
        cancel: &CancelToken,
    ) -> Vec<Job> {
        let begun: Vec<&Standing> = state.tombstones.values().filter(|s| s.begun).collect();
        if begun.is_empty() {
            self.looked.lock().clear();
            return Vec::new();
        }
        for job in &mut *merges {
            let deletions = begun.iter().map(|standing| &standing.tombstone.deletion);
            let within = deletions.filter(|one| one.range.overlaps(job.order.range));
            job.order.without = within.cloned().collect();
        }
        let inputs = |job: &Job| {
            let arc = job.order.arc;
            let inputs = job.order.inputs.iter().map(move |id| (arc, *id));
            inputs.collect::<Vec<_>>()
        };
        let merged: BTreeSet<(RingArc, BlockId)> = merges.iter().flat_map(inputs).collect();
        let (mut jobs, mut seen) = (Vec::new(), BTreeSet::new());
        for (arc, partition) in &state.partitions {
            let Some(listed) = list(*arc, partition).filter(|_| self.store.has_arc(*arc)) else {
                continue;
            };
            for entry in listed.entries() {
                if entry.range.end < partition.expired_before || merged.contains(&(*arc, entry.id))
                {
                    continue;
                }
                let looks = begun.iter().map(|one| (one.tombstone.id, *arc, entry.id));
                seen.extend(looks);
                let found = begun.iter();
                let found = found.filter(|one| self.holds(one, *arc, entry, cancel));
                let without: Vec<Deletion> = found
                    .map(|standing| standing.tombstone.deletion.clone())
                    .collect();
                if !without.is_empty() {
                    jobs.push(rewrite(*arc, partition, entry, without));
                }
            }
        }
        self.looked.lock().retain(|look, _| seen.contains(look));
        jobs
    }

    /// Whether a block has something of a delete, as far as that can be said now.
    fn holds(
        &self,
        standing: &Standing,
        arc: RingArc,
        entry: &BlockEntry,
        cancel: &CancelToken,
    ) -> bool {
        let id = entry.id;
        let look = (standing.tombstone.id, arc, id);
        let deletion = &standing.tombstone.deletion;
        let settled = standing.arcs.get(&arc).is_some_and(|r| r.settled);
        if settled || !deletion.range.overlaps(entry.range) {
            return false;
        }
        if let Some(found) = self.looked.lock().get(&look) {
            return *found;
        }
        match self.store.block_holds(arc, id, deletion, cancel) {
            Ok(Some(found)) => {
                self.looked.lock().insert(look, found);
                found
            }
            // It is not applied here yet, or not any more.
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(
                    partition = %arc, block = %id, %error,
                    "a block could not be searched for what is deleted: it will be tried again"
                );
                false
            }
        }
    }
}

/// The output stands where the input stood: its times and rounds are those of it. It is no block of
/// a seal any more, which a restore would take for one that came after its catalog.
pub(super) fn rewrite(
    arc: RingArc,
    partition: &Partition,
    entry: &BlockEntry,
    without: Vec<Deletion>,
) -> Job {
    Job {
        order: MergeOrder {
            arc,
            inputs: vec![entry.id],
            range: entry.range,
            level: entry.level.at(Resolution::Raw).max(Level(1)),
            round: entry.round,
            keep_from: partition.expired_before,
            without,
            resolution: entry.level.resolution(),
        },
        bytes: entry.size,
    }
}
