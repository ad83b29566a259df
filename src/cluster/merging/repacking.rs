//! Small blocks share objects in the bucket, packs, and a pack goes when nothing in it is needed any more.
//! Merges replace all blocks of a window within a day or two, so that mostly it goes as a whole. Where
//! some are left behind (a partition had nothing to merge, one was merged or rewritten out of turn),
//! these are rewritten, each by a merge of it alone, so that the pack goes by the rules by which all go:
//!
//! * when more than half of a pack is not needed any more, so that a bucket holds at most twice what the
//!   catalog names in packs; each byte is written anew for at least as many that go;
//! * when anything in it is not needed any more that may hold what is deleted, or what a tenant has outlived: that
//!   is to leave the bucket, however little it is.
//!
//! Each member decides about its own partitions; what it goes by is the same for all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::plan::Job;
use super::rewriting::rewrite;
use crate::cluster::blocks::{PackLook, PackUse, Share};
use crate::cluster::control::{ControlState, Partition};
use crate::cluster::manifests::Listed;
use crate::model::{BlockEntry, BlockId, Digest, RingArc, TimeRange, TimestampMs, Uploaded};
use crate::runtime::CancelToken;
use crate::store::{RetentionSettings, Store};

/// What the merges of a day leave behind is seen so long after the end of a pack's times: they
/// are spread over the next day.
const MERGED_MS: i64 = 3 * 24 * 60 * 60 * 1000;

/// A pack of which enough is needed is looked at again after so long.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Packs that one pass looks at: each costs two or three requests the first time.
const LOOKS_MAX: usize = 32;

/// Finds what is to be rewritten.
pub(super) struct Repacking {
    store: Arc<Store>,
    /// `None` where there is no bucket.
    packs: Option<Arc<PackUse>>,
    retention: RetentionSettings,
    /// Packs of which enough is needed, and until when that is believed.
    quiet: Mutex<BTreeMap<Digest, Duration>>,
}

/// When a pass is.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: TimestampMs,
    pub(super) elapsed: Duration,
}

/// A partition and a block of it.
type Lying<'a> = (RingArc, &'a Partition, BlockEntry);

impl Repacking {
    pub(super) fn new(
        store: Arc<Store>,
        packs: Option<Arc<PackUse>>,
        retention: RetentionSettings,
    ) -> Self {
        Self {
            store,
            packs,
            retention,
            quiet: Mutex::default(),
        }
    }

    /// The blocks that are to leave their packs, except those that other jobs are about.
    pub(super) fn due(
        &self,
        state: &ControlState,
        others: &[Job],
        list: impl for<'a> Fn(RingArc, &'a Partition) -> Option<Listed<'a>>,
        at: Moment,
        cancel: &CancelToken,
    ) -> Vec<Job> {
        let Some(packs) = &self.packs else {
            return Vec::new();
        };
        let mine = self.mine(state, others, list);
        self.quiet.lock().retain(|pack, _| mine.contains_key(pack));
        let mut look = packs.look(state);
        let (mut jobs, mut looks) = (Vec::new(), 0);
        for (pack, blocks) in &mine {
            let Some((arc, _, entry)) = blocks.first() else {
                continue;
            };
            let why = self.why(state, entry.range, at.now);
            if why == Why::Never || self.is_quiet(*pack, why, at.elapsed) {
                continue;
            }
            looks += 1;
            if looks > LOOKS_MAX || cancel.check().is_err() {
                break;
            }
            match is_due(&mut look, *arc, entry, why, cancel) {
                Ok(true) => jobs.extend(
                    blocks
                        .iter()
                        .map(|(arc, partition, entry)| rewrite(*arc, partition, entry, Vec::new())),
                ),
                Ok(false) => {
                    let until = at.elapsed.saturating_add(LOOK_EVERY);
                    self.quiet.lock().insert(*pack, until);
                }
                Err(error) => {
                    tracing::debug!(%error, "what packs still hold is looked at later");
                    break;
                }
            }
        }
        jobs
    }

    /// The blocks of this node's partitions that lie in packs, by pack.
    fn mine<'a>(
        &self,
        state: &'a ControlState,
        others: &[Job],
        list: impl for<'b> Fn(RingArc, &'b Partition) -> Option<Listed<'b>>,
    ) -> BTreeMap<Digest, Vec<Lying<'a>>> {
        let inputs = others.iter();
        let inputs = inputs.flat_map(|job| job.order.inputs.iter().map(|id| (job.order.arc, *id)));
        let taken: BTreeSet<(RingArc, BlockId)> = inputs.collect();
        let mut mine: BTreeMap<Digest, Vec<Lying<'a>>> = BTreeMap::new();
        for (arc, partition) in &state.partitions {
            let Some(listed) = list(*arc, partition).filter(|_| self.store.has_arc(*arc)) else {
                continue;
            };
            for entry in listed.entries() {
                if let Uploaded::Pack { pack, .. } = entry.uploaded
                    && entry.range.end >= partition.expired_before
                    && !taken.contains(&(*arc, entry.id))
                {
                    let lying = (*arc, partition.as_ref(), entry.clone());
                    mine.entry(pack).or_default().push(lying);
                }
            }
        }
        mine
    }

    /// For what a pack of some times would be left.
    fn why(&self, state: &ControlState, range: TimeRange, now: TimestampMs) -> Why {
        if is_deleted(state, range) {
            return Why::Deleted;
        }
        let shortest = self.retention.total_shortest();
        let shortest = shortest.and_then(|total| i64::try_from(total.as_millis()).ok());
        if shortest.is_some_and(|total| range.start < now.plus_ms(total.saturating_neg())) {
            return Why::Outlived;
        }
        match range.end.plus_ms(MERGED_MS) < now {
            true => Why::Wasteful,
            false => Why::Never,
        }
    }

    fn is_quiet(&self, pack: Digest, why: Why, now: Duration) -> bool {
        let quiet = self.quiet.lock();
        // A delete waits for it.
        why != Why::Deleted && quiet.get(&pack).is_some_and(|until| now < *until)
    }
}

/// For what reason blocks leave a pack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// It is too young: merges will replace most of it.
    Never,
    /// Less than half of it is needed.
    Wasteful,
    /// Something in it may hold what a tenant has outlived.
    Outlived,
    /// Something in it may hold what is deleted.
    Deleted,
}

impl Why {
    const fn is_enough(self, share: Share) -> bool {
        match self {
            Self::Never => false,
            Self::Wasteful => share.dead > share.bytes / 2,
            Self::Outlived | Self::Deleted => share.dead > 0,
        }
    }
}

fn is_due(
    look: &mut PackLook<'_>,
    arc: RingArc,
    entry: &BlockEntry,
    why: Why,
    cancel: &CancelToken,
) -> Result<bool, crate::cluster::Error> {
    let share = look.share(arc, entry, cancel)?;
    Ok(share.is_some_and(|share| why.is_enough(share)))
}

/// Whether a delete that has begun is about some times.
fn is_deleted(state: &ControlState, range: TimeRange) -> bool {
    let mut begun = state.tombstones.values().filter(|one| one.begun);
    begun.any(|one| one.tombstone.deletion.range.overlaps(range))
}
